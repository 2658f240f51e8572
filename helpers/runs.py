"""Run folders; one is complete only if every file that its ``manifest.json`` names has the recorded SHA-256."""

import contextlib
import itertools
import os
import re
from datetime import UTC, datetime
from pathlib import Path, PurePath

from helpers import files
from helpers.errors import HelpersError, RunError

MANIFEST = "manifest.json"


def reference_run() -> Path:
    """The shipped run that later notebooks fall back to: ``data/reference/``."""
    return files.data_dir() / "reference"


def new_run(model_key: str) -> Path:
    """Make and return a fresh ``runs/<YYYYMMDDTHHMMSSZ>-<model>[-n]/``; an existing one is never taken."""
    stem = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{model_key}"
    for n in itertools.count(1):
        folder = files.make_dir(files.home() / "runs") / (stem if n == 1 else f"{stem}-{n}")
        with files.disk_errors(folder), contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder


def seal(run: Path, facts: dict) -> Path:
    """Write the run's manifest last: ``facts`` and the SHA-256 of every file in the folder but checkpoints."""
    hashes = {
        p.relative_to(run).as_posix(): files.sha256(p)
        for p in sorted(run.rglob("*"))
        if p.is_file() and p.name != MANIFEST and not p.relative_to(run).parts[0].startswith(("checkpoint-", "."))
    }
    return files.write_json(run / MANIFEST, {"facts": facts, "files": hashes})


def read_manifest(run: Path, below: str = "") -> dict:
    """The run's manifest after checking the hash of every file that it names, or of those ``below`` a folder in it.

    Raises `RunError`.
    """
    path = Path(run) / MANIFEST
    if not os.path.isdir(run):
        raise RunError(f"{run}: there is no such run folder", "name a folder in runs/, or data/reference")
    if not os.path.exists(path):
        what = f"{run}: no {MANIFEST}, so it is a run that did not finish, or none of this course"
        raise RunError(what, "run notebook 03 again, or resume the run")
    try:
        manifest = files.parse_json(path.read_text(encoding="utf-8"))
        if not all(isinstance(found, dict) for found in (manifest, manifest["files"], manifest["facts"])):
            raise TypeError
        hashes = manifest["files"]
        if strange := [n for n in hashes if PurePath(n).is_absolute() or ".." in PurePath(n).parts]:
            raise ValueError(f"{strange[0]} is no file of the run")
        found = {n: path.parent / n for n in hashes if n.startswith(below)}
        changed = [file for n, file in found.items() if not os.path.isfile(file) or files.sha256(file) != hashes[n]]
    except (KeyError, TypeError) as e:
        raise RunError(f"{path}: not readable as a manifest (no files and facts in it)", "run notebook 03 again") from e
    except (HelpersError, ValueError, OSError) as e:
        what = f"{path}: not readable as a manifest ({getattr(e, 'what', e)})"
        raise RunError(what, "run notebook 03 again") from e
    if changed:
        raise RunError(f"{changed[0]}: missing or not what was written", "run notebook 03 again")
    return manifest


def latest(model_key: str) -> tuple[Path, str]:
    """The newest complete run of ``model_key`` (experiments have longer names), else the shipped one; and a note.

    Raises `RunError` for a model without a run of its own, if the shipped one is another model's.
    """
    skipped = []
    named = re.compile(rf"\d{{8}}T\d{{6}}Z-{re.escape(model_key)}(-\d+)?")
    found = [p for p in (files.home() / "runs").glob("*") if p.is_dir() and named.fullmatch(p.name)]
    for run in sorted(found, key=lambda p: (p.name[:16], len(p.name), p.name), reverse=True):  # ...-10 after ...-9
        try:
            if read_manifest(run)["facts"].get("model") == model_key:
                note = f" (incomplete and passed over: {', '.join(skipped)})" if skipped else ""
                return run, f"Using your run {run.name}{note}."
        except RunError:
            skipped.append(run.name)
    note = f" Incomplete and passed over: {', '.join(skipped)}." if skipped else ""
    shipped = files.read_json(reference_run() / MANIFEST)["facts"]["model"]
    if shipped != model_key:
        what = f"there is no finished run of {model_key} yet, and the shipped one is of {shipped}.{note}".rstrip(".")
        raise RunError(what, "run notebook 03 with this model first, or take MODEL='embedded'")
    return reference_run(), f"No finished run of your own yet: using the shipped reference run.{note}"
