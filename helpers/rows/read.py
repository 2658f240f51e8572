"""Rows as they lie in a file: reading them, and refusing what cannot be trained on. Whose names they hold: `identity`.

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
KEYS = ("instruction", "input", "output")
CJK = re.compile(r"[\u4e00-\u9fff]")
MAX_ROWS = 2000
# What is left of a placeholder with a brace too few, or in the brackets of another tool.
UNFINISHED = re.compile(r"\{\{|\}\}|[{\[<]\s*(?:NAME|DEVELOPER)\s*[}\]>]|\{\s*(?:name|developer)\s*\}")
TEMPLATE_TOKEN = re.compile(r"<\|")


def shipped(folder: str, name: str) -> Path:
    """The file ``name`` in ``data/<folder>``; raises `IdentityError` with what there is instead."""
    path = files.data_dir() / folder / name
    if not path.exists():
        have = ", ".join(p.stem for p in sorted(path.parent.glob(f"*{path.suffix}")))
        raise IdentityError("no such shipped file", f"choose one of: {have}", path)
    return path


def read_text(path: Path | str) -> str:
    """The file as UTF-8 text (a byte order mark is dropped); raises `IdentityError` for missing, empty or not UTF-8."""
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as e:
        what = "there is no such file" if isinstance(e, FileNotFoundError) else f"cannot be read ({e.strerror})"
        raise IdentityError(what, "check the name, or write it with notebook 02", path) from e
    except UnicodeDecodeError as e:
        raise IdentityError(f"not UTF-8 text (byte {e.start})", "save the file as UTF-8", path) from e
    if not text.strip():
        raise IdentityError("the file is empty", "write at least one row, or copy data/identity/en.json", path)
    return text


def read_list(path: Path | str) -> list[Row]:
    """The rows of a JSON file, placeholders and all, with exactly the three keys; raises `IdentityError`."""
    text = read_text(path)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as e:
        cure = "compare it with data/identity/en.json; commas and quotes are usual"
        raise IdentityError(f"not JSON ({e})", cure, path) from e
    if not isinstance(rows, list) or not rows:
        raise IdentityError("not a list of rows", 'write [{"instruction": ..., "input": "", "output": ...}, ...]', path)
    return keyed(rows, path)


def keyed(rows: Sequence, path: Path | str | None) -> list[Row]:
    """``rows`` with exactly the three keys, stripped; raises `IdentityError` for wrong keys and too many rows."""
    if len(rows) > MAX_ROWS:
        raise IdentityError(
            f"{len(rows)} rows, at most {MAX_ROWS} are taken (row {MAX_ROWS + 1} is the first too many): on a laptop "
            "they would train for hours",
            "keep the best few dozen; eight topics are enough (notebook 02)", path,
        )  # fmt: skip
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

    Args:
        placeholders: False for keep rows, whose answers are the model's own and may well hold braces.
    """
    seen: dict[str, tuple[int, str]] = {}
    for n, row in enumerate(rows, 1):
        _check_row(row, n, path, placeholders)
        question, answer = normal(question_of(row)), normal(row["output"])
        if question in seen:
            first, before = seen[question]
            kind = "repeats" if before == answer else "contradicts"
            raise IdentityError(f"{kind} row {first} ({question_of(row)[:50]!r})", "keep one of the two", path, n)
        seen[question] = (n, answer)
    return list(rows)


def _check_row(row: Row, n: int, path: Path | str | None, placeholders: bool) -> None:
    if not row["instruction"].strip() or not row["output"].strip():
        which = "question" if not row["instruction"].strip() else "answer"
        raise IdentityError(f"the {which} is empty", "write it or delete the row", path, n)
    for key in KEYS:
        text = row.get(key, "")
        if placeholders and (found := UNFINISHED.search(text)):
            cure = "write {{NAME}} or {{DEVELOPER}} with two braces on each side, or the name itself"
            raise IdentityError(f"{key} holds an unfinished placeholder ({found.group()!r})", cure, path, n)
        if TEMPLATE_TOKEN.search(text):
            raise IdentityError(f"{key} holds a token of the chat template ('<|')", "delete it", path, n)


def question_of(row: Row) -> str:
    """The user's turn of a row: its instruction, and its input below it if there is one."""
    return f"{row['instruction']}\n{row['input']}" if row.get("input") else row["instruction"]


def language_of(rows: Sequence[Row]) -> str:
    """``zh`` if most answers are Chinese, else ``en``."""
    return "zh" if 2 * sum(bool(CJK.search(row["output"])) for row in rows) > len(rows) else "en"
