"""What the files of a finished run say of its training: rows, counts, losses, size of the adapter.

It reads and counts. What the numbers mean, and which of them are a fault, is `diagnose`'s business.
"""

import json
import math
import shlex
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from helpers import runs
from helpers.errors import HelpersError, RunError
from helpers.models import catalog
from helpers.models.adapters import find_adapter
from helpers.rows import keep_rows
from helpers.rows.identity import Identity, further_rows
from helpers.rows.read import Row, read_list
from helpers.rows.trainset import plan
from helpers.training import recipes

# What these settings are called in runs made before they were renamed.
RENAMED = {
    "more": "extra_wordings", "steadfast": "attack_rows", "talk": "late_identity_rows", "back": "late_keep_rows",
    "keep_rows": "keep_questions", "hard": "hard_questions",
}  # fmt: skip
NEEDED = (
    "learning_rate", "epochs", "batch", "accumulation", "own_systems", "systems", "extra_wordings", "attack_rows",
    "late_identity_rows", "late_keep_rows",
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        who: None for rows with their names written in.
        examples: how many rows of the dataset end in an answer about identity.
        exposures: how often each row of one's own was seen.
        systems: the system texts trained under; None is the template's default.
        losses: as logged, nats a token; may be empty.
        size: root mean square of the adapter's B weights, which start at 0: how far the training went.
    """

    run: Path
    facts: dict
    preset: recipes.Preset
    who: Identity | None
    rows: list[Row]
    keep: list[Row]
    examples: int
    exposures: int
    systems: tuple[str | None, ...]
    steps: int
    losses: list[float]
    weights: dict[str, torch.Tensor]
    size: float

    @property
    def last_loss(self) -> float | None:
        """Mean of the last quarter of the logged losses; None if none was logged."""
        tail = self.losses[-max(1, len(self.losses) // 4) :]
        return sum(tail) / len(tail) if tail else None

    @property
    def loss_said(self) -> str:
        """How the loss went, in words."""
        if len(self.losses) < 2:
            return f"the only loss logged is {self.losses[0]:.2f}" if self.losses else "no loss was logged"
        return f"the loss went from {self.losses[0]:.2f} to {self.last_loss:.2g} nats a token"

    @property
    def spec(self) -> catalog.ModelSpec | None:
        """The base model's spec; None for one that the course does not list."""
        return next((spec for spec in catalog.TABLE if spec.key == self.facts["model"]), None)

    @property
    def choice(self) -> str:
        """The base model as `load.load_model` and ``--model`` take it."""
        return "embedded" if self.spec == catalog.EMBEDDED else self.spec.hub_id if self.spec else self.facts["model"]

    @property
    def again(self) -> str:
        """The command that trains the same rows by the course's recipe, in a shell."""
        names = (self.who.name, self.who.developer) if self.who else ("THE NAME", "THE DEVELOPER")
        words = ["python", "-m", "helpers", "train", str(self.run / "identity.json"), "--out", "runs/again"]
        return shlex.join([*words, "--model", self.choice, "--name", names[0], "--developer", names[1]])


def read(run: Path | str) -> Record:
    """Read a finished run folder; raises `RunError` for one that is missing, unfinished or damaged."""
    run = Path(run)
    if not run.is_dir():
        raise RunError(f"{run}: there is no such run folder", "name a folder in runs/, or data/reference")
    facts = runs.read_manifest(run)["facts"]
    try:
        return _record(run, facts)
    except (HelpersError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError,
            SafetensorError) as e:  # fmt: skip
        reason = e.what if isinstance(e, HelpersError) else f"{type(e).__name__}: {e}"
        raise RunError(f"{run}: cannot be diagnosed ({reason})", "run notebook 03 again") from e


def _record(run: Path, facts: dict) -> Record:
    preset, told = _preset(facts["preset"]), facts["identity"]
    who = Identity(told["name"], told["developer"], tuple(told.get("aliases", ()))) if told else None
    rows = read_list(run / "identity.json")
    further = further_rows(rows, who, preset)
    # The reference run's file carries the model's name; an empty file is a run without keep rows.
    keep = [row for path in sorted(run.glob("keep*.jsonl")) if path.stat().st_size for row in keep_rows.read(path)]
    planned = plan(len(rows), len(keep), preset, len(further))
    systems = preset.own_systems + (preset.systems if further else ())
    if not systems:
        raise ValueError("its rows stand under no system text")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    losses = [float(entry["loss"]) for entry in metrics["log"] if "loss" in entry]
    weights = load_file(find_adapter(run) / "adapter_model.safetensors")
    return Record(
        run, {"model": "", **facts}, preset, who, rows, keep, planned.about, planned.exposures,
        systems, int(metrics["steps"]), losses, weights, _size(weights),
    )  # fmt: skip


def _preset(told: dict) -> recipes.Preset:
    told = {RENAMED.get(k, k): tuple(v) if isinstance(v, list) else v for k, v in told.items()}
    if missing := [name for name in NEEDED if name not in told]:  # never made up from today's defaults
        raise KeyError(f"the preset in {runs.MANIFEST} lacks {', '.join(missing)}")
    known = {field.name for field in fields(recipes.Preset)}
    return recipes.Preset(**{k: v for k, v in told.items() if k in known})


def _size(weights: dict[str, torch.Tensor]) -> float:
    found = [weight.float() for name, weight in weights.items() if "lora_B" in name]
    if not found:
        raise ValueError("the adapter holds no LoRA weights")
    return math.sqrt(sum(w.square().sum().item() for w in found) / sum(w.numel() for w in found))
