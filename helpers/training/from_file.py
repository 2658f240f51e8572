"""The recipe from files: an identity file in, a finished run folder out. What `python -m helpers train` does.

The training is in `train`, and what a run was begun with in `begun`.
"""

import contextlib
import os
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

from helpers import files, runs
from helpers.chat.language import speaks_chinese
from helpers.errors import IdentityError, ModelError, RunError
from helpers.models import catalog, locate, template
from helpers.models.load import context_length, load_model, spec_of
from helpers.rows import claims, identity, keep_rows, marks, trainset
from helpers.rows.read import Row, language_of
from helpers.training import begun, going_on, recipes
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
    start: str | None = None  # a run or adapter folder to go on from

    def __post_init__(self) -> None:
        """Refuse a seed that cannot be used."""
        if self.seed is not None:
            recipes.check_seed(self.seed)


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
    Raises `RunError` if ``run`` is in the way, finished, or was begun otherwise, `BusyError` if somebody else trains
    into it, and what `gather` and `train.train_identity` raise.
    """
    begun.check_place(run)
    if request.start:
        going_on.check_apart(run, request.start)
    with files.locked(run, "training"):
        last = last_checkpoint(run) if resume else None
        if resume:
            request = _as_begun(request, run, last)
        elif not begun.is_free(run):
            going = last_checkpoint(run) and begun.recorded(run) and not (run / runs.MANIFEST).exists()
            on = f"; or take the run up{begun.way_on(run)}" if going else ""
            raise RunError(f"{run}: the folder is not empty", f"choose another --out{on}")
        found = gather(request, say, run if last else None)
        whence = f", resuming after step {last.name.split('-')[1]}" if last else ", no whole checkpoint: from the first"
        say(f"Training on {found.said}; {found.steps} steps{whence if resume else ''}.")
        how = {"identity": found.who, "resume": resume, "start": request.start, "say": say, "asked": asdict(request)}
        train_identity(found.model, found.tokenizer, found.rows, found.keep, run, found.preset, **how)
    say(f"The adapter is in {run / 'adapter'}. Try it: {_chat(found.model, request, run)}")
    return run / "adapter"


def _chat(model, request: Request, run: Path) -> str:
    # With the model, unless an adapter would be loaded on it anyway.
    words = ["chat", "--adapter", run, *(["--four-bit"] if request.four_bit else [])]
    usual = request.model == "auto"
    with contextlib.suppress(ModelError):
        usual = usual or locate.resolve(request.model)[:2] == locate.resolve("auto")[:2]
    return begun.shell(*words, *([] if usual else ["--model", begun.choice_of(model)]))


def check_new(folder: Path, cure: str) -> None:
    """Refuse a folder that is a file or holds something; raises `RunError` with ``cure``."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder}: {'the folder is not empty' if folder.is_dir() else 'is no folder'}", cure)


def gather(request: Request, say: Callable[[str], None] = print, run: Path | None = None) -> Material:
    """Read and check what ``request`` names, load the model, and let it make the keep rows if none are given.

    A ``run`` that is taken up gives identity, rows and recipe itself. Raises `IdentityError` for names, rows or keep
    rows that cannot be trained on, `RunError` for rows that are not those of ``run``, and `ModelError`.
    """
    before, first = begun.read(run) if run else None, going_on.read(request.start, run)
    was = going_on.trained_as(request.start) if request.start else None
    if before is None and (request.name is None) != (request.developer is None):
        raise IdentityError("a name without a developer, or the reverse", "give both: --name and --developer")
    who = before.identity if before else was
    if request.name and not before:
        who = identity.Identity(request.name, request.developer)
    rows, keep = _rows_of(request, who, run, say)
    if before is None:
        _check_together(rows, who, request.rows, say)
    model, tokenizer = load_model(request.model, four_bit=request.four_bit)
    spec = spec_of(model)
    preset = _preset(request, spec, before, first, say)
    if first:
        first.check(model)
        for line in going_on.notes(first, recipes.preset_for(spec), who, was):
            say(line)
    further = identity.further_rows(rows, who, preset)
    trainset.check_lengths(rows, tokenizer, min(context_length(model), preset.max_length), request.rows)
    if (warning := identity.language_warning(rows, spec)) and not speaks_chinese(model, tokenizer):
        say(f"Warning: {warning}")
    if said := template.note(tokenizer):
        say(said)
    if who is None and preset.extra_wordings + preset.attack_rows:
        say("No --name and --developer: the course's further wordings cannot be filled, and are left out.")
    if who and (note := identity.contradiction_note(rows, who, preset)):
        say(note)
    if keep is None:
        lang = "zh" if language_of(rows) == "zh" and speaks_chinese(model, tokenizer) is not False else "en"
        questions = keep_rows.questions_for(preset, lang)
        say(f"The base model's answers to {len(questions)} ordinary questions are the keep rows.")
        keep = make_keep_rows(model, tokenizer, questions, preset.first_sentence, say=say)
        keep = keep[: len(rows) * len(preset.own_systems)] if first else keep
    said = f"{len(rows)} identity rows, {len(further)} further wordings and {len(keep)} keep rows"
    steps = trainset.plan(len(rows), len(keep), preset, len(further)).steps
    return Material(model, tokenizer, preset, who, rows, further, keep, said, steps)


