"""Chat boxes for JupyterLab: thin ipywidgets shells over `helpers.widgets.session`, which keeps what was said.

`chat_box` and `compare_box` show a box and return None, so that a cell ending in them shows it once; for the box itself
use the classes `ChatBox` and `CompareBox`, which are widgets. Without a browser both functions print plain text.
Model text is untrusted: `helpers.widgets.render` escapes it before it meets HTML.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import ipywidgets as widgets
from IPython import get_ipython
from IPython.display import display

from helpers import generate
from helpers.widgets.render import STYLE, heading_html, status_html, turns_html
from helpers.widgets.session import ChatSession, CompareSession, explain, plain

INTERVAL = 0.1  # seconds between two updates of the page
ENTER_WAIT = 0.15  # seconds; see `_Box._entered`
STATIC = "This box is live in JupyterLab. Its answers to the example questions (greedy decoding):"


def _button(label: str, tooltip: str, do: Callable[[], object]) -> widgets.Button:
    button = widgets.Button(description=label, tooltip=tooltip)
    button.on_click(lambda _: do())
    return button


def _row(children: Sequence[widgets.Widget], css: str = "idt-row") -> widgets.Box:
    row = widgets.Box(children)
    row.add_class(css)
    return row


class _Box(widgets.VBox):
    """Question field, buttons and status line over a session, and the thread that streams its answers.

    Callbacks only start that thread or set a flag: they never wait for it, nor for the model.
    """

    def __init__(self, session, screen: widgets.Widget, examples: Sequence[str]):
        super().__init__()
        self.session, self._running, self._guard, self._timer = session, False, threading.Lock(), None
        self.field = widgets.Text(
            description="Question", placeholder="Type a question and press Enter", tooltip="Enter sends it",
            continuous_update=False, style={"description_width": "initial"},
            layout={"width": "auto", "flex": "1 1 16em"},
        )  # fmt: skip
        self.field.on_msg(self._message)
        self.field.observe(self._typed, names="value")
        self.send_button = _button("Send", "Send the question", self.send_question)
        self.stop_button = _button("Stop", "End the answer; what was said is kept", session.stop)
        self.clear_button = _button("Clear", "Forget this conversation", self.clear)
        self.example_buttons = [_button(text, f"Ask: {text}", lambda text=text: self.ask(text)) for text in examples]
        self.status = widgets.HTML()
        rows = [_row([self.field]), _row(self._buttons())]
        if examples:
            rows.append(_row([widgets.Label("Examples:"), *self.example_buttons]))
        self.children = [widgets.HTML(STYLE, layout={"display": "none"}), screen, *rows, self.status]
        self.add_class("idt-box")
        self._refresh("Ready.")

    def _buttons(self) -> list[widgets.Button]:
        return [self.send_button, self.stop_button, self.clear_button]

    def _show(self) -> None:
        raise NotImplementedError

    def ask(self, text: str) -> bool:
        """Start answering ``text`` and return at once; False if there is nothing to ask or an answer is under way."""
        if not text.strip():
            self._say("Type a question first.")
            return False
        return self._start(lambda: self.session.ask(text))

    def send_question(self) -> None:
        """Ask what stands in the field, and empty it; while an answer is under way it stays there."""
        if self.ask(self.field.value):
            self.field.value = ""

    def clear(self) -> None:
        """Forget the conversation, ending an answer that is under way."""
        self._ending = "Cleared."
        self.session.clear()
        self._show()
        self._say(self._ending)

    # The field's value comes when Enter is pressed, but also when the field is left, which must not send it. Only
    # Enter brings a "submit" message too, usually just before the new value; if no value follows, it was known already.
    def _message(self, _, content: dict, buffers) -> None:
        if content.get("event") == "submit":
            self._timer = threading.Timer(ENTER_WAIT, self._entered)
            self._timer.daemon = True
            self._timer.start()

    def _typed(self, change) -> None:
        if change["new"]:
            self._entered()

    def _entered(self) -> None:
        with self._guard:
            timer, self._timer = self._timer, None
        if timer:
            timer.cancel()
            self.send_question()

    def _start(self, begin: Callable[[], Iterator]) -> bool:
        with self._guard:
            busy = self._running
            if not busy:
                pieces, self._running, self._ending = begin(), True, ""
        if busy:
            self._say("Still answering: press Stop first, or wait.")
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
            self._refresh(*self._outcome(failure or self.session.error, time.monotonic() - began))

    def _outcome(self, error: str, seconds: float) -> tuple[str, bool]:
        if error:
            return error, True
        stopped = "Stopped; what was said is kept." if self.session.stopped else ""
        end = self._ending or stopped or f"Done in {seconds:.1f} s."
        return f"{end} {self.session.note}".strip(), False

    def _say(self, text: str, error: bool = False) -> None:
        self.status.value = status_html(text, error)

    def _refresh(self, text: str, error: bool = False) -> None:
        self.stop_button.disabled = not self._running
        for button in (self.send_button, *self.example_buttons):
            button.disabled = self._running
        self._show()
        self._say(text, error)


class ChatBox(_Box):
    """A chat with one model as a widget. Arguments as in `chat_box`.

    ``session`` is its `ChatSession`: read ``box.session.history``, or set ``box.session.temperature`` to sample.
    """

    def __init__(self, model, tokenizer, *, system=None, adapter=True, examples=("Who are you?",), max_new_tokens=96):
        self.screen = widgets.HTML()
        self.retry_button = _button("Retry", "Answer the last question again, as after a stop or a failure", self.retry)
        session = ChatSession(model, tokenizer, system, adapter, max_new_tokens)
        super().__init__(session, _scrolling(self.screen), examples)

    def _buttons(self) -> list[widgets.Button]:
        return [self.send_button, self.stop_button, self.retry_button, self.clear_button]

    def retry(self) -> None:
        """Answer the last question again; returns at once."""
        if self.session.history:
            self._start(self.session.retry)

    def _show(self) -> None:
        self.screen.value = turns_html(self.session.history, self.session.answering)
        self.retry_button.disabled = self._running or not self.session.history


class CompareBox(_Box):
    """Several arms of one model side by side as a widget, answered in turn. Arguments as in `compare_box`."""

    def __init__(self, model, tokenizer, *, arms=None, examples=(), max_new_tokens=64):
        session = CompareSession(model, tokenizer, arms, max_new_tokens)
        self.screens = {label: widgets.HTML() for label in session.arms}
        super().__init__(session, _row([self._column(label) for label in session.arms], "idt-columns"), examples)

    def _column(self, label: str) -> widgets.VBox:
        heading = widgets.HTML(heading_html(label))
        column = widgets.VBox([heading, _scrolling(self.screens[label])])
        column.add_class("idt-column")
        return column

    def _show(self) -> None:
        for label, session in self.session.arms.items():
            self.screens[label].value = turns_html(session.history, session.answering, label)


def _scrolling(screen: widgets.HTML) -> widgets.Box:
    box = widgets.Box([screen])
    box.add_class("idt-screen")
    return box


def is_static() -> bool:
    """Whether to print instead of showing a box: ``IDENTITY_STATIC=1``, or no notebook kernel."""
    return os.environ.get("IDENTITY_STATIC") == "1" or not hasattr(get_ipython(), "kernel")


def chat_box(
    model, tokenizer, *, system: str | None = None, adapter: bool = True, examples: Sequence[str] = ("Who are you?",),
    max_new_tokens: int = 96,
) -> None:  # fmt: skip
    """Show a chat with ``model``; without a browser print its answers to ``examples``, each asked afresh.

    Args:
        system: system text; None leaves the chat template's default, ``""`` sends an empty one.
        adapter: False chats with the base model under the adapter.
        max_new_tokens: the longest answer, in tokens.

    Returns:
        None; `ChatBox` is the widget itself.
    """
    if not is_static():
        how = {"system": system, "adapter": adapter, "examples": examples, "max_new_tokens": max_new_tokens}
        return display(ChatBox(model, tokenizer, **how))
    how = {"system": system, "adapter": adapter, "max_new_tokens": max_new_tokens}
    print(STATIC)
    for question, answer in zip(examples, generate.answers(model, tokenizer, examples, **how), strict=True):
        print(f"\nYou: {plain(question)}\nModel: {plain(answer)}")


def compare_box(
    model, tokenizer, *, arms: Mapping[str, Mapping] | None = None,
    examples: Sequence[str] = ("Who are you?", "Who wrote Hamlet?"), max_new_tokens: int = 64,
) -> None:  # fmt: skip
    """Show arms of one model side by side; without a browser print their answers to ``examples``, each asked afresh.

    Args:
        arms: label -> ``system`` and ``adapter`` as in `chat_box`; None for base against tuned.
        max_new_tokens: the longest answer, in tokens.

    Returns:
        None; `CompareBox` is the widget itself.

    Raises:
        AdapterError, HelpersError: see `CompareSession`.
    """
    if not is_static():
        return display(CompareBox(model, tokenizer, arms=arms, examples=examples, max_new_tokens=max_new_tokens))
    found = {
        label: generate.answers(
            model, tokenizer, examples, system=s.system, adapter=s.adapter, max_new_tokens=max_new_tokens
        )
        for label, s in CompareSession(model, tokenizer, arms, max_new_tokens).arms.items()
    }
    print(STATIC)
    for i, question in enumerate(examples):
        print(f"\nYou: {plain(question)}", *(f"{label}: {plain(texts[i])}" for label, texts in found.items()), sep="\n")
