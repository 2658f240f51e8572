"""The recipe from files: an identity file in, a finished run folder out. What `python -m helpers train` does.

It settles names, rows, keep rows and the folder, and leaves the training to `train.train_identity`. What a run was
asked for is written down first, in ``request.json``, so that an interrupted one can be resumed as it was begun.
`to_trl` settles the same things with the same functions and writes them out instead.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from helpers import files, runs
from helpers.errors import IdentityError, RunError
from helpers.models import catalog
from helpers.models.load import context_length, load_model, spec_of
from helpers.rows import identity, keep_rows, trainset
from helpers.rows.identity import Identity
from helpers.rows.read import Row, language_of
from helpers.training import recipes
from helpers.training.keep import make_keep_rows
from helpers.training.resume import last_checkpoint
from helpers.training.train import train_identity

REQUEST = "request.json"


@dataclass(frozen=True)
class Request:
    """What to train. ``keep`` is a file of keep rows, ``"none"``, or None for the shipped questions.

    ``thorough`` takes `recipes.THOROUGH_PRESET` instead of the default; ``four_bit`` holds the weights in 4 bits.
    """

    rows: str
    model: str = "auto"
    name: str | None = None
    developer: str | None = None
    keep: str | None = None
    seed: int | None = None
    thorough: bool = False
    four_bit: bool = False

    def identity(self) -> Identity | None:
        """The identity, or None if the rows have their names written in; raises `IdentityError` for half of one."""
        if (self.name is None) != (self.developer is None):
            raise IdentityError("a name without a developer, or the reverse", "give both: --name and --developer")
        return None if self.name is None else Identity(self.name, self.developer)


@dataclass(frozen=True)
class Material:
    """All that a training needs: the base model and every row. ``keep`` is None until `with_keep` has made it."""

    model: Any
    tokenizer: Any
    preset: recipes.Preset
    who: Identity | None
    rows: list[Row]
    further: list[Row]
    keep: list[Row] | None

    def said(self) -> str:
        """How many rows of which kind, in words."""
        kinds = f"{len(self.rows)} identity rows, {len(self.further)} further wordings"
        return f"{kinds} and {len(self.keep or ())} keep rows"

    @property
    def max_length(self) -> int:
        """The longest row that can be trained on, in tokens."""
        return min(context_length(self.model), self.preset.max_length)

    def steps(self) -> int:
        """Optimiser steps of one process."""
        return trainset.plan(len(self.rows), len(self.keep or ()), self.preset, len(self.further)).steps


def train_file(request: Request, run: Path, resume: bool = False, say: Callable[[str], None] = print) -> Path:
    """Train as ``request`` says into the run folder ``run`` and return its ``adapter/``.

    With ``resume``, rows, keep rows and every setting that ``request`` leaves open are those the run was begun with.

    Raises:
        RunError: ``run`` is in the way, finished, or was begun otherwise; or training was interrupted.
        IdentityError: names, rows or keep rows that cannot be trained on. ModelError, DiskError.
    """
    if resume:
        request = _as_begun(request, run)
    else:
        check_new(run, "choose another --out, or take the run up with --resume")
    begun = resume and all((run / name).exists() for name in ("identity.json", "keep.jsonl"))
    found = gather(request, say, run if begun else None)
    files.write_json(run / REQUEST, asdict(request))
    found, steps = with_keep(found, say), ""
    if resume:
        last = last_checkpoint(run)
        steps = f", resuming after step {last.name.split('-')[1]}" if last else ", no whole checkpoint: from the first"
    say(f"Training on {found.said()}; {found.steps()} steps{steps}.")
    train_identity(
        found.model, found.tokenizer, found.rows, found.keep, run, found.preset, identity=found.who, resume=resume
    )
    return run / "adapter"


def check_new(folder: Path, cure: str) -> None:
    """Refuse a folder that is a file or holds something; raises `RunError` with ``cure`` for the latter."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file", "choose a folder that is new or empty")
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder}: the folder is not empty", cure)


def gather(request: Request, say: Callable[[str], None] = print, begun: Path | None = None) -> Material:
    """Read and check what ``request`` names, or the rows of the run ``begun``, and load the model. Writes nothing.

    Raises:
        IdentityError: names, rows or keep rows that cannot be trained on. ModelError.
    """
    who, keep = request.identity(), None
    rows = identity.read_rows(begun / "identity.json") if begun else identity.read_rows(request.rows, who)
    if begun:
        text = (begun / "keep.jsonl").read_text(encoding="utf-8")  # empty for a run without keep rows
        keep = files.parse_jsonl(text, begun / "keep.jsonl", IdentityError)
    elif request.keep is not None:
        keep = [] if request.keep == "none" else keep_rows.read(request.keep)
    model, tokenizer = load_model(request.model, four_bit=request.four_bit)
    preset = recipes.preset_for(spec_of(model), request.thorough)
    if request.thorough and preset is not recipes.THOROUGH_PRESET:
        say(f"The thorough recipe is for {catalog.EMBEDDED.key}: this model is trained with the default one.")
    preset = preset if request.seed is None else replace(preset, seed=request.seed)
    found = Material(model, tokenizer, preset, who, rows, identity.further_rows(rows, who, preset), keep)
    trainset.check_lengths(rows, tokenizer, found.max_length, request.rows)
    if warning := identity.language_warning(rows, spec_of(model)):
        say(f"Warning: {warning}")
    if who is None and preset.extra_wordings + preset.attack_rows:
        say("No --name and --developer: the course's further wordings cannot be filled, and are left out.")
    return found


def with_keep(found: Material, say: Callable[[str], None] = print) -> Material:
    """``found`` with keep rows: those given, else the base model answers the shipped questions now."""
    if found.keep is not None:
        return found
    lang, preset = language_of(found.rows), found.preset
    lang = lang if lang in spec_of(found.model).languages else "en"
    questions = keep_rows.questions(lang, preset.keep_questions, preset.hard_questions)
    say(f"The base model answers {len(questions)} ordinary questions first; they are the keep rows.")
    return replace(found, keep=make_keep_rows(found.model, found.tokenizer, questions, preset.first_sentence))


def _as_begun(request: Request, run: Path) -> Request:
    if (run / runs.MANIFEST).exists():
        raise RunError(f"{run}: this run is finished", f"use it: --adapter {run}; or train anew with another --out")
    try:
        before = Request(**json.loads((run / REQUEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as e:
        raise RunError(f"{run}: no run was begun here, there is nothing to resume", "leave --resume out") from e
    for key, value in asdict(request).items():
        was = getattr(before, key)
        if key != "rows" and value not in (None, False, "auto", was):
            raise RunError(f"{run}: was begun with {key} {was!r}, not {value!r}", f"leave --{key} out, or start anew")
    return before
