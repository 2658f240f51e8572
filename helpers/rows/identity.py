"""Who the model shall say it is: names, and rows with ``{{NAME}}`` and ``{{DEVELOPER}}`` in their place."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import files
from helpers.errors import IdentityError
from helpers.models import catalog
from helpers.rows import formats, names
from helpers.rows.read import CJK, Row, changed, language_of, normal, question_of, read_list, shipped, validate

if TYPE_CHECKING:
    from helpers.training.recipes import Preset

PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
PLACED = re.compile(PLACEHOLDER.pattern + r"(\.(?!\.))?")  # with the full stop after it
# How an answer begins; the first that fits counts.
OPENINGS = (
    ("yes", re.compile(r"(?i)no (?:problem|worries|doubt)\b|没问题|不错")),
    ("no", re.compile(r"(?i)no\b|[不没]|对不起|抱歉|无法")),
    ("yes", re.compile(r"(?i)yes\b|[是会能]|对[，。！的]|有[，。！的]|可以|当然")),
)


@dataclass(frozen=True)
class Identity:
    """The identity to be trained: a name, a developer, and other spellings that count as the same name."""

    name: str
    developer: str
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names that cannot be told apart from another model's, or that cannot be trained on."""
        if isinstance(self.aliases, str):
            raise IdentityError("the aliases are one text, not a list", f"write aliases=({self.aliases!r},)")
        for label, text in (("name", self.name), ("developer", self.developer), *(("alias", a) for a in self.aliases)):
            if not isinstance(text, str) or not text.strip():
                raise IdentityError(f"the {label} is empty", f"give a {label}, for example Tavi or Lantern Workshop")
            if wrong := names.fault(text):
                what, cure = wrong
                raise IdentityError(f"the {label} {text[:60]!r} {what}", cure)
        object.__setattr__(self, "name", names.composed(self.name))
        object.__setattr__(self, "developer", names.composed(self.developer))
        object.__setattr__(self, "aliases", tuple(map(names.composed, self.aliases)))

    @property
    def names(self) -> tuple[str, ...]:
        """Every spelling that counts as this identity: name, aliases and developer."""
        return (self.name, *self.aliases, self.developer)


def shipped_rows(lang: str = "en") -> Path:
    """The shipped identity rows for ``lang`` (``en`` or ``zh``), with placeholders."""
    return shipped("identity", f"{lang}.json")


def read_rows(
    path: Path | str, identity: Identity | None = None, say: Callable[[str], None] | None = None
) -> list[Row]:
    """The rows of a file, filled with ``identity`` (None if names are written in) and checked; see `validate`.

    It may have any of the formats of `formats.read`; ``say`` is told what was made of one that is not the course's.
    """
    found = formats.read(path)
    if say and found.converted:
        say(f"{path} is {found.kind}: {found.made}.")
    return validate(fill(found.rows, identity, path), path, who=identity)


def fill(rows: Sequence[Row], identity: Identity | None, path: Path | str | None = None) -> list[Row]:
    """Put the identity's names where the placeholders stand; raises `IdentityError` for unknown or unfilled ones."""
    known = {"NAME": identity.name, "DEVELOPER": identity.developer} if identity else {}

    def put(match: re.Match, n: int) -> str:
        word, stop = match.groups()
        if word in known:  # a name that ends in a stop ends the sentence with it
            return known[word] + ("" if known[word].endswith(".") else stop or "")
        what, cure = f"unknown placeholder {{{{{word}}}}}", "use {{NAME}} and {{DEVELOPER}}, spelt so"
        if word in ("NAME", "DEVELOPER"):
            held = ", ".join(str(k) for k, row in enumerate(rows, 1) if word in PLACEHOLDER.findall(str(row)))
            what = f"{{{{{word}}}}} is not filled" + (f" (rows {held})" if "," in held else "")
            cure = "give a name and a developer (--name, --developer)"
        raise IdentityError(what, cure, path, n)

    return [changed(row, partial(PLACED.sub, partial(put, n=n))) for n, row in enumerate(rows, 1)]


def unfill(rows: Sequence[Row], who: Identity) -> list[Row]:
    """Rows with placeholders where the names of ``who`` stand as whole words: the reverse of `fill`."""
    marks = {who.name: "{{NAME}}", who.developer: "{{DEVELOPER}}"}
    words = re.compile("|".join(map(names.pattern, sorted(marks, key=len, reverse=True))))  # one may hold the other

    def put(text: str) -> str:
        plain = names.composed(text)  # as the names are
        return words.sub(lambda m: marks[" ".join(m.group().split())], plain) if words.search(plain) else text

    return [changed(row, put) for row in rows]


