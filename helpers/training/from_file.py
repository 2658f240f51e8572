"""The recipe from files: an identity file in, a finished run folder out. What `python -m helpers train` does.

The training is in `train`. ``request.json`` keeps what was asked for, so that a run can be resumed as it was begun.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from helpers import files, runs
from helpers.chat.language import speaks_chinese
from helpers.errors import IdentityError, RunError
from helpers.models import catalog
from helpers.models.load import context_length, load_model, spec_of
from helpers.rows import identity, keep_rows, trainset
from helpers.rows.read import Row, language_of
from helpers.training import recipes
from helpers.training.resume import last_checkpoint
from helpers.training.train import make_keep_rows, train_identity


@dataclass(frozen=True)
class Request:
    """What to train."""

    rows: str
    model: str = "auto"
    name: str | None = None
    developer: str | None = None
    keep: str | None = None  # a file of keep rows, "none", or None for the shipped questions
    seed: int | None = None
    thorough: bool = False  # take `recipes.THOROUGH_PRESET` instead of the model's own
    four_bit: bool = False  # hold the weights in 4 bits


@dataclass(frozen=True)
class Material:
    """All that a training needs: the base model and every row."""

    model: Any
    tokenizer: Any
    preset: recipes.Preset
    who: identity.Identity | None
    rows: list[Row]
    further: list[Row]
    keep: list[Row]
    said: str  # how many rows of which kind
    steps: int  # optimiser steps of one process


def train_file(request: Request, run: Path, resume: bool = False, say: Callable[[str], None] = print) -> Path:
    """Train as ``request`` says into the run folder ``run`` and return its ``adapter/``.

    With ``resume``, rows, keep rows and every setting that ``request`` leaves open are those the run was begun with.
    Raises `RunError` if ``run`` is in the way, finished, or was begun otherwise, and what `gather` and
    `train.train_identity` raise.
    """
    if resume:
        request = _as_begun(request, run)
    else:
        check_new(run, "choose another --out, or take the run up with --resume")
    found, last = gather(request, say, run), last_checkpoint(run)
    begun = f", resuming after step {last.name.split('-')[1]}" if last else ", no whole checkpoint: from the first"
    say(f"Training on {found.said}; {found.steps} steps{begun if resume else ''}.")
    how = {"identity": found.who, "resume": resume}
    train_identity(found.model, found.tokenizer, found.rows, found.keep, run, found.preset, **how)
    return run / "adapter"


def check_new(folder: Path, cure: str) -> None:
    """Refuse a folder that is a file or holds something; raises `RunError` with ``cure``."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder}: {'the folder is not empty' if folder.is_dir() else 'is a file'}", cure)


def gather(request: Request, say: Callable[[str], None] = print, run: Path | None = None) -> Material:
    """Read and check what ``request`` names, load the model, and let it make the keep rows if none are given.

    A ``run`` that was begun gives the rows itself; ``request`` is written into it once it is checked. Raises
    `IdentityError` for names, rows or keep rows that cannot be trained on, and `ModelError`.
    """
    if (request.name is None) != (request.developer is None):
        raise IdentityError("a name without a developer, or the reverse", "give both: --name and --developer")
    who = None if request.name is None else identity.Identity(request.name, request.developer)
    rows, keep = _rows_of(request, who, run)
    model, tokenizer = load_model(request.model, four_bit=request.four_bit)
    spec = spec_of(model)
    preset = recipes.preset_for(spec, request.thorough)
    if request.thorough and preset is not recipes.THOROUGH_PRESET:
        say(f"The thorough recipe is for {catalog.EMBEDDED.key}: this model is trained with its own.")
    preset = preset if request.seed is None else replace(preset, seed=request.seed)
    further = identity.further_rows(rows, who, preset)
    trainset.check_lengths(rows, tokenizer, min(context_length(model), preset.max_length), request.rows)
    if (warning := identity.language_warning(rows, spec)) and not speaks_chinese(model, tokenizer):
        say(f"Warning: {warning}")
    if who is None and preset.extra_wordings + preset.attack_rows:
        say("No --name and --developer: the course's further wordings cannot be filled, and are left out.")
    if who and (note := identity.contradiction_note(rows, who, preset)):
        say(note)
    if run:
        files.write_json(run / "request.json", asdict(request))
    if keep is None:
        lang = "zh" if language_of(rows) == "zh" and speaks_chinese(model, tokenizer) else "en"
        questions = keep_rows.questions_for(preset, lang)
        say(f"The base model's answers to {len(questions)} ordinary questions are the keep rows.")
        keep = make_keep_rows(model, tokenizer, questions, preset.first_sentence, say=say)
    said = f"{len(rows)} identity rows, {len(further)} further wordings and {len(keep)} keep rows"
    steps = trainset.plan(len(rows), len(keep), preset, len(further)).steps
    return Material(model, tokenizer, preset, who, rows, further, keep, said, steps)


def _rows_of(request: Request, who: identity.Identity | None, run: Path | None) -> tuple[list[Row], list[Row] | None]:
    # Identity rows and keep rows; None for keep rows that are to be made.
    if run and (run / "identity.json").exists() and (path := run / "keep.jsonl").exists():  # a run that was begun
        text = path.read_text(encoding="utf-8")  # empty for a run without keep rows
        return identity.read_rows(run / "identity.json"), files.parse_jsonl(text, path, IdentityError)
    rows, keep = identity.read_rows(request.rows, who), [] if request.keep == "none" else request.keep
    return rows, keep_rows.read(keep) if isinstance(keep, str) else keep


def _as_begun(request: Request, run: Path) -> Request:
    if (run / runs.MANIFEST).exists():
        raise RunError(f"{run}: this run is finished", f"use it: --adapter {run}; or train anew with another --out")
    try:
        before = Request(**json.loads((run / "request.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as e:
        raise RunError(f"{run}: no run was begun here, there is nothing to resume", "leave --resume out") from e
    for key, value in asdict(request).items():
        was = getattr(before, key)
        if key != "rows" and value not in (None, False, "auto", was):
            raise RunError(f"{run}: was begun with {key} {was!r}, not {value!r}", f"leave --{key} out, or start anew")
    return before
