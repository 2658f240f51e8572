"""What the learner has made so far, or the shipped reference: each notebook also runs alone. Nothing trains here."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from helpers import files, runs
from helpers.errors import IdentityError
from helpers.rows import identity, keep_rows, words
from helpers.rows.identity import Identity
from helpers.rows.read import Row, keyed, language_of, read_list, validate


def save_rows(rows: Sequence[Row], who: Identity, keep_before: bool = True, replace_broken: bool = False) -> str:
    """Check and save ``my/identity.json`` and ``my/who.json``; return a line on where the rows there before are kept.

    Other rows are copied next to it only with ``keep_before``. A file that cannot be read as rows is left alone
    (`IdentityError`), but renamed with ``replace_broken``. After an `IdentityError` or a `DiskError` nothing is lost.
    """
    path, line = files.my_dir() / "identity.json", ""
    rows = validate(keyed(rows, path), path, who=who)
    try:
        before = read_list(path) if path.exists() else rows
    except IdentityError as e:
        if not replace_broken:
            what = "the file there cannot be read as rows and was left alone"
            raise IdentityError(what, "rename it, mend it or delete it first", path) from e
        before, kept = rows, _free(path, "broken")
        with files.disk_errors(kept):
            path.replace(kept)
        line = f"The broken file is kept as {kept.name}."
    if keep_before and before != rows:
        kept = files.write_json(_free(path, "before"), before)
        line = f"Other rows were saved there before: they are kept as my/{kept.name}."
    files.write_json(path, rows)
    files.write_json(path.with_name("who.json"), asdict(who))
    return line


def _free(path: Path, kind: str) -> Path:
    # A name with the time; and with a number, for two of one second.
    stem = f"{path.stem}-{kind}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    return files.free(path.with_name(f"{stem}.json"))


def who_of(folder: Path) -> Identity:
    """The identity in a run's manifest, or in the ``who.json`` of ``my/``; raises `RunError` or `IdentityError`."""
    path = folder / "who.json"
    try:
        if path.exists():
            told = files.read_json(path, IdentityError)
        else:
            path, told = folder / runs.MANIFEST, runs.read_manifest(folder)["facts"]["identity"]
        return Identity(told["name"], told["developer"], tuple(told.get("aliases", ())))
    except (LookupError, TypeError, ValueError) as e:
        raise IdentityError("no name and developer in it", "run notebook 02 again, or delete the file", path) from e


def keep_name(model_key: str, lang: str = "en") -> str:
    """The name of the file in ``my/`` with the keep rows of a model, which has one for each language."""
    return f"keep-{model_key}{'' if lang == 'en' else f'-{lang}'}.jsonl"


def load_mine(model_key: str, lang: str = "en") -> tuple[Identity, list[Row], list[Row] | None, str]:
    """Identity, rows and keep rows of the learner, or else the shipped ones, and a line that says whose they are.

    Rows of one's own in another language than ``lang`` are left alone. The keep rows are None if there are none for
    this model and language yet.
    """
    my, reference = files.my_dir(), runs.reference_run()
    who, rows = words.identity_in(lang), None
    note = "Nothing of yours in my/ yet: using the shipped rows."
    if (my / "who.json").exists():
        mine = who_of(my)
        rows = identity.read_rows(my / "identity.json", mine)
        if language_of(rows) == lang:
            who, note = mine, "Using your own rows from my/."
        else:
            rows, note = None, f"Your rows in my/ are not in the language {lang!r}: using the shipped rows."
    rows = rows or identity.read_rows(identity.shipped_rows(lang), who)
    if warning := identity.unnamed(rows, who):
        note += f" Warning: {warning}."
    keep = [path for place in (my, reference) if (path := place / keep_name(model_key, lang)).exists()]
    return who, rows, keep_rows.read(keep[0]) if keep else None, note


def results_dir(run: Path) -> Path:
    """Where results about ``run`` are written: into the run itself, or into ``my/`` for the shipped reference."""
    return run if run.parent == files.home() / "runs" else files.my_dir()
