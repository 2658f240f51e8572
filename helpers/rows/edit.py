"""Identity rows while they are being edited: change, undo, check, bring in, save. A plain class, no widgets."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from helpers import files
from helpers.errors import IdentityError
from helpers.rows import identity, trainset
from helpers.rows.identity import Identity
from helpers.rows.mine import save_who
from helpers.rows.read import KEYS, Row, keyed, validate

STAND_IN = Identity("Name", "Developer")  # fills the placeholders while the name itself is wrong


@dataclass(frozen=True)
class _State:
    name: str
    developer: str
    rows: tuple[tuple[str, str, str], ...]


class RowTable:
    """The name, the developer and the rows of an identity. `raw` has placeholders for both; `rows` gives them filled.

    Names that stand in the rows to begin with become placeholders, so that another name changes every row.

    Args:
        rows: to begin with.
        who: the identity to begin with; its other spellings stay as long as its name does.
        tokenizer, context: to refuse rows of more tokens than the model's context; None leaves that out.
    """

    def __init__(self, rows: Sequence[Row], who: Identity, tokenizer=None, context: int = 0):
        self.name, self.developer, self._began = who.name, who.developer, who
        self.raw: list[Row] = identity.unfill(rows, who)
        self.tokenizer, self.context = tokenizer, context
        self._past: list[_State] = []
        self._last: object = None  # what was edited last: letters typed one after the other are undone together

    # ------------------------------------------------------------ changing

    def rename(self, name: str | None = None, developer: str | None = None) -> None:
        """Change the name or the developer."""
        self._remember("name" if developer is None else "developer")
        self.name = self.name if name is None else name
        self.developer = self.developer if developer is None else developer

    def edit(self, i: int, key: str, text: str) -> None:
        """Change one text of row ``i`` (from 0)."""
        self._remember((i, key))
        self.raw[i] = {**self.raw[i], key: text}

    def add(self) -> None:
        """Add an empty row at the end."""
        self._remember(None)
        self.raw.append(dict.fromkeys(KEYS, ""))

    def delete(self, i: int) -> None:
        """Delete row ``i`` (from 0)."""
        self._remember(None)
        del self.raw[i]

    def bring_in(self, text: str, name: str) -> int:
        """Replace the rows by those of a file's ``text``: a JSON list, or JSONL of the same keys. Returns how many.

        Raises:
            IdentityError: it cannot be read; then nothing has changed.
        """
        rows = parse(text, name)
        self._remember(None)
        self.raw = rows
        return len(rows)

    def undo(self) -> bool:
        """Take the last change back; False if there is none."""
        if not self._past:
            return False
        state = self._past.pop()
        self.name, self.developer, self._last = state.name, state.developer, None
        self.raw = [dict(zip(KEYS, row, strict=True)) for row in state.rows]
        return True

    def _remember(self, what: object) -> None:
        if what is None or what != self._last:
            rows = tuple(tuple(row[key] for key in KEYS) for row in self.raw)
            self._past.append(_State(self.name, self.developer, rows))
        self._last = what

    # ------------------------------------------------------------ checking

    def name_error(self) -> str:
        """What is wrong with the name or the developer; empty if nothing is."""
        try:
            _ = self.identity
        except IdentityError as e:
            return _short(e)
        return ""

    def name_warning(self) -> str:
        """What is odd about the name; empty if nothing is, or if something else has to be mended first."""
        if not self.raw or self.name_error() or self.errors():
            return ""
        return identity.unnamed(self.rows, self.identity)

    def errors(self) -> dict[int, str]:
        """What is wrong with each row (from 0) that has something wrong with it, and how to mend it."""
        found: dict[int, str] = {}
        rows = [dict(row) for row in self.raw]
        while len(found) <= len(rows):
            try:
                self._check(rows)
                return found
            except IdentityError as e:
                if e.row is None:
                    raise
                found[e.row - 1] = _short(e)
                rows[e.row - 1] = {"instruction": f"row {e.row} is wrong {e.row}", "input": "", "output": "x"}
        return found

    def _check(self, rows: Sequence[Row]) -> list[Row]:
        who = STAND_IN if self.name_error() else self.identity
        filled = validate(identity.fill(keyed(rows, None), who))
        if self.tokenizer is not None:
            trainset.check_lengths(filled, self.tokenizer, self.context)
        return filled

    # ------------------------------------------------------------ what comes of it

    @property
    def identity(self) -> Identity:
        """The identity as it stands; raises `IdentityError` where the name or the developer cannot be taken."""
        return Identity(self.name, self.developer, self._began.aliases if self.name == self._began.name else ())

    @property
    def rows(self) -> list[Row]:
        """The rows, filled and checked; raises `IdentityError` for the first that is wrong."""
        return validate(identity.fill(keyed(self.raw, None), self.identity))

    def save(self, path: Path | str | None = None, replace_broken: bool = False) -> str:
        """Save rows and identity atomically, by default in ``my/``, and return a line that says so.

        A file there that cannot be read as rows is left alone, unless ``replace_broken``: then it is kept under
        another name first.

        Raises:
            IdentityError, DiskError: nothing was written.
        """
        path = Path(path or files.my_dir() / "identity.json")
        who, rows = self.identity, self.rows
        aside = _set_aside(path) if replace_broken and path.exists() and not _readable(path) else None
        identity.write_rows(path, rows)
        save_who(who)
        kept = f" The broken file is kept as {aside.name}." if aside else ""
        return f"Saved {len(rows)} rows as {path.parent.name}/{path.name}.{kept}"


def parse(text: str, name: str) -> list[Row]:
    """The rows of a JSON list or of JSONL, placeholders and all; raises `IdentityError` that names ``name``."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        rows = [_line(line, n, name) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    rows = [rows] if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or not rows:
        cure = 'write [{"instruction": ..., "input": "", "output": ...}, ...], or one such object a line'
        raise IdentityError("there are no rows in it", cure, name)
    return keyed(rows, name)


def _line(line: str, n: int, name: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as e:
        cure = "compare it with data/identity/en.json; usually a comma or a quote is missing"
        raise IdentityError(f"neither a JSON list nor JSONL (line {n}: {e})", cure, name) from e


def _readable(path: Path) -> bool:
    try:
        return bool(identity.read_list(path))
    except IdentityError:
        return False


def _set_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.stem}-broken-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{path.suffix}")
    with files.disk_errors(aside):
        os.replace(path, aside)
    return aside


def _short(error: IdentityError) -> str:
    # Without the place: it stands beside the row.
    return f"{error.what.partition(': ')[2]}. What to do: {error.cure}"
