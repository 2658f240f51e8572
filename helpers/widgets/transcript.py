"""The widget with JavaScript of its own, conversations side by side and a field to ask in; HTML for the other widgets.

It adds what ipywidgets lacks: a transcript that grows in place, a clipboard, a live region. No text becomes markup.
"""

import html
import threading
from collections.abc import Callable, Sequence
from itertools import takewhile, zip_longest
from pathlib import Path

import anywidget
import traitlets

from helpers.chat.conversation import ChatSession, Turn, plain

HERE = Path(__file__).parent
STYLE = f"<style>{(HERE / 'boxes.css').read_text(encoding='utf-8')}</style>"


def entry(kind: str, who: str, text: str) -> dict[str, str]:
    """One thing on the screen; ``kind`` is ``you``, ``model``, ``quiet`` or ``error`` and decides its colours."""
    return {"kind": kind, "who": plain(who), "text": plain(text)}


def entries(session: ChatSession, who: Callable[[Turn], str] = lambda settings: "Model") -> list[dict[str, str]]:
    """The conversation as entries: question and answer in turn, a mark for an answer to come, and what went wrong.

    ``who`` names the speaker of an answer from the settings that it was made by, or will be (`ChatSession.settings`).
    """
    found, history = [], list(session.history)  # a copy: another thread adds to it
    for turn, following in zip_longest(history, history[1:], fillvalue={}):
        if turn["role"] == "user":
            made = following if following.get("role") == "assistant" else {}
            name = who(session.settings() | made)
            answer = made.get("content", "").strip()  # as it will be kept: a space at its end, taken back, is no growth
            mark = "…" if session.answering and (made or turn) is history[-1] else "(no answer)"
            found.append(entry("you", "You", turn["content"]))
            found.append(entry("model", name, answer) if answer else entry("quiet", name, mark))
    return found + ([entry("error", "", session.error)] if session.error else [])


def escaped(text: str) -> str:
    """``text`` for an HTML value: markup, quotes and control characters made harmless."""
    return html.escape(plain(text), quote=True)


def status_html(text: str, error: bool = False) -> str:
    """A status line; ``error`` marks it as one that needs the reader."""
    return f'<div class="{"idt-error" if error else "idt-quiet"}" role="status">{escaped(text)}</div>'


def tokens_html(pieces: Sequence[tuple[str, bool]]) -> str:
    """Tokens in their order, the trained ones in colour and underlined, so that colour is not the only sign."""
    spans = (f'<span class="{"idt-trained" if on else "idt-read"}">{escaped(text)}</span>' for text, on in pieces)
    legend = f"{sum(on for _, on in pieces)} of {len(pieces)} tokens are trained (underlined, in colour)"
    return f'<div class="idt-tokens">{"".join(spans)}</div><div>{legend}; the others are only read.</div>'


class Conversation(anywidget.AnyWidget):
    """Columns of entries, a question field with Send and Copy, a status line, and with ``has_strength`` a slider.

    ``columns`` changes in place, without ipywidgets noticing: the page gets additions as small messages, and all of it
    when it is loaded again. ``names`` head the columns; ``ask`` takes a question's text and returns False to refuse it.
    ``hides`` names a class: the script hides what has it.
    """

    _esm = HERE / "transcript.js"
    _css = HERE / "transcript.css"
    hides = traitlets.Unicode().tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    columns = traitlets.List(traitlets.List()).tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)
    failed = traitlets.Bool(False).tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)
    has_strength = traitlets.Bool(False).tag(sync=True)
    strength = traitlets.Float(1.0).tag(sync=True)

    def __init__(self, names: Sequence[str], ask: Callable[[str], bool]):
        self._order, self._ask = threading.Lock(), ask
        super().__init__(names=list(names), columns=[[] for _ in names])
        self.on_msg(self._received)

    def say(self, text: str, failed: bool = False) -> None:
        """Show ``text`` as the status; ``failed`` marks it as one that needs the reader."""
        self.status, self.failed = plain(text), failed

    def show(self, column: int, entries: Sequence[dict[str, str]]) -> None:
        """Make a column show ``entries``, sending the page no more than what differs."""
        with self._order:  # messages leave in the order in which the columns changed
            there = self.columns[column]
            same = len(list(takewhile(lambda both: both[0] == both[1], zip(there, entries, strict=False))))
            old, new = there[same:], list(entries[same:])
            if not old and not new:
                return
            there[same:] = new
            op = {"op": "entries", "column": column, "from": same, "entries": new}
            before = old[0]["text"] if len(old) == len(new) == 1 else ""
            if before and new[0] == old[0] | {"text": new[0]["text"]} and new[0]["text"].startswith(before):
                at = len(before.encode("utf-16-le")) // 2  # as JavaScript counts, where an emoji is two
                op = {"op": "text", "column": column, "entry": same, "at": at, "text": new[0]["text"][len(before) :]}
            self.send(op)

    def _received(self, _, content: dict, buffers) -> None:
        if content.get("op") == "ask" and self._ask(str(content.get("text", ""))):
            self.send({"op": "taken"})
        elif content.get("op") == "resync":
            with self._order:
                self.send({"op": "all", "columns": self.columns})
