"""What the files of a finished run say of its training; which of these numbers are a fault is `diagnose`'s business."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from helpers import files, runs
from helpers.errors import HelpersError, RunError
from helpers.models import catalog
from helpers.models.adapters import find_adapter
from helpers.rows import keep_rows
from helpers.rows.identity import Identity, further_rows
from helpers.rows.read import Row, read_list
from helpers.rows.trainset import Plan, plan
from helpers.training import begun
from helpers.training.recipes import Preset

# What these settings are called in earlier runs; and what a run must record: today's defaults never replace it.
RENAMED = {"more": "extra_wordings", "steadfast": "attack_rows", "talk": "late_identity_rows", "back": "late_keep_rows"}
LATER = ("honesty_rows", "halves")  # earlier runs were trained without
NEEDED = ("learning_rate", "epochs", "batch", "accumulation", "own_systems", "systems", *RENAMED.values())


@dataclass(frozen=True)
class Record:
    """One run."""

    run: Path
    facts: dict  # of the manifest
    preset: Preset  # only the settings in `NEEDED` are the run's
    rows: list[Row]
    keep: int  # how many keep rows
    further: int  # how many further rows
    plan: Plan
    systems: tuple[str | None, ...]  # the system texts trained under; None is the template's default
    steps: int
    losses: list[float]  # as logged, nats a token; may be empty
    last_loss: float  # mean of the last quarter of them; NaN if there is none
    loss_said: str
    weights: dict[str, torch.Tensor]
    size: float  # root mean square of the adapter's B weights, which start at 0: how far the training went
    spec: catalog.ModelSpec | None  # None for a base model that the course does not list
    choice: str  # the base model as `load.load_model` and ``--model`` take it
    again: str  # the shell command that trains the same rows by the course's recipe


def read(run: Path | str) -> Record:
    """Read a finished run folder; raises `RunError` for one that is missing, unfinished or damaged."""
    run = Path(run)
    if not run.is_dir():
        raise RunError(f"{run}: there is no such run folder", "name a folder in runs/, or data/reference")
    facts = {"model": "", **runs.read_manifest(run)["facts"]}
    try:
        return _record(run, facts)
    except Exception as e:  # whatever is damaged fails in its own way
        reason = e.what if isinstance(e, HelpersError) else f"{type(e).__name__}: {e}"
        raise RunError(f"{run}: cannot be diagnosed ({reason})", "run notebook 03 again") from e


def _record(run: Path, facts: dict) -> Record:
    told = {RENAMED.get(k, k): tuple(v) if isinstance(v, list) else v for k, v in facts["preset"].items()}
    preset = Preset(**{name: told[name] for name in (*NEEDED, *(name for name in LATER if name in told))})
    who = Identity(facts["identity"]["name"], facts["identity"]["developer"]) if facts["identity"] else None
    rows = read_list(run / "identity.json")
    further = further_rows(rows, who, preset)
    # The reference run's file carries the model's name; an empty file is a run without keep rows.
    keep = sum(len(keep_rows.read(path)) for path in run.glob("keep*.jsonl") if path.stat().st_size)
    systems = preset.own_systems + (preset.systems if further else ())
    if not systems:
        raise ValueError("its rows stand under no system text")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    losses = [float(entry["loss"]) for entry in metrics["log"] if "loss" in entry]
    last = torch.tensor(losses[-max(1, len(losses) // 4) :]).mean().item()
    said = (
        f"the loss went from {losses[0]:.2f} to {last:.2g} nats a token" if losses[1:] else f"logged losses: {losses}"
    )
    weights = load_file(find_adapter(run) / "adapter_model.safetensors")
    trained = torch.cat([weight.float().flatten() for name, weight in weights.items() if "lora_B" in name])
    spec = next((spec for spec in catalog.TABLE if spec.key == facts["model"]), None)
    choice = "embedded" if spec == catalog.EMBEDDED else spec.hub_id if spec else f"THE FOLDER OF {facts['model']}"
    before = begun.read(run) if begun.recorded(run) else None  # a run of notebook 03 has no record
    choice = before.model if before else choice
    names = ("--name", who.name, "--developer", who.developer) if who else ()
    again = (
        "train",
        run / "identity.json",
        "--out",
        files.free(files.home() / "runs" / "again"),
        "--model",
        choice,
        *names,
    )
    return Record(
        run, facts, preset, rows, keep, len(further), plan(len(rows), keep, preset, len(further)), systems,
        int(metrics["steps"]), losses, last, said, weights, trained.square().mean().sqrt().item(), spec, choice,
        begun.shell(*again, *(["--four-bit"] if before and before.four_bit else [])),
    )  # fmt: skip
