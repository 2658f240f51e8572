"""What a run was begun with: written down before its first step, and compared when the run is taken up again.

The record also tells a folder in which nothing was trained yet, and may be begun again, from one that is in use.
"""

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from helpers import files, runs
from helpers.errors import DiskError, HelpersError, IdentityError, RunError
from helpers.models import catalog
from helpers.models.load import base_of, fingerprint, same_base, spec_of
from helpers.rows.identity import Identity
from helpers.rows.read import Row
from helpers.training.recipes import Preset
from helpers.training.resume import last_checkpoint

RECORD = "request.json"
# All that a training writes into its folder; with a dot, what one that was killed was just writing.
WRITTEN = re.compile(
    r"(request|identity|metrics)\.json|keep\.jsonl|memory\.csv|README\.md|adapter|checkpoint-\d+|\.lock"
    r"|\.(request\.json|identity\.json|metrics\.json|manifest\.json|keep\.jsonl|memory\.csv|adapter|mode)\..*"
)
ANEW = "train anew in a new run folder (another --out)"


@dataclass(frozen=True)
class Begun:
    """What a run was begun with."""

    model: str  # as `load.load_model` and ``--model`` take it
    key: str  # its short name
    fingerprint: str
    four_bit: bool
    preset: Preset
    identity: Identity | None
    examples: str  # SHA-256 of the training set
    asked: dict | None  # the fields of `from_file.Request`, if the command line began it
    origin: dict[str, str] | None = None  # the adapter it was begun from, see `going_on.origin`; None for new weights


def shell(*words: object) -> str:
    """A command of this package that can be pasted into a shell."""
    return shlex.join(["python", "-m", "helpers", *map(str, words)])


def choice_of(model) -> str:
    """What to give `load.load_model` or ``--model`` for ``model``; a folder of the reader's as an absolute path."""
    spec, where = spec_of(model), base_of(model).name_or_path
    if spec == catalog.EMBEDDED:
        return "embedded"
    if where and Path(where).is_dir() and Path(where).name != spec.revision:  # the Hub's cache names folders so
        return str(Path(where).resolve())
    return spec.hub_id or spec.key


def of(
    model, preset: Preset, identity: Identity | None, data: Iterable[dict], asked: dict | None = None,
    origin: dict | None = None,
) -> Begun:  # fmt: skip
    """The record of a training of ``model`` on the examples ``data``."""
    examples = hashlib.sha256("".join(json.dumps(one, sort_keys=True) for one in data).encode()).hexdigest()
    four_bit = bool(getattr(base_of(model), "is_loaded_in_4bit", False))
    whose = choice_of(model), spec_of(model).key, fingerprint(model)
    return Begun(*whose, four_bit, preset, identity, examples, asked, origin)


def _digest(told: dict) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def write(run: Path, begun: Begun) -> None:
    """Write the record, with a hash of itself; raises `DiskError`."""
    told = asdict(begun)
    # Not `files.write_json`: a path may hold bytes that are no text.
    files.write_atomic(run / RECORD, json.dumps({**told, "sha256": _digest(told)}, indent=2) + "\n")


def read(run: Path) -> Begun:
    """The record of ``run``; raises `RunError` if there is none, or none that this version of the course wrote."""
    path = run / RECORD
    if not os.path.isfile(path):
        cure = "leave --resume out" + ("" if is_free(run) else f", and {ANEW}")
        raise RunError(f"{run}: no run was begun here that says with what, there is nothing to resume", cure)
    try:
        told = files.read_json(path)
        if told.pop("sha256", None) != _digest(told):
            raise ValueError("it was changed, or is of another version of the course")
        preset = {name: tuple(value) if isinstance(value, list) else value for name, value in told["preset"].items()}
        if unlike := preset.keys() ^ {field.name for field in fields(Preset)}:
            raise ValueError(f"another version of the course wrote it: {', '.join(sorted(unlike))}")
        who = told["identity"] and Identity(**{**told["identity"], "aliases": tuple(told["identity"]["aliases"])})
        return Begun(**{**told, "preset": Preset(**preset), "identity": who})
    except (ValueError, LookupError, TypeError, AttributeError, HelpersError) as e:
        what = f"{path}: cannot be read as what this run was begun with ({getattr(e, 'what', e)})"
        raise RunError(what, ANEW) from e


def written_keep(path: Path) -> list[Row]:
    """The keep rows that a training wrote to ``path``, perhaps none; raises `IdentityError`."""
    empty = os.path.isfile(path) and not path.stat().st_size
    return [] if empty else files.read_jsonl(path, IdentityError)


