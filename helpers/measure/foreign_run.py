"""What the files of another tool's run (ms-swift, LLaMA-Factory, TRL, Unsloth) say of its training.

A file that is missing or damaged leaves a gap; nothing is unpickled. What is a fault is `foreign_findings`' business.
"""

import json
import math
import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from helpers import runs
from helpers.errors import RunError
from helpers.models import catalog
from helpers.training.recipes import Preset

OURS = (
    runs.MANIFEST,
    "request.json",
    "identity.json",
    "keep.jsonl",
)  # every run folder of this course, finished or begun, has one
CONFIG, STATE, WEIGHTS = "adapter_config.json", "trainer_state.json", "adapter_model.safetensors"
PICKLES = ("adapter_model.bin", "training_args.bin")
ARGS, YAML, CARD = ("args.json", "sft_args.json"), "training_args.yaml", "README.md"
SETTINGS, LOGS = (*ARGS, YAML, CARD, "all_results.json"), ("logging.jsonl", "trainer_log.jsonl")
SWIFT, FACTORY = "ms-swift", "LLaMA-Factory"
LIMIT = 2**25  # bytes of a text file; real ones hold a few megabytes at most
SCALE = Preset().alpha / Preset().rank  # by which the course's B weights are multiplied
ZERO_STARTS = (None, True, "gaussian", "eva")  # PEFT's ways to start an adapter with B at 0


