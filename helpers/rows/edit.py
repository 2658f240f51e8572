"""Identity rows while they are being edited: change, undo, check, import, save. A plain class, no widgets."""

from collections.abc import Sequence

from helpers.errors import IdentityError
from helpers.rows import claims, formats, identity, trainset
from helpers.rows.identity import Identity
from helpers.rows.mine import save_rows
from helpers.rows.read import KEYS, Row, check_row, keyed, validate


class RowTable:
    """The name, the developer and the rows of an identity. `raw` has placeholders for both; `rows` gives them filled.

    Names that stand in the rows to begin with become placeholders, so that another name changes every row. Aliases
    of ``who`` are kept until the name is changed. With a ``tokenizer``, `errors` reports rows over ``context`` tokens.
    """

    def __init__(self, rows: Sequence[Row], who: Identity, tokenizer=None, context: int = 0):
        self.name, self.developer, self._original = who.name, who.developer, who
        self.raw = identity.unfill(rows, who)
        self.tokenizer, self.context = tokenizer, context
        self._undo: list[tuple[str, str, list[Row]]] = []
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

    def add(self) -> str:
        """Add an empty row at the end; return a line that says so."""
        self._remember(None)
        self.raw.append(dict.fromkeys(KEYS, ""))
        return f"Row {len(self.raw)} was added."

    def delete(self, i: int) -> str:
        """Delete row ``i`` (from 0); return a line that says so."""
        self._remember(None)
        del self.raw[i]
        return f"Row {i + 1} was deleted; Undo brings it back."

    def import_text(self, text: str | bytes, name: str) -> str:
        """Replace the rows by those of a file in any of the formats; an `IdentityError` names ``name`` and the row."""
        found = formats.parse(text, name)
        self._remember(None)
        self.raw = found.rows
        made = f" ({found.kind}: {found.made})" if found.converted else ""
        return f"{len(found.rows)} rows from {name}{made}; Undo goes back."

    def undo(self) -> str:
        """Take the last change back, if there is one; return a line that says so."""
        if not self._undo:
            return "There is nothing to take back."
        self.name, self.developer, self.raw = self._undo.pop()
        self._last = self._errors = None
        return "The last change was taken back."

    def _remember(self, what: object) -> None:
        if what is None or what != self._last:
            self._undo.append((self.name, self.developer, list(self.raw)))
        self._last, self._errors = what, None

    def name_error(self) -> str:
        """What is wrong with the name or the developer; empty if nothing is."""
        try:
            Identity(self.name, self.developer)
        except IdentityError as e:
            return str(e).partition(": ")[2]  # without the place: the text stands beside the name
        return ""

    def warning(self) -> str:
        """What is odd about names and rows; empty if nothing is, or if something else has to be corrected first."""
        first = not self.raw or self.name_error() or self.errors()
        if first:
            return ""
        rows, who = self.rows, self.identity
        return " ".join(filter(None, (identity.unnamed(rows, who), identity.contradiction_note(rows, who))))

    def errors(self) -> dict[int, str]:
        """What is wrong with each row (from 0) that has something wrong with it, and how to correct it."""
        if self._errors is None:
            who = Identity("Name", "Developer") if self.name_error() else self.identity  # to fill the rows meanwhile
            self._errors, sound = {}, {}
            for n, raw in enumerate(self.raw, 1):
                try:
                    [row] = identity.fill(keyed([raw]), who)
                    check_row(row, n)
                    if self.tokenizer is not None:
                        trainset.check_lengths([row], self.tokenizer, self.context)
                    sound[n] = row
                except IdentityError as e:
                    self._errors[n - 1] = str(e).partition(": ")[2]
            numbers = list(sound)
            for clash in claims.clashes(list(sound.values()), who):
                what = f"{clash.kind} row {numbers[clash.first - 1]} ({clash.question[:50]!r})"
                self._errors[numbers[clash.row - 1] - 1] = f"{what}. What to do: keep one of the two"
        return self._errors

    @property
    def identity(self) -> Identity:
        """The identity as it stands; raises `IdentityError` where the name or the developer cannot be taken."""
        return Identity(self.name, self.developer, self._original.aliases if self.name == self._original.name else ())

    @property
    def rows(self) -> list[Row]:
        """The rows, filled and checked; raises `IdentityError` for the first that is wrong."""
        return validate(identity.fill(keyed(self.raw), self.identity), who=self.identity)

    def save(self, replace_broken: bool = False) -> str:
        """Save rows and identity over those saved before, without a copy (`mine.save_rows`); return a line on it."""
        who, rows = self.identity, self.rows
        kept = save_rows(rows, who, keep_before=False, replace_broken=replace_broken)
        return f"Saved {len(rows)} rows as my/identity.json. {kept}".rstrip()