def holds(path: Path, rows: Sequence[Row]) -> bool:
    """Whether a training wrote ``rows`` to ``path``."""
    try:
        there = files.read_json(path) if path.suffix == ".json" else written_keep(path)
    except HelpersError:
        return False
    return there == json.loads(json.dumps(list(rows)))


def recorded(run: Path) -> bool:
    """Whether ``run`` has a record that can be read."""
    try:
        return os.path.isfile(run / RECORD) and bool(read(run))
    except RunError:
        return False


def way_on(run: Path) -> str:
    """How to take ``run`` up again: the command, or in Python the argument."""
    asked = read(run).asked if recorded(run) else None
    if asked is None:
        return " (resume=True, or --resume)"
    return f": {shell('train', asked['rows'], '--out', run, '--resume')}"


def check_place(run: Path) -> None:
    """Refuse a ``run`` that is a link or no folder, lies in another run, or cannot be written.

    Raises `RunError`, and `DiskError` for a folder that is read-only.
    """
    if run.is_symlink():
        raise RunError(f"{run}: is a link, and two names for a run are one too many", f"name {run.resolve()} itself")
    if os.path.lexists(run) and not run.is_dir():
        raise RunError(f"{run}: is a file or a device, and no folder", "choose another --out, a folder that is new")
    for folder in run.absolute().parents:
        if os.path.isfile(folder / "adapter" / "adapter_config.json") or recorded(folder):
            raise RunError(f"{run}: lies in the run {folder}", "choose another --out, outside of that run")
    if run.exists() and not os.access(run, os.R_OK | os.W_OK | os.X_OK):
        raise DiskError(f"{run}: cannot be written (read-only)", "choose a folder you may write to")


def is_free(run: Path) -> bool:
    """Whether a run may be begun in the folder ``run``: it holds at most what a training without a checkpoint left."""
    names = [path.name for path in run.iterdir()] if run.is_dir() else []
    ours = recorded(run) or all(name.startswith(".") for name in names)
    return ours and all(map(WRITTEN.fullmatch, names)) and not last_checkpoint(run)


def forget(run: Path) -> None:
    """Delete what a training wrote into ``run``, the record last; `is_free` has to hold of it but for other files."""
    written = (path for path in run.iterdir() if WRITTEN.fullmatch(path.name)) if run.is_dir() else ()
    for path in sorted(written, key=lambda path: (path.name == RECORD, path.name)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != files.LOCK:
            with contextlib.suppress(OSError):
                path.unlink()


def check(run: Path, model, now: Begun, rows: Sequence[Row], keep: Sequence[Row], resume: bool) -> Path | None:
    """The checkpoint to go on from, None to begin; raises `RunError` if ``run`` is in use or was begun otherwise."""
    if (run / runs.MANIFEST).exists():
        raise RunError(f"{run}: this run is finished", "load its adapter, or train in a new run folder")
    last = last_checkpoint(run)
    if last and resume:
        before = read(run)
        for path, given in ((run / "identity.json", rows), (run / "keep.jsonl", keep)):
            if not holds(path, given):
                raise RunError(f"{path}: these are not the rows this run was begun with", "train in a new run folder")
        _compare(run, model, before, now)
        return last
    if last and recorded(run):
        raise RunError(f"{run}: an unfinished run is here", "resume it (resume=True, or --resume), or use a new folder")
    there = [path.name for path in run.iterdir()] if run.is_dir() and not recorded(run) else []
    if taken := sorted(name for name in there if name[0] != "." and WRITTEN.fullmatch(name)):
        raise RunError(f"{run}: {taken[0]} is there already, and would be overwritten", "train in a new run folder")
    return None


def _compare(run: Path, model, before: Begun, now: Begun) -> None:
    def told(one: Begun) -> dict:
        names = {"model": one.key, "4-bit weights": one.four_bit, "identity": one.identity and one.identity.names}
        return {**names, **{name: value for name, value in asdict(one.preset).items() if name != "measured"}}

    was, is_now = told(before), told(now)
    for name in was:
        if was[name] != is_now[name]:
            cure = "resume it with what it was begun with, or train in a new run folder"
            raise RunError(f"{run}: was begun with {name} {was[name]!r}, not {is_now[name]!r}", cure)
    if not same_base(model, before.fingerprint):
        cure = f"load the model it was begun with ({before.model}), or train in a new run folder"
        raise RunError(f"{run}: was begun with other weights of {now.key} than these", cure)
    if before.examples != now.examples:
        what = f"{run}: the rows that the course adds are no longer those this run was begun with"
        raise RunError(what, "train in a new run folder, or go back to the version of the course that began it")
