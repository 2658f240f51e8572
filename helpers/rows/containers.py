"""How a file of rows is written: its encoding, and JSON, JSON Lines or CSV. `formats` knows what its keys mean."""

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import zip_longest
from typing import Any

from helpers import files

QUESTIONS = ("instruction", "query", "prompt", "question", "问题", "提问", "指令")
ANSWERS = ("output", "response", "completion", "answer", "回答", "答案", "输出")
LIKE = "write it like data/identity/en.json; read too are query/response, prompt/completion, messages, conversations"
BINARY = {
    b"PK\x03\x04": "an Excel workbook or a ZIP archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip file",
}
# Characters that hardly any Chinese text about an assistant does without, and those of Western languages.
FREQUENT = re.compile("[我你您是的不了在有吗]")
WESTERN = re.compile("[À-ÏÑ-ÖØ-Üß-ïñ-öø-üÿŒœŠšŽžŸ‘’‚“”„–—…€£§°«»·¿¡©®™\xa0]")


class Odd(Exception):
    """What is wrong, its cure and the row or line (from 1; None for the file); `parse` adds file and format."""


def decoded(raw: bytes) -> tuple[str, str]:
    """The text of a file, and its encoding unless that is UTF-8; raises `Odd` where more than one may be meant."""
    for begins, name in BINARY.items():
        if raw.startswith(begins):
            raise Odd(f"this is {name}, not text", "save the rows as CSV UTF-8, JSON or JSON Lines", None)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or 0 in raw[:2]:
        codec = "utf-16" if 0 not in raw[:2] else "utf-16-be" if raw[:1] == b"\0" else "utf-16-le"
        try:
            return raw.decode(codec), "UTF-16"
        except UnicodeDecodeError as e:
            raise Odd(f"not whole UTF-16 text (byte {e.start})", "save the file as UTF-8", None) from e
    try:
        return raw.decode("utf-8-sig"), ""
    except UnicodeDecodeError as e:
        at = e.start
    readings, high = {}, sum(byte > 127 for byte in raw)
    for codec in ("gb18030", "cp1252"):
        with suppress(UnicodeDecodeError):
            readings[codec] = raw.decode(codec)
    lost = len(raw) - len(raw.decode("utf-8", "ignore").encode())
    fits = [codec for codec, text in readings.items() if PLAUSIBLE[codec](text) and 2 * lost >= high]
    if fits == ["gb18030"]:
        return readings["gb18030"], "GBK"
    if fits == ["cp1252"]:
        return readings["cp1252"], "ANSI (Windows-1252)"
    odd = {codec: re.search(r"\S*[^\x00-\x7f]\S*", text) for codec, text in readings.items()}
    shown = [f"{name} {odd[codec].group()[:20]!r}" for codec, name in NAMED.items() if odd.get(codec)]
    what = f"not UTF-8 text (byte {at}), and not clearly GBK or ANSI (Windows-1252)"
    what += f": it would begin with, as {', as '.join(shown)}" if shown else ""
    raise Odd(what, "save the file as UTF-8 (Notepad: Save as, Encoding; Excel: CSV UTF-8)", None)


def _chinese(text: str) -> bool:
    # Whether most of what is not ASCII are the common characters and signs of GB 2312.
    odd = [char for char in text if char > "\x7f"]
    lead = (char.encode("gb2312", "replace")[0] for char in odd)
    common = sum(0xA1 <= byte <= 0xA9 or 0xB0 <= byte <= 0xD7 for byte in lead)
    return bool(FREQUENT.search(text)) and common > 0.85 * len(odd)


def _western(text: str) -> bool:
    # Whether all that is not ASCII are letters and signs of Western languages, hardly ever three in a row.
    odd = re.findall(r"[^\x00-\x7f]", text)
    return all(map(WESTERN.fullmatch, odd)) and 5 * len(odd) < len(text) and not re.search(r"[^\x00-\x7f]{4}", text)


PLAUSIBLE = {"gb18030": _chinese, "cp1252": _western}
NAMED = {"gb18030": "GBK", "cp1252": "Windows-1252"}


def items_of(text: str) -> tuple[str, list[tuple[int, Any]]]:
    """How a file is written, and its items, each with its row or line (from 1); raises `Odd`."""
    if text.lstrip()[0] not in "[{" and (found := _table(text.lstrip("\ufeff \r\n"))):
        return found
    try:
        whole = _json(text)
    except (ValueError, RecursionError) as e:
        return "JSON Lines", _lines(text, e)
    if isinstance(whole, dict):
        return "JSON", [(1, whole)]
    if not isinstance(whole, list):
        raise Odd("not a list of rows", LIKE, None)
    if whole and all(isinstance(one, dict) and {"role", "from"} & one.keys() for one in whole):
        whole = [whole]  # a single line of JSON Lines, one conversation
    return "JSON", list(enumerate(whole, 1))


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=files.once)


def _lines(text: str, error: Exception) -> list[tuple[int, Any]]:
    found = []
    for n, line in enumerate(text.split("\n"), 1):  # not splitlines: a row may hold U+2028, U+2029 or U+0085
        try:
            found += [(n, _json(line))] if line.strip() else []
        except (ValueError, RecursionError) as e:
            if found:
                raise Odd(f"this is JSON Lines, but this line is not JSON ({e})", "mend the line", n) from e
            if text.lstrip()[0] in "[{":
                cure = "compare it with data/identity/en.json; usually a comma or a quote is missing"
                raise Odd(f"not JSON ({error}), nor JSON Lines", cure, None) from e
            what = f"not JSON, and not CSV with a question and an answer in its first line ({line[:50]!r})"
            raise Odd(what, "name the columns instruction and output, or " + LIKE, None) from e
    return found


def _table(text: str) -> tuple[str, list[tuple[int, Any]]] | None:
    # A CSV file, if its first line names a question and an answer.
    named = re.match(r'"?sep=(.)"?\r?\n', text)
    for mark in named[1] if named else ",;\t":
        cells = csv.reader(io.StringIO(text[named.end() if named else 0 :], newline=""), delimiter=mark, strict=True)
        with suppress(csv.Error):
            head = [name.strip().lower() for name in next(cells, [])]
            if set(QUESTIONS) & set(head) and set(ANSWERS) & set(head):
                return {",": "CSV", "\t": "CSV with tabs"}.get(mark, f"CSV with {mark!r}"), _records(head, cells)
    return None


def _records(head: list[str], cells: Iterator[list[str]]) -> list[tuple[int, dict]]:
    if twice := [name for name in head if name and head.count(name) > 1]:
        raise Odd(f"this is CSV in which two columns have the name {twice[0]!r}", "rename or delete one of them", None)
    records, n = [], 0
    try:
        for n, line in enumerate(cells, 1):
            told = [(name, cell) for name, cell in zip_longest(head, line, fillvalue="") if cell.strip()]
            if not all(name for name, _ in told):
                raise Odd("this is CSV, and the row has more cells than columns have a name", "quote its texts", n)
            records += [(n, dict.fromkeys(head, "") | dict(told))] if told else []
    except csv.Error as e:
        what = f"this is CSV, and quotes do not match or a cell is too long after this row ({e})"
        raise Odd(what, "save it anew with Excel or LibreOffice", n or None) from e
    return records