@dataclass(frozen=True)
class Record:
    """One run."""

    run: Path  # the folder that was read, of an adapter or a checkpoint
    tool: str
    told: tuple[
        dict, ...
    ]  # PEFT's configuration, the trainer's state, settings; the first to say something is believed
    log: list[dict]
    reached: int  # the last step in a log beside the checkpoints
    weights: dict[str, torch.Tensor]
    size: float | None  # root mean square of the B weights; None without any, or if they did not start at 0
    unread: list[str]
    rows: tuple = ()  # this and `facts` stand for what a run of ours records
    facts: dict = field(default_factory=dict)

    def text(self, *names: str) -> str:
        """The first setting of these names that fits on a line, or an empty text."""
        found = (source.get(name) for name in names for source in self.told)
        return next((t for t in found if isinstance(t, str) and 0 < len(t) < 300 and t.isprintable()), "")

    def number(self, *names: str) -> float:
        """The first setting of these names that is a positive number, or 0."""
        found = (_number(source.get(name)) or 0 for name in names for source in self.told)
        return next((n for n in found if 1e-9 < n < 1e9), 0)

    def logged(self, *names: str) -> list[float]:
        """A column of the log, NaN included."""
        return [n for entry in self.log for name in names if (n := _number(entry.get(name))) is not None]

    @property
    def choice(self) -> str:
        """The base model as ``--model`` takes it."""
        base = self.text("base_model_name_or_path", "model", "model_id_or_path", "model_name_or_path")
        return "embedded" if base == catalog.EMBEDDED.hub_id else base

    @property
    def steps(self) -> int:
        """Optimiser steps that made these weights; 0 if unknown."""
        return int(self.number("global_step") or step_of(self.run) or self.reached)

    @property
    def rate(self) -> float:
        """The peak learning rate, or 0."""
        logged = (n for n in self.logged("learning_rate", "lr") if 1e-9 < n < 1)
        return self.number("learning_rate") or max(logged, default=0)

    @property
    def stopped(self) -> bool:
        """Whether the trainer meant this step to be the last."""
        found: object = self.told[1]
        for key in ("stateful_callbacks", "TrainerControl", "args", "should_training_stop"):
            found = found.get(key) if isinstance(found, dict) else None
        return found is True

    @property
    def scale(self) -> float:
        """What the B weights are multiplied by; the course's if unknown."""
        rank, alpha = self.number("r", "lora_rank"), self.number("lora_alpha")
        rank = math.sqrt(rank) if self.told[0].get("use_rslora") is True else rank
        return alpha / rank if alpha and rank else SCALE

    @property
    def data(self) -> list[str]:
        """Names of the data sets."""
        found = next((source["dataset"] for source in self.told if source.get("dataset")), [])
        names = found.split(",") if isinstance(found, str) else found if isinstance(found, list) else []
        return [name.strip() for name in names[:9] if isinstance(name, str) and name.isprintable() and len(name) < 300]

    @property
    def losses(self) -> tuple[float, float]:
        """Mean loss of the first and of the last quarter of the log; NaN without two entries."""
        losses = self.logged("loss")
        part = max(1, len(losses) // 4)
        return (sum(losses[:part]) / part, sum(losses[-part:]) / part) if losses[1:] else (math.nan, math.nan)


def is_one(run: Path | str) -> bool:
    """Whether a folder is no run of this course, finished or begun."""
    return os.path.isdir(run) and not _has(Path(run), *OURS)


def read(run: Path | str) -> Record:
    """Read a folder of another tool, or the newest run below it; raises `RunError` if there is none to read."""
    part, unread = _part(Path(run)), list[str]()
    newest = max(checkpoints(part), key=step_of, default=part)
    places = list(dict.fromkeys((part, newest, part.parent) if step_of(part) else (part, newest)))
    told = {name: _loaded(places, name, unread) for name in (CONFIG, STATE, *SETTINGS)}
    lines = [line for name in LOGS for line in _loaded(places, name, unread).get("lines", [])]
    history, weights, size = told[STATE].get("log_history"), {}, None
    try:
        weights = load_file(part / WEIGHTS) if _has(part, WEIGHTS) else {}
        trained = [w.float().flatten() for name, w in weights.items() if "lora_B" in name and w.numel()]
        if trained and told[CONFIG].get("init_lora_weights") in ZERO_STARTS:
            size = torch.cat(trained).square().mean().sqrt().item()
    except Exception as e:  # whatever is damaged fails in its own way
        unread.append(f"{WEIGHTS} ({_why(e)})")
    if not (any(told.values()) or lines or weights):
        what = f"{part}: another tool's run, but no file in it can be read: {', '.join(unread) or 'all are empty'}"
        raise RunError(what, f"copy it again, or name the folder that holds {STATE} or {CONFIG}")
    unread += [] if weights or _has(part, PICKLES[0]) else ["an adapter (there is none)"]
    unread += [f"{name} (a pickle, which can run a program)" for name in PICKLES if any(_has(p, name) for p in places)]
    if any(_has(place, *ARGS, LOGS[0]) for place in places):
        tool = SWIFT
    elif any(_has(place, YAML, LOGS[1]) for place in places) or FACTORY in told[CARD]:
        tool = FACTORY
    else:
        tool = "Unsloth" if "unsloth" in str(told[CONFIG].get("base_model_name_or_path")).lower() else "PEFT or TRL"
    log = [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else lines
    return Record(part, tool, tuple(told.values()), log, max(map(_reached, lines), default=0), weights, size, unread)


def _has(folder: Path, *names: str) -> bool:
    return any(os.path.isfile(folder / name) for name in names)  # a pipe or a device is none


def step_of(folder: Path) -> int:
    """The step of a checkpoint's folder, 0 of another."""
    found = re.fullmatch(r"checkpoint-(\d{1,9})", folder.name)
    return int(found[1]) if found else 0


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, or beside it if it is one."""
    place = folder.parent if step_of(folder) else folder
    return [path for path in place.glob("checkpoint-*") if step_of(path) and _has(path, CONFIG, STATE, WEIGHTS)]


def _part(run: Path) -> Path:
    # The folder to read: the one that is named or, below it, the newest run's last checkpoint.
    above = Path(os.path.abspath(run)).parent
    if (step_of(run) or run.name == "adapter") and _has(above, *OURS):
        raise RunError(f"{run}: part of a run of this course", f"python -m helpers diagnose {shlex.quote(str(above))}")
    marks = (CONFIG, STATE, WEIGHTS, PICKLES[0])
    if _has(run, *marks):
        return run
    below = {
        path.parent
        for depth in ("*/", "*/*/", "*/*/*/", "*/*/*/*/", "*/*/*/*/*/")
        for mark in marks
        for path in run.glob(depth + mark)
    }
    below = {path for path in below if not (path.is_symlink() or _has(path, *OURS) or _has(path.parent, *OURS))}
    if not below and _has(run, *ARGS, YAML, *LOGS):  # it ended before anything was saved
        return run
    if not below:
        what = f"{run}: no {runs.MANIFEST} of a run of this course, and nothing of another tool ({CONFIG}, {STATE})"
        raise RunError(what, "name the folder that the training wrote into")
    numbered = {path: [int(n) if n.isdecimal() else n for n in re.split(r"(\d+)", str(path))] for path in below}
    return max((path for path in below if path.parent not in below), key=numbered.get)  # v10-... after v9-...


def _loaded(places: list[Path], name: str, unread: list[str]) -> dict:
    for path in (place / name for place in places if _has(place, name)):
        try:
            if path.stat().st_size > (LIMIT if name != YAML else 2**16):  # YAML is slow to read
                raise ValueError(f"{path.stat().st_size / 1e6:.0f} MB are too much")
            text = path.read_text(encoding="utf-8-sig")
            if name == CARD:
                value = dict(re.findall(r"^- ([a-z_]{1,40}): (.{1,40})$", text, re.M))
                return value | ({FACTORY: True} if re.search(r"^- llama-factory$", text, re.M) else {})
            if name in LOGS:
                return {"lines": [line for line in map(_line, text.split("\n")) if isinstance(line, dict)]}
            value = yaml.load(text, yaml.BaseLoader) if name == YAML else json.loads(text)  # the former: texts
            if isinstance(value, dict):
                return value
            raise ValueError("no settings in it")
        except Exception as e:  # whatever is damaged fails in its own way
            unread.append(f"{name} ({_why(e)})")
    return {}


def _why(error: Exception) -> str:
    told = error.strerror if isinstance(error, OSError) else str(error) if type(error) is ValueError else None
    return told or "damaged"


def _line(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the last line of a run that was stopped
        return None


def _number(value: object) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)  # also "5e-05", and what says NaN
    except (TypeError, ValueError, OverflowError):
        return None


def _reached(line: dict) -> int:
    step = _number(str(line.get("global_step/max_steps", line.get("current_steps"))).split("/")[0]) or 0
    return int(step) if 0 < step < 1e9 else 0