def _check_together(rows: list[Row], who: identity.Identity | None, path: str, say: Callable[[str], None]) -> None:
    if who and (other := claims.other_name(rows, who)):
        cure = "put {{NAME}} and {{DEVELOPER}} where the names stand, or give theirs as --name and --developer"
        raise IdentityError(other, cure, path)
    if thinking := marks.thoughts(rows):
        what = f"the answer of {claims.numbered(thinking)} holds a thought, and models are trained with thinking off"
        raise IdentityError(what, "delete what stands from <think> to </think>", path)
    notes = claims.facts(rows), claims.languages(rows), who and claims.other_script(rows, who)
    for note in filter(None, notes):
        say(note)


def _preset(request: Request, spec, before: begun.Begun | None, first, say: Callable) -> recipes.Preset:
    preset = recipes.preset_for(spec, request.thorough)
    if request.thorough and preset is not recipes.THOROUGH_PRESET:
        say(f"The thorough recipe is for {catalog.EMBEDDED.key}: this model is trained with its own.")
    preset = preset if request.seed is None else replace(preset, seed=request.seed)
    preset = first.shape(going_on.short(preset)) if first else preset
    if before is None:
        return preset
    today, then = (
        asdict(replace(preset, seed=before.preset.seed, measured=before.preset.measured)),
        asdict(before.preset),
    )
    if other := [f"{name} {then[name]!r} (now {today[name]!r})" for name in today if today[name] != then[name]]:
        say(f"It goes on by the recipe it was begun with, which is no longer the course's: {', '.join(other)}.")
    return before.preset


def _rows_of(request: Request, who, run: Path | None, say: Callable) -> tuple[list[Row], list[Row] | None]:
    # Identity rows and keep rows; None for keep rows that are to be made.
    rows, keep = identity.read_rows(request.rows, who, say), [] if request.keep == "none" else request.keep
    keep = keep_rows.read(keep) if isinstance(keep, str) else keep
    if run is None:
        return rows, keep
    for name, given, path in ((request.rows, rows, run / "identity.json"), ("--keep", keep, run / "keep.jsonl")):
        if given is not None and not begun.holds(path, given):
            cure = f"give {shlex.quote(str(path))} instead" if name == request.rows else "leave --keep out"
            raise RunError(f"{run}: was begun with other rows than {name} holds now", f"{cure}, or {begun.ANEW}")
    return rows, begun.written_keep(run / "keep.jsonl")


def _as_begun(request: Request, run: Path, last: Path | None) -> Request:
    # What was asked for when ``run`` was begun; raises `RunError` if ``request`` says otherwise.
    if (run / runs.MANIFEST).exists():
        runs.read_manifest(run)  # a damaged one is told first
        raise RunError(f"{run}: this run is finished", f"use it: {begun.shell('chat', '--adapter', run)}")
    before = begun.read(run)
    who, asked = before.identity, Request(**(before.asked or {"rows": request.rows, "keep": request.keep}))
    if before.asked is None and last is None:
        raise RunError(f"{run}: was begun in Python, and nothing was trained yet", "leave --resume out")
    typed = {
        "--model": (None if request.model == "auto" else locate.resolve(request.model)[0].key, before.key),
        "--name": (request.name and normalize("NFC", request.name), who and who.name),
        "--developer": (request.developer and normalize("NFC", request.developer), who and who.developer),
        "--seed": (request.seed, before.preset.seed),
        "--thorough": (request.thorough or None, asked.thorough),
        "--four-bit": (request.four_bit or None, before.four_bit),
    }
    for option, (now, was) in typed.items():
        if now not in (None, was):
            said = f"without {option}" if was in (None, False) else f"with {option} {shlex.quote(str(was))}, not {now}"
            raise RunError(f"{run}: was begun {said}", f"leave {option} out, or {begun.ANEW}")
    keep = request.keep if last or request.keep else asked.keep
    start = request.start if last or request.start else asked.start
    model = before.model if request.model == "auto" else request.model
    return replace(asked, rows=request.rows, keep=keep, model=model, four_bit=before.four_bit, start=start)
