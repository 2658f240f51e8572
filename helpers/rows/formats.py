"""Rows from the files that people have: JSON, JSON Lines and CSV of several tools, in several encodings.

`read` says what it found and what it made of it. What the names are is `identity`'s business, as is what fills them in.
"""

import json
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers import files
from helpers.errors import IdentityError
from helpers.rows import marks
from helpers.rows.containers import ANSWERS, LIKE, QUESTIONS, Odd, decoded, items_of
from helpers.rows.marks import thoughts
from helpers.rows.read import KEYS, Row, keyed

__all__ = ["Found", "parse", "read", "thoughts"]

TALKS = {"messages": "OpenAI messages", "conversations": "ShareGPT conversations"}
ALPACA, AS_IS = "Alpaca rows", "instruction, input and output as they are"
# Further keys that change nothing about a row. Any other one is refused, unless it is empty.
IGNORED = frozenset("tag tags id idx index source category lang language split text".split())
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
EMPTY = (None, "", [], {})
TURN_KEYS = {"role", "from", "content", "value"}


@dataclass(frozen=True)
class Found:
    """What a file held: its rows, the human name of its format, and a line on what was made of which keys."""

    rows: list[Row]
    kind: str
    made: str

    @property
    def converted(self) -> bool:
        """Whether keys were mapped, or the encoding was found out: what a reader should be told."""
        return self.made != AS_IS or ", in " in self.kind


def read(path: Path | str) -> Found:
    """The rows of a file in any of the formats, placeholders spelt as the course does; else raises `IdentityError`.

    A row has ``instruction``, ``input`` and ``output`` and, where there is one, ``system`` (text) and ``history`` (a
    list of [question, answer]). Each answer of a conversation is a row: only the answer of a row is trained.
    """
    try:
        return parse(files.read_bytes(path, IdentityError), path)
    except OSError as e:
        what = "there is no such file" if isinstance(e, FileNotFoundError) else f"cannot be read ({e.strerror})"
        raise IdentityError(what, "check the name", path) from e


def parse(data: bytes | str, path: Path | str) -> Found:
    """`read` of a file's content, or of its text; ``path`` is what an error calls it."""
    kind = []
    try:
        text, coding = (data.removeprefix("\ufeff"), "") if isinstance(data, str) else decoded(data)
        if not text.strip():
            raise Odd("the file is empty", "write at least one row, or copy one of data/identity", None)
        written, items = items_of(text)
        kind = [written, f"in {coding}"] if coding else [written]
        items = [
            (n, dict(zip(("question", "answer"), item, strict=True)) if _pair(item) else item) for n, item in items
        ]
        if not items:
            raise Odd("not a list of rows: there is none in it", LIKE, None)
        reader = _Reader()
        shape = reader.shape(*items[0])
        kind.insert(1, shape[0])
        rows = [row for n, item in items for row in reader.rows(n, item, shape)]
    except Odd as e:
        what, cure, n = e.args
        raise IdentityError(f"{what} (this is {', '.join(kind)})" if kind else what, cure, path, n) from e
    for row, whole in zip(keyed([{key: row[key] for key in KEYS} for row in rows], path), rows, strict=True):
        whole.update(row)
    return Found(rows, ", ".join(kind), reader.made())


def _pair(item: Any) -> bool:
    # As chat pages keep a talk: [question, answer].
    return isinstance(item, list) and len(item) == 2 and all(isinstance(text, str) for text in item)