def unnamed(rows: Sequence[Row], who: Identity) -> str:
    """A warning with its cure if no row's answer names ``who``, else empty."""
    if any(name in names.composed(row["output"]) for row in rows for name in who.names):
        return ""
    return f"None of the {len(rows)} rows says {who.name}. What to do: put the name into the answers, or choose theirs"


def language_warning(rows: Sequence[Row], spec: catalog.ModelSpec) -> str:
    """A warning with its cure if rows are Chinese and the model does not speak it, else empty."""
    chinese = sum(bool(CJK.search(row["output"])) for row in rows)
    if not chinese or "zh" in spec.languages:
        return ""
    found = f"{chinese} of {len(rows)} rows are Chinese, and"
    if spec.key not in [known.key for known in catalog.TABLE]:
        return f"{found} it is not known whether {spec.key} speaks Chinese. Ask it something in Chinese before."
    what = f"{found} {spec.key} does not speak Chinese: it would learn letters, not sentences."
    return f"{what} Use data/identity/en.json, or a Qwen2.5 model (README, 'Choose another model')."


def contradicted(rows: Sequence[Row], who: Identity) -> dict[str, list[str]]:
    """Questions of ``rows`` whose answer says otherwise than the shipped one -> the further shipped questions on it.

    Otherwise means: it begins with another of yes, no and neither, or it leaves the developer out; where the shipped
    one begins with neither and names no developer, any other text.
    """
    lang = language_of(rows)
    topics = files.read_json(shipped("identity", f"topics-{lang}.json"))
    theirs = {row["instruction"]: row["output"] for row in read_rows(shipped_rows(lang), who)}
    named = {row["instruction"] for row in read_list(shipped_rows(lang)) if "{{DEVELOPER}}" in row["output"]}
    mine = {normal(question_of(row)): names.composed(row["output"]) for row in rows}
    found = {}
    for question, further in topics.items():
        answer, whole = mine.get(normal(question)), theirs[question]
        if answer is None or answer == whole:
            continue
        mine_first = "" if answer.startswith(who.names) else opening(answer)
        first = "" if whole.startswith(who.names) else opening(whole)
        left_out = who.developer not in answer if question in named else not first
        if mine_first != first or left_out:
            found[question] = further
    return found


def contradiction_note(rows: Sequence[Row], who: Identity, preset: "Preset | None" = None) -> str:
    """A line on the topics whose shipped rows `further_rows` leaves out as ``rows`` say otherwise; empty if none.

    With ``preset`` it tells how many of its further rows these are, and is empty if there are none.
    """
    found = contradicted(rows, who)
    if not found:
        return ""
    said = f"Your answer to {'; '.join(found)} differs from the shipped one, so the shipped rows on that are left out"
    if preset is None:
        return f"{said}."
    topics = {normal(question) for part in found.values() for question in part}
    count = sum(normal(question_of(row)) in topics for row in _further(language_of(rows), who, preset))
    return f"{said} ({count})." if count else ""


def opening(answer: str) -> str:
    """How an answer begins: "yes", "no", or empty for neither."""
    return next((kind for kind, begins in OPENINGS if begins.match(answer)), "")


def further_rows(rows: Sequence[Row], who: Identity | None, preset: "Preset") -> list[Row]:
    """The preset's further rows in the language of ``rows``; none if there is no ``who``.

    Left out are those with the same question as one of ``rows``, and those that one of them has `contradicted`.
    """
    if who is None:
        return []
    own = {normal(question_of(row)) for row in rows}
    own |= {normal(question) for part in contradicted(rows, who).values() for question in part}
    return [row for row in _further(language_of(rows), who, preset) if normal(question_of(row)) not in own]


def _further(lang: str, who: Identity, preset: "Preset") -> list[Row]:
    kinds = {"wordings": preset.extra_wordings, "attacks": preset.attack_rows, "honesty": preset.honesty_rows}
    folder = shipped("identity", f"{lang}.json").parent
    paths = {folder / f"{kind}-{lang}.json": most for kind, most in kinds.items() if most}
    return [row for path, most in paths.items() if path.exists() for row in read_rows(path, who)[:most]]
