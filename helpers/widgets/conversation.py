"""The one widget with JavaScript of its own: conversations side by side, and the field to ask in.

ipywidgets has no transcript that grows without being drawn anew, no clipboard and no live region; this has no more
than these. `helpers.widgets.render` makes the entries, and the page shows them as text nodes, never as markup.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import anywidget
import traitlets

from helpers.widgets.render import Entry, plain

HERE = Path(__file__).parent


class Conversation(anywidget.AnyWidget):
    """Columns of entries, a question field with Send and Copy, a status line, and on demand a strength slider.

    ``columns`` is changed in place, without ipywidgets noticing: the page gets additions as small messages, however
    long the conversation is, and the whole of it when it is loaded again.

    Args:
        names: the columns' headings.
        ask: called with the question's text; returns whether it was taken, so that the field may be emptied.
        strength: whether to show the slider; its value is ``strength``.
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

    def __init__(self, names: Sequence[str], ask: Callable[[str], bool], strength: bool = False):
        self._order = threading.Lock()
        names = [plain(name) for name in names]
        super().__init__(names=names, columns=[[] for _ in names], has_strength=strength)
        self._ask = ask
        self.on_msg(self._received)

    def say(self, text: str, failed: bool = False) -> None:
        """Show ``text`` as the status; ``failed`` marks it as one that needs the reader."""
        self.status, self.failed = plain(text), failed

    def show(self, column: int, entries: Sequence[Entry]) -> None:
        """Make a column show ``entries``, sending the page no more than what differs."""
        with self._order:  # messages leave in the order in which the columns changed
            there = self.columns[column]
            same = 0
            while same < min(len(there), len(entries)) and there[same] == entries[same]:
                same += 1
            if len(there) == len(entries) == same + 1 and self._grow(column, same, entries[same]):
                return
            if same < max(len(there), len(entries)):
                there[same:] = [dict(e) for e in entries[same:]]
                self.send(
                    {"op": "entries", "column": column, "from": same, "entries": [dict(e) for e in entries[same:]]}
                )

    def _grow(self, column: int, i: int, entry: Entry) -> bool:
        there = self.columns[column][i]
        before = there["text"]
        if (there["kind"], there["who"]) != (entry["kind"], entry["who"]) or not entry["text"].startswith(before):
            return False
        # JavaScript counts in UTF-16, where an emoji is two.
        at = len(before.encode("utf-16-le")) // 2
        there["text"] = entry["text"]
        self.send({"op": "text", "column": column, "entry": i, "at": at, "text": entry["text"][len(before) :]})
        return True

    def text_of(self, column: int = 0) -> str:
        """What a column shows, an entry a line."""
        return "\n".join(f"{e['who']}: {e['text']}" if e["who"] else e["text"] for e in self.columns[column])

    def _received(self, _, content: dict, buffers) -> None:
        if content.get("op") == "ask" and self._ask(str(content.get("text", ""))):
            self.send({"op": "taken"})
        elif content.get("op") == "resync":
            with self._order:
                self.send({"op": "all", "columns": self.columns})