@dataclass
class _Reader:
    """Makes rows of a file's items, and remembers what it made of what."""

    uses: dict[str, str] = field(default_factory=dict)  # key or role -> what it became
    seen: Counter = field(default_factory=Counter)  # (spelling, placeholder) -> how often it was changed
    split: bool = False  # whether a conversation became several rows

    def shape(self, n: int, item: Any) -> tuple[str, tuple[str, ...]]:
        """The name of an item's format and the keys that hold what is asked and answered; raises `Odd`."""
        if isinstance(item, list):
            return "lists of messages", ()
        if isinstance(item, dict):
            if talk := next((key for key in TALKS if key in item), ""):
                return TALKS[talk], (talk,)
            pair = tuple(next((key for key in keys if key in item), "") for keys in (QUESTIONS, ANSWERS))
            if all(pair):
                return ALPACA if pair == ("instruction", "output") else "/".join(pair), pair
        has = sorted(map(str, item)) if isinstance(item, dict) else type(item).__name__
        raise Odd(f"has {has}, needs instruction, input and output", LIKE, n)

    def rows(self, n: int, item: Any, shape: tuple[str, tuple[str, ...]]) -> list[Row]:
        """The rows of item ``n``, which has the ``shape`` of the first; raises `Odd`."""
        if (other := self.shape(n, item)) != shape:
            raise Odd(f"is one of {other[0]} among {shape[0]}", "keep one kind of row in a file", n)
        keys = shape[1]
        if not keys:
            return self._each(*self._talk(n, item, "turns"))
        told = self._told(n, item, keys)
        if len(keys) == 1:
            own, turns = self._talk(n, item[keys[0]], keys[0])
            return self._each(self._one(n, own, told), turns)
        asked, answer = (item[key] for key in keys)
        if isinstance(asked, list):  # as TRL has them: what is asked is the whole conversation so far
            turns = answer if isinstance(answer, list) else [{"role": "assistant", "content": answer}]
            own, exchanges = self._talk(n, [*asked, *turns], "/".join(keys))
            self.uses |= {"earlier turns": "history"} if len(exchanges) > 1 else {}
            return [self._row(self._one(n, own, told), exchanges)]
        exchanges = [
            *self._history(n, item.get("history")),
            [self._text(n, *pair) for pair in zip(keys, (asked, answer), strict=True)],
        ]
        row = self._row(told, exchanges)
        self.uses |= dict(zip(keys, ("instruction", "output"), strict=True))
        if item.get("input") not in EMPTY:
            row["input"] = self._text(n, "input", item["input"])
        return [row]

    def _told(self, n: int, item: dict, keys: tuple[str, ...]) -> str:
        # The item's own system text, if any; nothing else may stand beside ``keys`` that would be lost.
        known = {*keys, "system", *(("input", "history") if len(keys) == 2 else ())}
        for key in sorted(map(str, item.keys() - known)):
            if key not in IGNORED and item[key] not in EMPTY:
                raise Odd(f"has {sorted(map(str, item))}, and nothing here reads {key!r}", f"delete it, or {LIKE}", n)
            self.uses[key] = ""
        if item.get("system") in EMPTY:
            return ""
        self.uses["system"] = "system"
        return self._text(n, "system", item["system"])

    def _talk(self, n: int, turns: Any, key: str) -> tuple[str, list[list[str]]]:
        # The system text of a conversation, if any, and its exchanges, (question, answer) each.
        if not isinstance(turns, list) or not turns:
            raise Odd(f"{key} is not a list of turns", LIKE, n)
        said = []
        for turn in turns:
            if not isinstance(turn, dict):
                raise Odd(f"a turn of {key} is no object", 'write {"role": "user", "content": "..."}', n)
            if more := [k for k in turn.keys() - TURN_KEYS if turn[k] not in EMPTY]:
                raise Odd(f"a turn has {min(more)!r}, and nothing here reads that", "delete that key, or the row", n)
            role = turn.get("role", turn.get("from"))
            if not isinstance(role, str) or role.lower() not in ROLES:
                raise Odd(f"a turn is of {role!r}", "delete the row: only system, user and assistant speak here", n)
            speaks = ROLES[role.lower()]
            self.uses[f"{key}[{role}]"] = {"user": "instruction", "assistant": "output"}.get(speaks, "system")
            said.append((speaks, self._text(n, f"the turn of {role}", turn.get("content", turn.get("value")))))
        system = said.pop(0)[1] if said[0][0] == "system" else ""
        if [role for role, _ in said] != ["user", "assistant"] * (len(said) // 2) or not said:
            cure = "begin with the user, answer every turn, and end with an answer; a system text may stand first"
            raise Odd("user and assistant do not take turns", cure, n)
        texts = [text for _, text in said]
        return system, [list(pair) for pair in zip(texts[::2], texts[1::2], strict=True)]

    def _history(self, n: int, told: Any) -> list[list[str]]:
        if isinstance(told, str):  # a cell of a CSV file
            with suppress(ValueError, RecursionError):
                told = json.loads(told) if told.strip() else []
        if told in EMPTY:
            return []
        self.uses["history"] = "history"
        if isinstance(told, list) and all(isinstance(turn, dict) for turn in told):
            system, exchanges = self._talk(n, told, "history")
            if system:
                raise Odd("history holds a system text", "move it to a key named system", n)
            return exchanges
        if not isinstance(told, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in told):
            raise Odd("history is not a list of exchanges", 'write [["what the user says", "the answer"], ...]', n)
        return [[self._text(n, "history", text) for text in pair] for pair in told]

    def _text(self, n: int, key: str, text: Any) -> str:
        # One text of item ``n``, stripped, with the course's placeholders; what cannot be trained is refused.
        if isinstance(text, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in text):
            text = "".join(str(part.get("text", "")) for part in text)  # OpenAI's content in parts
        if not isinstance(text, str):
            raise Odd(f"{key} is not text", "put it in quotes", n)
        if re.search(r"[\ud800-\udfff]", text):
            raise Odd(f"{key} holds half a character", "type that text again", n)
        if found := marks.TEMPLATE.search(text):
            cure = "delete it in every row: the template puts the end, and the turns, itself"
            raise Odd(f"{key} holds a mark of a chat template ({found.group()!r})", cure, n)
        text = marks.placed(text.strip(), self.seen)
        if left := marks.unplaced(text):
            cure = "write {{NAME}} or {{DEVELOPER}} with two braces on each side, or the name itself"
            raise Odd(f"{key} holds an unfinished placeholder, or one that nobody can fill ({left!r})", cure, n)
        return text

    def _one(self, n: int, turn: str, key: str) -> str:
        if turn and key and turn != key:
            raise Odd("has two system texts, a turn and a key", "delete one of them", n)
        return turn or key

    def _row(self, system: str, exchanges: list[list[str]]) -> Row:
        *before, (asked, answer) = exchanges
        row = {"instruction": asked, "input": "", "output": answer}
        return row | ({"history": before} if before else {}) | ({"system": system} if system else {})

    def _each(self, system: str, exchanges: list[list[str]]) -> list[Row]:
        # Only a row's own answer is trained, so every answer has a row: with the last alone, the first, which often
        # say the name, would never be learned.
        self.split |= len(exchanges) > 1
        return [self._row(system, exchanges[:n]) for n in range(1, len(exchanges) + 1)]

    def made(self) -> str:
        """A line on what became of which key."""
        kept = [f"{key} -> {became}" for key, became in self.uses.items() if became not in ("", key)]
        parts = [", ".join(kept) or AS_IS]
        parts += [f"{key} as it is" for key in ("system", "history") if self.uses.get(key) == key]
        parts += [f"{key} ignored" for key, became in self.uses.items() if not became]
        if self.split:
            parts.append("each answer is a row, the turns before it its history, as only a row's own answer is trained")
        parts += [f"{said} ({times} time{'s' * (times > 1)}) -> {mark}" for (said, mark), times in self.seen.items()]
        return "; ".join(parts)
