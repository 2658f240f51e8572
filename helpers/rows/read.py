"""Rows of a file: reading them, and refusing what cannot be trained on. Not the names in them: `identity` fills those.

A row is ``{"instruction", "input", "output"}``, the common list that ms-swift and LLaMA-Factory read as well.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from helpers import files
from helpers.errors import IdentityError

Row = dict[str, str]
Seen = dict[str, tuple[int, str]]  # normalised question -> its row (from 1) and normalised answer
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


def read_list(path: Path | str) -> list[Row]:
    """The rows of a JSON file, placeholders and all, with exactly the three keys; raises `IdentityError`."""
    return parse_list(files.read_text(path, IdentityError), path)


def parse_list(text: str, path: Path | str) -> list[Row]:
    """The rows of a JSON list, as `read_list`; errors name ``path``."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as e:
        cure = "compare it with data/identity/en.json; usually a comma or a quote is missing"
        raise IdentityError(f"not JSON ({e})", cure, path) from e
    if not isinstance(rows, list) or not rows:
        raise IdentityError("not a list of rows", 'write [{"instruction": ..., "input": "", "output": ...}, ...]', path)
    return keyed(rows, path)


def keyed(rows: Sequence, path: Path | str | None = None) -> list[Row]:
    """``rows`` with exactly the three keys, stripped; raises `IdentityError` for wrong keys and too many rows."""
    if len(rows) > MAX_ROWS:
        many = f"{len(rows)} rows, at most {MAX_ROWS} are taken (row {MAX_ROWS + 1} is the first too many)"
        cure = "keep the best few dozen; eight topics are enough (notebook 02)"
        raise IdentityError(f"{many}: on a laptop they would train for hours", cure, path)
    return [_keyed_row(row, n, path) for n, row in enumerate(rows, 1)]


def _keyed_row(row: object, n: int, path: Path | str | None) -> Row:
    if not isinstance(row, dict) or not {"instruction", "output"} <= row.keys() or row.keys() - set(KEYS):
        keys = sorted(map(str, row)) if isinstance(row, dict) else type(row).__name__
        raise IdentityError(f"has {keys}, needs instruction, input and output", "correct the keys of this row", path, n)
    for key in KEYS:
        text = row.get(key, "")
        if not isinstance(text, str):
            raise IdentityError(f"{key} is not text", "put it in quotes", path, n)
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise IdentityError(f"{key} holds half a character", "type that text again", path, n)
    return {key: row.get(key, "").strip() for key in KEYS}


def normal(text: str) -> str:
    """``text`` in lower case without punctuation: two questions that are one."""
    return re.sub(r"\W+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def validate(rows: Sequence[Row], path: Path | str | None = None, placeholders: bool = True) -> list[Row]:
    """Check filled rows: no empty text, no half placeholders, no duplicates, no contradictions. Returns them.

    ``placeholders`` is False for keep rows, whose answers are the model's own and may well hold braces.
    """
    seen: Seen = {}
    for n, row in enumerate(rows, 1):
        check_row(row, n, seen, path, placeholders)
    return list(rows)


def check_row(row: Row, n: int, seen: Seen, path: Path | str | None = None, placeholders: bool = True) -> None:
    """Check row ``n`` (from 1) as `validate` does, against the rows before it in ``seen``, and put it there."""
    for key, label in (("instruction", "question"), ("output", "answer")):
        if not row[key].strip():
            raise IdentityError(f"the {label} is empty", "write it or delete the row", path, n)
    for key in KEYS:
        text = row.get(key, "")
        if placeholders and (found := UNFINISHED.search(text)):
            cure = "write {{NAME}} or {{DEVELOPER}} with two braces on each side, or the name itself"
            raise IdentityError(f"{key} holds an unfinished placeholder ({found.group()!r})", cure, path, n)
        if "<|" in text:
            raise IdentityError(f"{key} holds a token of the chat template ('<|')", "delete it", path, n)
    question, answer = normal(question_of(row)), normal(row["output"])
    if question in seen:
        first, before = seen[question]
        kind = "repeats" if before == answer else "contradicts"
        raise IdentityError(f"{kind} row {first} ({question_of(row)[:50]!r})", "keep one of the two", path, n)
    seen[question] = (n, answer)


def question_of(row: Row) -> str:
    """The user's turn of a row: its instruction, and its input below it if there is one."""
    return f"{row['instruction']}\n{row['input']}" if row.get("input") else row["instruction"]


def language_of(rows: Sequence[Row]) -> str:
    """``zh`` if most answers are Chinese, else ``en``."""
    return "zh" if 2 * sum(bool(CJK.search(row["output"])) for row in rows) > len(rows) else "en"
