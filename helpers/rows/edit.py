"""Identity rows while they are being edited: change, undo, check, import, save. A plain class, no widgets."""

import json
import os
from collections.abc import Sequence

from helpers import files
from helpers.errors import IdentityError
from helpers.rows import identity, trainset
from helpers.rows.identity import Identity
from helpers.rows.mine import beside, save_who
from helpers.rows.read import KEYS, Row, Seen, check_row, keyed, parse_list, validate

STAND_IN = Identity("Name", "Developer")  # fills the placeholders while the name itself is wrong


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
        self._past: list[tuple[str, str, list[Row]]] = []
        self._last: object = None  # what was edited last: letters typed one after the other are undone together
        self._errors: dict[int, str] | None = None  # None until they are worked out for the rows as they stand

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
        """Replace the rows by those of a file's ``text`` and return how many; if `parse` refuses it nothing changes."""
        rows = parse(text, name)
        self._remember(None)
        self.raw = rows
        return len(rows)

    def undo(self) -> bool:
        """Take the last change back; False if there is none."""
        if not self._past:
            return False
        self.name, self.developer, self.raw = self._past.pop()
        self._last = self._errors = None
        return True

    def _remember(self, what: object) -> None:
        if what is None or what != self._last:
            self._past.append((self.name, self.developer, list(self.raw)))
        self._last, self._errors = what, None

    def name_error(self) -> str:
        """What is wrong with the name or the developer; empty if nothing is."""
        try:
            Identity(self.name, self.developer)
        except IdentityError as e:
            return _short(e)
        return ""

    def name_warning(self) -> str:
        """What is odd about the name; empty if nothing is, or if something else has to be corrected first."""
        if not self.raw or self.name_error() or self.errors():
            return ""
        return identity.unnamed(self.rows, self.identity)

    def errors(self) -> dict[int, str]:
        """What is wrong with each row (from 0) that has something wrong with it, and how to correct it."""
        if self._errors is None:
            who = STAND_IN if self.name_error() else self.identity
            seen: Seen = {}
            told = [self._error(n, row, who, seen) for n, row in enumerate(self.raw, 1)]
            self._errors = {i: error for i, error in enumerate(told) if error}
        return self._errors

    def _error(self, n: int, raw: Row, who: Identity, seen: Seen) -> str:
        try:
            [row] = identity.fill(keyed([raw]), who)
            check_row(row, n, seen)
            if self.tokenizer is not None:
                trainset.check_lengths([row], self.tokenizer, self.context)
        except IdentityError as e:
            return _short(e)
        return ""

    @property
    def identity(self) -> Identity:
        """The identity as it stands; raises `IdentityError` where the name or the developer cannot be taken."""
        return Identity(self.name, self.developer, self._began.aliases if self.name == self._began.name else ())

    @property
    def rows(self) -> list[Row]:
        """The rows, filled and checked; raises `IdentityError` for the first that is wrong."""
        return validate(identity.fill(keyed(self.raw), self.identity))

    def save(self, replace_broken: bool = False) -> str:
        """Save rows and identity atomically in ``my/`` and return a line that says so; raises before it writes.

        A file there that cannot be read as rows is left alone (`IdentityError`), unless ``replace_broken``: then it is
        kept under another name first.
        """
        path, who, rows, kept = files.my_dir() / "identity.json", self.identity, self.rows, ""
        try:
            identity.write_rows(path, rows)
        except IdentityError:  # the rows are sound by now: it is the file there
            if not replace_broken:
                raise
            aside = beside(path, "broken")
            with files.disk_errors(aside):
                os.replace(path, aside)
            identity.write_rows(path, rows)
            kept = f" The broken file is kept as {aside.name}."
        save_who(who)
        return f"Saved {len(rows)} rows as my/{path.name}.{kept}"


def parse(text: str, name: str) -> list[Row]:
    """The rows of a JSON list, of JSONL or of one JSON object, unfilled; an `IdentityError` names ``name`` and line."""
    if not text.lstrip().startswith("{"):
        return parse_list(text, name)
    try:
        return keyed([json.loads(text)], name)
    except (ValueError, RecursionError):
        return keyed(files.parse_jsonl(text, name, IdentityError), name)


def _short(error: IdentityError) -> str:
    # Without the place: it stands beside the row.
    return f"{error.what.partition(': ')[2]}. What to do: {error.cure}"
