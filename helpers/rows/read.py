"""Reading rows, ``{"instruction", "input", "output"}`` each, and refusing bad ones. `identity` fills the names in."""

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import files
from helpers.errors import IdentityError
from helpers.rows import marks

if TYPE_CHECKING:
    from helpers.rows.identity import Identity

# A row may also have a ``history``, the exchanges before its question, two texts each, and a ``system`` text.
Row = dict[str, str]
KEYS = ("instruction", "input", "output")
CJK = re.compile(r"[\u4e00-\u9fff]")
MAX_ROWS = 2000
MAX_TEXT = 50_000  # characters; the models here read some 30,000 at most
# What is left of a placeholder with a brace too few, or in the brackets of another tool or keyboard.
UNFINISHED = re.compile(
    r"\{\{|\}\}|｛｛|｝｝|[{\[<｛【《＜［]\s*(?:NAME|DEVELOPER)\s*[}\]>｝】》＞］]|[{｛]\s*(?:name|developer)\s*[}｝]"
)
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]")
DASH = re.compile("[\u2010-\u2015\u2212]")
# Stops and hyphens as punctuation; those of 2.5, .NET, -5 and 3 - 2 tell questions apart.
PUNCTUATION = re.compile(
    r"\.(?!\w)|(?<=[^\W\d])\.|(?<=\d)\.(?!\d)|(?<=\.)\.|(?<=[^\W\d])-|-(?=[^\W\d])|(?<!\d)(?<!\d )-(?!\s?\d)"
)


def shipped(folder: str, name: str) -> Path:
    """The file ``name`` in ``data/<folder>``; raises `IdentityError` with what there is instead."""
    path = files.data_dir() / folder / name
    if not path.exists():
        have = ", ".join(p.stem for p in sorted(path.parent.glob(f"*{path.suffix}")))
        raise IdentityError("no such shipped file", f"choose one of: {have}", path)
    return path


def read_list(path: Path | str) -> list[Row]:
    """The rows of a JSON file as the course writes it; raises `IdentityError` (see also `keyed` and `formats.read`)."""
    try:
        rows = json.loads(files.read_text(path, IdentityError), object_pairs_hook=files.once)
    except (ValueError, RecursionError) as e:
        cure = "compare it with data/identity/en.json; usually a comma or a quote is missing"
        raise IdentityError(f"not JSON ({e})", cure, path) from e
    if not isinstance(rows, list) or not rows:
        raise IdentityError("not a list of rows", 'write [{"instruction": ..., "input": "", "output": ...}, ...]', path)
    return keyed(rows, path)


def keyed(rows: Sequence, path: Path | str | None = None) -> list[Row]:
    """``rows`` with exactly the three keys, a ``history`` where it holds exchanges and a ``system`` text, all stripped.

    Raises `IdentityError` for other keys or values, or many rows.
    """
    if len(rows) > MAX_ROWS:
        what = f"{len(rows)} rows would train for hours on a laptop: row {MAX_ROWS + 1} is the first too many"
        raise IdentityError(what, "keep the best few dozen; eight topics are enough (notebook 02)", path)
    for n, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not {"instruction", "output"} <= row.keys() <= {*KEYS, "system", "history"}:
            has = sorted(map(str, row)) if isinstance(row, dict) else type(row).__name__
            raise IdentityError(
                f"has {has}, needs instruction, input and output", "correct the keys of this row", path, n
            )
        before = row.get("history", [])
        pairs = isinstance(before, list) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in before)
        if not pairs:
            what = "history is not a list of exchanges"
            raise IdentityError(what, 'write [["what the user says", "the answer"], ...]', path, n)
        for key, text in _texts(row):
            if wrong := _wrong(text):
                raise IdentityError(f"{key} {wrong[0]}", wrong[1], path, n)
    return [changed(row, str.strip) for row in rows]


def _wrong(text: object) -> tuple[str, str] | None:
    if not isinstance(text, str):
        return "is not text", "put it in quotes"
    if re.search(r"[\ud800-\udfff]", text):
        return "holds half a character", "type that text again"
    if len(text) > MAX_TEXT:
        return f"has {len(text)} characters, and no model here reads as many", "shorten it, or make several rows of it"
    return None


