"""What the chat and the comparison have in common: a conversation on the screen, buttons, and the thread that answers.

Thin: what is said and kept is `helpers.chat.conversation`'s and `helpers.chat.compare`'s business.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import ipywidgets as widgets

from helpers.chat.conversation import explain
from helpers.widgets.conversation import Conversation
from helpers.widgets.render import STYLE

INTERVAL = 0.1  # seconds between two updates of the page


def button(label: str, tooltip: str, do: Callable[[], object]) -> widgets.Button:
    """A button that calls ``do``."""
    made = widgets.Button(description=label, tooltip=tooltip)
    made.on_click(lambda _: do())
    return made


def row(children: Sequence[widgets.Widget]) -> widgets.Box:
    """``children`` beside each other, in further lines where the page is narrow."""
    made = widgets.Box(children)
    made.add_class("idt-row")
    return made


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


class TalkBox(widgets.VBox):
    """A conversation with its buttons over a session, and the thread that streams the answers.

    Callbacks only start that thread or set a flag: they never wait for it, nor for the model.
    """

    def __init__(self, session, names: Sequence[str], suggestions: dict[str, Sequence[str]], strength: bool = False):
        super().__init__()
        self.session, self._running, self._guard, self._ending = session, False, threading.Lock(), ""
        self.screen = Conversation(names, self.ask, strength)
        self.stop_button = button("Stop", "End the answer; what was said is kept", session.stop)
        self.retry_button = button("Retry", "Answer the last question again", self.retry)
        self.clear_button = button("Clear", "Forget this conversation", self.clear)
        self.example_buttons = []
        rows = [row([self.stop_button, self.retry_button, self.clear_button, *self._buttons()])]
        for label, texts in suggestions.items():
            made = [button(text, f"Ask: {text}", lambda text=text: self.ask(text)) for text in texts]
            self.example_buttons += made
            rows += [row([widgets.Label(f"{label}:"), *made])] if made else []
        self.children = [widgets.HTML(STYLE, layout={"display": "none"}), self.screen, *rows, *self._settings()]
        self.add_class("idt-box")
        reach_a_busy_kernel(self)
        self._refresh("Ready.")

    def _buttons(self) -> Sequence[widgets.Widget]:
        return ()

    def _settings(self) -> Sequence[widgets.Widget]:
        return ()

    def _show(self) -> None:
        raise NotImplementedError

    def _asked(self) -> bool:
        """Whether there is a question to retry."""
        raise NotImplementedError

    def ask(self, text: str) -> bool:
        """Start answering ``text`` and return at once; False if there is nothing to ask or an answer is under way."""
        if not text.strip():
            self.screen.say("Type a question first.")
            return False
        return self._start(lambda: self._begin(text))

    def _begin(self, text: str) -> Iterator:
        return self.session.ask(text)

    def retry(self) -> bool:
        """Answer the last question again; returns at once, False if there is none or an answer is under way."""
        return self._asked() and self._start(self.session.retry)

    def clear(self) -> None:
        """Forget the conversation, ending an answer that is under way."""
        self._ending = "Cleared."
        self.session.clear()
        self._refresh(self._ending)

    def _start(self, begin: Callable[[], Iterator]) -> bool:
        with self._guard:
            busy = self._running
            if not busy:
                pieces, self._running, self._ending = begin(), True, ""
        if busy:
            self.screen.say("Still answering: press Stop first, or wait.")
        else:
            threading.Thread(target=self._work, args=(pieces,), daemon=True, name="chat box").start()
        return not busy

    def _work(self, pieces: Iterator) -> None:
        began, shown, failure = time.monotonic(), 0.0, ""
        try:
            self._refresh("Answering …")
            for _ in pieces:
                if time.monotonic() - shown >= INTERVAL:
                    self._show()
                    shown = time.monotonic()
        except Exception as e:  # nothing else would tell the reader: a thread's exception is lost
            failure = explain(e)
        finally:
            self._running = False
            self._refresh(*self._outcome(failure, time.monotonic() - began))

    def _outcome(self, failure: str, seconds: float) -> tuple[str, bool]:
        if failure:
            return failure, True
        if self._error():  # said once: a screen reader speaks both the conversation and the status
            return "No whole answer: the reason stands in the conversation.", True
        stopped = "Stopped; what was said is kept." if self.session.stopped else ""
        end = self._ending or stopped or f"Done in {seconds:.1f} s{self._speed()}."
        return f"{end} {self._note()}".strip(), False

    def _error(self) -> str:
        """Why the last answer failed, as the conversation shows it; empty if it did not."""
        return self.session.error

    def _note(self) -> str:
        return self.session.note

    def _speed(self) -> str:
        return ""

    def _refresh(self, text: str, failed: bool = False) -> None:
        self.screen.busy = self._running
        self.stop_button.disabled = not self._running
        self.retry_button.disabled = self._running or not self._asked()
        for example in self.example_buttons:
            example.disabled = self._running
        self._show()
        self.screen.say(text, failed)
