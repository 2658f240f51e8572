"""What all boxes share, and what the chat and the comparison do: screen, buttons and the thread that answers.

It keeps no conversation.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence

import ipywidgets as widgets

from helpers.chat.conversation import explain
from helpers.widgets.transcript import STYLE, Conversation

UNSEEN = (
    "If no box appears here, or a broken one: in a notebook that was opened again, run this cell. Else run "
    "%env IDENTITY_STATIC=1 in another cell and then this one: it prints text instead. docs/install.md, under Other "
    "front ends, says why."
)
INTERVAL = 0.1  # seconds between two updates of the page


def button(label: str, tooltip: str, do: Callable[[], object]) -> widgets.Button:
    """A button that calls ``do``."""
    made = widgets.Button(description=label, tooltip=tooltip)
    made.on_click(lambda _: do())
    return made


def row(children: Sequence[widgets.Widget]) -> widgets.Box:
    """``children`` beside each other, in further lines where the page is narrow."""
    return widgets.Box(children).add_class("idt-row")


def dropdown(label: str, options: Sequence, value) -> widgets.Dropdown:
    """A list to choose from, as wide as its label and options need."""
    return widgets.Dropdown(description=label, options=options, value=value, style={"description_width": "initial"})


def reach_a_busy_kernel(widget: widgets.Widget) -> None:
    """Have what is typed and pressed in ``widget`` taken while a cell runs, such as a training.

    JupyterLab sends it to a thread of the kernel that is free then. ipykernel 7.4 hands it to the thread that last
    wrote to the widget instead: often the one that runs the cells, where it waits until the cell has ended.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda data, default: default
    for child in getattr(widget, "children", ()):
        reach_a_busy_kernel(child)


class Box(widgets.VBox):
    """A widget of the course: ``children`` in a frame, with the style sheet. On a page that cannot show it, text.

    `unseen` is for under the box. Once the page runs the box it hides that line: by a script of ours where the box has
    a ``screen``, which needs anywidget on the page, else by the style sheet.
    """

    def __init__(self, children: Sequence[widgets.Widget], screen: Conversation | None = None):
        self._unseen, style = f"idt-unseen-{uuid.uuid4().hex}", STYLE
        if screen:
            screen.hides = self._unseen
        else:
            style += f"<style>.{self._unseen} {{ display: none; }}</style>"
        super().__init__([widgets.HTML(style, layout={"display": "none"}), *children])
        self.add_class("idt-box")

    def __repr__(self) -> str:
        return f"{type(self).__name__}: it appears where the page has the JavaScript of ipywidgets and anywidget."

    def unseen(self) -> dict[str, str]:
        """The line for a page that cannot show the box, by its MIME types."""
        return {"text/plain": UNSEEN, "text/html": f'<p class="{self._unseen}">{UNSEEN}</p>'}


class ConversationBox(Box):
    """A `ChatSession` or `CompareSession` on the screen; a thread streams its answers, subclasses bring ``_show``.

    ``suggestions`` maps a label to questions to click on; ``buttons`` stand beside Clear, ``settings`` at the end.
    """

    hidden = False  # whether the status may not tell which variant is which

    def __init__(self, session, suggestions: Mapping[str, Sequence[str]], settings: Sequence, buttons: Sequence = ()):
        self.session, self._guard, self.example_buttons = session, threading.Lock(), []
        self.screen = Conversation(list(getattr(session, "variants", ["Model"])), self.ask)
        self.stop_button = button("Stop", "End the answer; what was said is kept", session.stop)
        self.retry_button = button("Retry", "Answer the last question again", self.retry)
        self.clear_button = button("Clear", "Forget this conversation", self.clear)
        rows = [row([self.stop_button, self.retry_button, self.clear_button, *buttons])]
        for label, texts in suggestions.items():
            made = [button(text, f"Ask: {text}", lambda text=text: self.ask(text)) for text in texts]
            self.example_buttons += made
            rows += [row([widgets.Label(f"{label}:"), *made])] if made else []
        super().__init__([self.screen, *rows, *settings], self.screen)
        reach_a_busy_kernel(self)
        self._refresh("Ready.")

    def ask(self, text: str) -> bool:
        """Start answering ``text`` and return at once; False if there is nothing to ask or an answer is under way."""
        if not text.strip():
            self.screen.say("Type a question first.")
        return bool(text.strip()) and self._start(lambda: self._begin(text))

    def retry(self) -> bool:
        """Answer the last question again; returns at once, False if there is none or an answer is under way."""
        return any(self.screen.columns) and self._start(self.session.retry)

    def clear(self) -> None:
        """Forget the conversation, ending an answer that is under way."""
        self.session.clear()
        self._refresh("Cleared.")

    def _begin(self, text: str) -> Iterator:
        return self.session.ask(text)

    def _start(self, begin: Callable[[], Iterator]) -> bool:
        with self._guard:
            if self.screen.busy:
                self.screen.say("Still answering: press Stop first, or wait.")
                return False
            pieces, self.screen.busy = begin(), True
        threading.Thread(target=self._work, args=(pieces,), daemon=True, name="chat box").start()
        return True

    def _work(self, pieces: Iterator) -> None:
        began, shown = time.monotonic(), 0.0
        try:
            self._refresh("Answering …")
            for _ in pieces:
                if time.monotonic() - shown >= INTERVAL:
                    self._show()
                    shown = time.monotonic()
            outcome = self._outcome(time.monotonic() - began), bool(self.session.error)
        except Exception as e:  # nothing else would tell the reader: a thread's exception is lost
            outcome = explain(e), True
        self.screen.busy = False
        self._refresh(*outcome)

    def _outcome(self, seconds: float) -> str:
        if self.session.error:  # said once: a screen reader speaks both the conversation and the status
            return "No whole answer: the reason stands in the conversation."
        if not any(self.screen.columns):
            return "Cleared."
        speed = getattr(self.session, "speed", 0.0)  # a comparison has none
        done = f"Done in {seconds:.1f} s{f', {speed:.0f} tokens/s' if speed else ''}."
        end = "Stopped; what was said is kept." if self.session.stopped else done
        return end if self.hidden else f"{end} {self.session.note}".strip()

    def _refresh(self, text: str, failed: bool = False) -> None:
        with self._guard:  # Clear and the end of an answer may come at once, from two threads
            if self.screen.busy:  # the first when an answer begins, the last when it has ended and all is up to date
                self.stop_button.disabled = False
            self._show()
            self.screen.say(text, failed)
            self.retry_button.disabled = self.screen.busy or not any(self.screen.columns)
            for example in self.example_buttons:
                example.disabled = self.screen.busy
            self.stop_button.disabled = not self.screen.busy