def _texts(row: Row) -> list[tuple[str, str]]:
    texts = [(key, row[key]) for key in (*KEYS, "system") if key in row]
    return texts + [("history", text) for pair in row.get("history", ()) for text in pair]


def changed(row: Row, change: Callable[[str], str]) -> Row:
    """The row with ``change`` made to each of its texts."""
    history = [[change(text) for text in pair] for pair in row.get("history", ())]
    more = {"history": history, "system": change(row.get("system", ""))}
    return {key: change(row.get(key, "")) for key in KEYS} | {key: told for key, told in more.items() if told}


def normal(text: str) -> str:
    """``text`` without what does not tell questions apart: case, sentence punctuation, quotes, spaces, full width.

    Signs that mean something (3 - 2, C#, .NET, 5%, an emoji) stay, each as a word. Only punctuation stays as it is.
    """
    plain = DASH.sub("-", unicodedata.normalize("NFKC", text).casefold())
    kept = "".join(map(_kept, PUNCTUATION.sub(" ", plain)))
    return " ".join(kept.split()) or "".join(plain.split())


@lru_cache(1 << 14)
def _kept(c: str) -> str:
    kind = unicodedata.category(c)
    if c.isalnum() or c == "_" or (kind[0] == "M" and not "\ufe00" <= c <= "\ufe0f"):  # accents, vowel signs
        return c
    sign = c in "#%&*/\\@^.-\u200d" or kind in ("Sm", "Sc", "So") or "\U0001f3fb" <= c <= "\U0001f3ff"
    return f" {c} " if sign and c not in "~|" else " "


def validate(
    rows: Sequence[Row], path: Path | str | None = None, placeholders: bool = True, who: "Identity | None" = None
) -> list[Row]:
    """Return filled rows, or raise `IdentityError` for an empty text, half a placeholder, or rows that clash.

    What clashes is told all at once, and ``who`` helps to tell it (`claims.clashes`).
    ``placeholders`` is False for keep rows, whose answers are the model's own and may well hold braces.
    """
    from helpers.rows import claims  # it reads this module

    for n, row in enumerate(rows, 1):
        check_row(row, n, path, placeholders)
    claims.check_clashes(rows, who, path)
    return list(rows)


def check_row(row: Row, n: int, path: Path | str | None = None, placeholders: bool = True) -> None:
    """Check row ``n`` (from 1) by itself, as `validate` does."""
    for key, label in (("instruction", "question"), ("output", "answer")):
        if not row[key].strip():
            raise IdentityError(f"the {label} is empty", "write it or delete the row", path, n)
    for key, text in _texts(row):
        if key == "history" and not text.strip():
            raise IdentityError("the history holds an empty text", "write it or delete that exchange", path, n)
        if found := CONTROL.search(text):
            what = f"{key} holds a control character (U+{ord(found.group()):04X})"
            raise IdentityError(what, "delete it, or type that text again", path, n)
        if placeholders and (found := INVISIBLE.search(text)):
            what = f"{key} holds an invisible character (U+{ord(found.group()):04X})"
            raise IdentityError(what, "type that text again, do not paste it", path, n)
        if placeholders and (found := UNFINISHED.search(text)):
            cure = "write {{NAME}} or {{DEVELOPER}} with two braces on each side, or the name itself"
            raise IdentityError(f"{key} holds an unfinished placeholder ({found.group()!r})", cure, path, n)
        if found := (marks.TEMPLATE if placeholders else marks.TOKEN).search(text):
            cure = "delete it: the template puts the end, and the turns, itself"
            raise IdentityError(f"{key} holds a mark of a chat template ({found.group()!r})", cure, path, n)


def question_of(row: Row) -> str:
    """The user's turn of a row: its instruction, and its input below it if there is one."""
    return f"{row['instruction']}\n{row['input']}" if row.get("input") else row["instruction"]


def language_of(rows: Sequence[Row]) -> str:
    """``zh`` if most answers are Chinese, else ``en``."""
    return "zh" if 2 * sum(bool(CJK.search(row["output"])) for row in rows) > len(rows) else "en"
