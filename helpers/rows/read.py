"""Reading rows, ``{"instruction", "input", "output"}`` each, and refusing bad ones. `identity` fills the names in."""

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from helpers import files
from helpers.errors import IdentityError

Row = dict[str, str]
KEYS = ("instruction", "input", "output")
CJK = re.compile(r"[\u4e00-\u9fff]")
MAX_ROWS = 2000
# What is left of a placeholder with a brace too few, or in the brackets of another tool.
UNFINISHED = re.compile(r"\{\{|\}\}|[{\[<]\s*(?:NAME|DEVELOPER)\s*[}\]>]|\{\s*(?:name|developer)\s*\}")


def shipped(folder: str, name: str) -> Path:
    """The file ``name`` in ``data/<folder>``; raises `IdentityError` with what there is instead."""
    path = files.data_dir() / folder / name
    if not path.exists():
        have = ", ".join(p.stem for p in sorted(path.parent.glob(f"*{path.suffix}")))
        raise IdentityError("no such shipped file", f"choose one of: {have}", path)
    return path


def read_list(path: Path | str, text: str | None = None) -> list[Row]:
    """The rows of a JSON file, or of its ``text``, placeholders and all; raises `IdentityError` (see also `keyed`)."""
    try:
        rows = json.loads(files.read_text(path, IdentityError) if text is None else text)
    except (ValueError, RecursionError) as e:
        cure = "compare it with data/identity/en.json; usually a comma or a quote is missing"
        raise IdentityError(f"not JSON ({e})", cure, path) from e
    if not isinstance(rows, list) or not rows:
        raise IdentityError("not a list of rows", 'write [{"instruction": ..., "input": "", "output": ...}, ...]', path)
    return keyed(rows, path)


def keyed(rows: Sequence, path: Path | str | None = None) -> list[Row]:
    """``rows`` with exactly the three keys, stripped; raises `IdentityError` for other keys or values, or many rows."""
    if len(rows) > MAX_ROWS:
        what = f"{len(rows)} rows would train for hours on a laptop: row {MAX_ROWS + 1} is the first too many"
        raise IdentityError(what, "keep the best few dozen; eight topics are enough (notebook 02)", path)
    for n, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not {"instruction", "output"} <= row.keys() <= set(KEYS):
            has = sorted(map(str, row)) if isinstance(row, dict) else type(row).__name__
            raise IdentityError(
                f"has {has}, needs instruction, input and output", "correct the keys of this row", path, n
            )
        for key, text in row.items():
            if not isinstance(text, str):
                raise IdentityError(f"{key} is not text", "put it in quotes", path, n)
            if re.search(r"[\ud800-\udfff]", text):
                raise IdentityError(f"{key} holds half a character", "type that text again", path, n)
    return [{key: row.get(key, "").strip() for key in KEYS} for row in rows]


def normal(text: str) -> str:
    """``text`` in lower case without punctuation: two questions that are one."""
    return re.sub(r"\W+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def validate(rows: Sequence[Row], path: Path | str | None = None, placeholders: bool = True) -> list[Row]:
    """Return filled rows, or raise `IdentityError` for an empty text, half a placeholder, a repeat or a contradiction.

    ``placeholders`` is False for keep rows, whose answers are the model's own and may well hold braces.
    """
    seen: dict[str, tuple[int, str]] = {}
    for n, row in enumerate(rows, 1):
        check_row(row, n, seen, path, placeholders)
    return list(rows)


def check_row(row: Row, n: int, seen: dict, path: Path | str | None = None, placeholders: bool = True) -> None:
    """Check row ``n`` (from 1) as `validate` does, and add its question, with ``n`` and its answer, to ``seen``."""
    for key, label in (("instruction", "question"), ("output", "answer")):
        if not row[key].strip():
            raise IdentityError(f"the {label} is empty", "write it or delete the row", path, n)
    for key, text in row.items():
        if placeholders and (found := UNFINISHED.search(text)):
            cure = "write {{NAME}} or {{DEVELOPER}} with two braces on each side, or the name itself"
            raise IdentityError(f"{key} holds an unfinished placeholder ({found.group()!r})", cure, path, n)
        if "<|" in text:
            raise IdentityError(f"{key} holds a token of the chat template ('<|')", "delete it", path, n)
    question, answer = normal(question_of(row)), normal(row["output"])
    first, before = seen.setdefault(question, (n, answer))
    if first != n:
        kind = "repeats" if before == answer else "contradicts"
        raise IdentityError(f"{kind} row {first} ({question_of(row)[:50]!r})", "keep one of the two", path, n)


def question_of(row: Row) -> str:
    """The user's turn of a row: its instruction, and its input below it if there is one."""
    return f"{row['instruction']}\n{row['input']}" if row.get("input") else row["instruction"]


def language_of(rows: Sequence[Row]) -> str:
    """``zh`` if most answers are Chinese, else ``en``."""
    return "zh" if 2 * sum(bool(CJK.search(row["output"])) for row in rows) > len(rows) else "en"
