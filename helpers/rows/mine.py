"""What the learner has made so far, and the shipped reference wherever something is not there yet.

Each notebook starts from here, so that every one of them also runs alone. Nothing here trains or judges.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from helpers import files, runs
from helpers.errors import IdentityError
from helpers.rows import identity, keep_rows
from helpers.rows.identity import Identity, Row


def save_who(who: Identity) -> Path:
    """Keep the chosen identity in ``my/who.json``."""
    return files.write_json(
        files.my_dir() / "who.json", {"name": who.name, "developer": who.developer, "aliases": list(who.aliases)}
    )


def save_rows(rows: Sequence[Row], who: Identity) -> str:
    """Save the rows as ``my/identity.json`` and the identity as ``my/who.json``; returns a line on what was kept.

    Other rows that stood there are not lost: they are kept beside it, under a name with the time.

    Raises:
        IdentityError, DiskError: what was there is unchanged.
    """
    path, line = files.my_dir() / "identity.json", ""
    if path.exists() and (before := identity.read_list(path)) != list(rows):
        aside = path.with_name(f"identity-before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json")
        files.write_json(aside, before)
        line = f"Other rows were saved there before: they are kept as my/{aside.name}."
    identity.write_rows(path, rows)
    save_who(who)
    return line


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

    The learner's from ``my/`` if notebook 02 wrote them, else the reference run's. Keep rows that are missing for
    this model are made now, by the base model.
    """
    path = files.my_dir() / "who.json"
    if path.exists():
        who = _identity(json.loads(identity.read_text(path)), path)
        rows = identity.read_rows(files.my_dir() / "identity.json", who)
        warning = identity.unnamed(rows, who)
        note = f"Using your own rows from my/.{f' Warning: {warning}.' if warning else ''}"
    else:
        who = who_of(runs.reference_run())
        rows = identity.read_rows(runs.reference_run() / "identity.json", who)
        note = "Nothing of yours in my/ yet: using the shipped rows."
    return who, rows, _keep(model_key), note


def _keep(model_key: str) -> list[Row] | None:
    name = f"keep-{model_key}.jsonl"
    found = [path for path in (files.my_dir() / name, runs.reference_run() / name) if path.exists()]
    return keep_rows.read(found[0]) if found else None


def results_dir(run: Path) -> Path:
    """Where results about ``run`` are written: into the run itself, or into ``my/`` for the shipped reference."""
    return run if run.parent == files.home() / "runs" else files.my_dir()
