"""The one widget with JavaScript of its own: conversations side by side, and the field to ask in.

ipywidgets has no transcript that grows without being drawn anew, no clipboard and no live region; this has no more
than these. `helpers.widgets.render` makes the entries, and the page shows them as text nodes, never as markup.
"""

import threading
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path

import anywidget
import traitlets

from helpers.widgets.render import Entry, plain

HERE = Path(__file__).parent


class Conversation(anywidget.AnyWidget):
    """Columns of entries, a question field with Send and Copy, a status line, and with ``has_strength`` a slider.

    ``columns`` is changed in place, without ipywidgets noticing: the page gets additions as small messages, however
    long the conversation is, and the whole of it when it is loaded again. ``names`` are the columns' headings; ``ask``
    is called with a question's text and returns whether it was taken, so that the field may be emptied.
    """

    _esm = HERE / "conversation.js"
    _css = HERE / "conversation.css"
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

    def show(self, column: int, entries: Sequence[Entry]) -> None:
        """Make a column show ``entries``, sending the page no more than what differs."""
        with self._order:  # messages leave in the order in which the columns changed
            there = self.columns[column]
            same = len(list(takewhile(lambda both: both[0] == both[1], zip(there, entries, strict=False))))
            old, new = there[same:], list(entries[same:])
            if not old and not new:
                return
            there[same:] = new
            op = {"op": "entries", "column": column, "from": same, "entries": new}
            if len(old) == len(new) == 1 and old[0] | {"text": ""} == new[0] | {"text": ""}:
                before, text = old[0]["text"], new[0]["text"]
                if text.startswith(before):
                    at = len(before.encode("utf-16-le")) // 2  # as JavaScript counts, where an emoji is two
                    op = {"op": "text", "column": column, "entry": same, "at": at, "text": text[len(before) :]}
            self.send(op)

    def _received(self, _, content: dict, buffers) -> None:
        if content.get("op") == "ask" and self._ask(str(content.get("text", ""))):
            self.send({"op": "taken"})
        elif content.get("op") == "resync":
            with self._order:
                self.send({"op": "all", "columns": self.columns})
