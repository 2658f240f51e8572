"""What the learner has made so far, and the shipped reference wherever something is not there yet.

Each notebook starts from here, so that every one of them also runs alone. Nothing here trains or judges.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from helpers import files, runs
from helpers.errors import IdentityError
from helpers.rows import identity, keep_rows
from helpers.rows.identity import Identity
from helpers.rows.read import Row, read_list


def save_who(who: Identity) -> Path:
    """Keep the chosen identity in ``my/who.json``."""
    return files.write_json(files.my_dir() / "who.json", asdict(who))


def save_rows(rows: Sequence[Row], who: Identity) -> str:
    """Save the rows as ``my/identity.json`` and the identity as ``my/who.json``; returns a line on what was kept.

    Other rows that stood there are saved next to it, with the time in the file name. After an `IdentityError` or a
    `DiskError` they are unchanged.
    """
    path, line = files.my_dir() / "identity.json", ""
    if path.exists() and (before := read_list(path)) != list(rows):
        kept = files.write_json(beside(path, "before"), before)
        line = f"Other rows were saved there before: they are kept as my/{kept.name}."
    identity.write_rows(path, rows)
    save_who(who)
    return line


def beside(path: Path, word: str) -> Path:
    """A name for a copy of ``path`` next to it, with ``word`` and the time in it."""
    return path.with_name(f"{path.stem}-{word}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{path.suffix}")


def _identity(facts: dict, path: Path) -> Identity:
    try:
        return Identity(facts["name"], facts["developer"], tuple(facts.get("aliases", ())))
    except (KeyError, TypeError) as e:
        raise IdentityError("no name and developer in it", "run notebook 02 again, or delete the file", path) from e


def who_of(run: Path) -> Identity:
    """The identity that ``run`` was trained for, from its manifest; raises `RunError` or `IdentityError`."""
    return _identity(runs.read_manifest(run)["facts"].get("identity") or {}, run / runs.MANIFEST)


def load_mine(model_key: str) -> tuple[Identity, list[Row], list[Row] | None, str]:
    """Identity, identity rows and keep rows to train on, and a line that says whose they are.

    The learner's from ``my/`` if notebook 02 wrote them, else the reference run's. The keep rows are None if there are
    none for this model yet.
    """
    my, reference, note = files.my_dir(), runs.reference_run(), "Nothing of yours in my/ yet: using the shipped rows."
    if (my / "who.json").exists():
        who = _identity(json.loads(files.read_text(my / "who.json", IdentityError)), my / "who.json")
        rows = identity.read_rows(my / "identity.json", who)
        warning = identity.unnamed(rows, who)
        note = f"Using your own rows from my/.{f' Warning: {warning}.' if warning else ''}"
    else:
        who, rows = who_of(reference), identity.read_rows(reference / "identity.json")
    keep = [path for folder in (my, reference) if (path := folder / f"keep-{model_key}.jsonl").exists()]
    return who, rows, keep_rows.read(keep[0]) if keep else None, note


def results_dir(run: Path) -> Path:
    """Where results about ``run`` are written: into the run itself, or into ``my/`` for the shipped reference."""
    return run if run.parent == files.home() / "runs" else files.my_dir()
