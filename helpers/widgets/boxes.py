"""The chat and the comparison as widgets: what is set and voted on. `helpers.chat` holds what is said and counted."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

import ipywidgets as widgets

from helpers import files
from helpers.chat.compare import Ballot, CompareSession
from helpers.chat.conversation import ChatSession, Turn
from helpers.errors import HelpersError
from helpers.measure import stats
from helpers.widgets.shell import ConversationBox, button, dropdown, row
from helpers.widgets.transcript import entries, escaped

SHOWN = {True: None, False: "none"}  # a layout's display
SYSTEMS = {"the chat template's own": "default", "empty": "empty", "my own:": "own"}
DECODING = {"greedy": 0.0, "temperature 0.3": 0.3, "temperature 0.7": 0.7, "temperature 1.0": 1.0}


class ChatBox(ConversationBox):
    """A `ChatSession` as a widget, with ``examples`` to click on."""

    def __init__(self, session: ChatSession, examples: Sequence[str] = ("Who are you?",)):
        kind = {None: "default", "": "empty"}.get(session.system, "own")
        self.system_kind = dropdown("System text", list(SYSTEMS.items()), kind)
        self.system_text = widgets.Text(
            session.system or "", placeholder="You are ...", description="My system text",
            style={"description_width": "initial"}, layout={"flex": "1 1 14em", "display": SHOWN[kind == "own"]},
        )  # fmt: skip
        self.decoding = dropdown("Decoding", list(DECODING.items()), session.temperature or 0.0)
        lengths = [(f"{n} tokens", n) for n in sorted({32, 64, 96, 200, 400, session.max_new_tokens})]
        self.length = dropdown("Longest answer", lengths, session.max_new_tokens)
        self.adapter = dropdown("Adapter", [("on", True), ("off: base model", False)], session.adapter)
        for control in (self.system_kind, self.system_text, self.decoding, self.length, self.adapter):
            control.observe(self._set, names="value")
        self.has_adapter = hasattr(session.model, "disable_adapter")
        choices = [*([self.adapter] if self.has_adapter else []), self.decoding, self.length, self.system_kind]
        self.save_button = button("Save", "Save the conversation as a JSONL file in my/", self.save)
        super().__init__(session, {"Examples": examples}, [row(choices), row([self.system_text])], [self.save_button])

    def _set(self, _) -> None:
        # An answer under way was begun with its own settings; these hold from the next one on.
        kind, text = self.system_kind.value, self.system_text.value
        self.session.system = {"default": None, "empty": ""}.get(kind, text)
        self.session.temperature, self.session.max_new_tokens = self.decoding.value or None, self.length.value
        self.session.adapter = self.adapter.value
        self.system_text.layout.display = SHOWN[kind == "own"]
        missing = kind == "own" and not text.strip()
        self.screen.say("Type your system text below." if missing else "Counts from the next answer on.")

    def save(self) -> None:
        """Save the conversation in ``my/``, as JSONL, and say where."""
        try:
            path = self.session.save(files.my_dir() / f"chat-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl")
            self.screen.say(f"Saved as my/{path.name}.")
        except HelpersError as e:
            self.screen.say(str(e), failed=True)

    def _show(self) -> None:
        names = ("Model (adapter off)", "Model (adapter on)") if self.has_adapter else ("Model", "Model")
        self.screen.show(0, entries(self.session, lambda settings: names[settings["adapter"]]))


class CompareBox(ConversationBox):
    """A `CompareSession` as a widget, with ``examples`` and ``attacks`` to click on, and blind votes in ``ballot``."""

    def __init__(self, session: CompareSession, examples: Sequence[str] = (), attacks: Sequence[str] = (), blind=False):
        self.ballot, self.hidden = Ballot(session.variants), blind
        self.blind = widgets.Checkbox(blind, description="Blind: shuffle the columns, hide their names", indent=False)
        self.blind.observe(self._switch, names="value")
        self.vote_buttons = [
            button(letter, f"Column {letter} knows who it is", partial(self.vote, i))
            for i, letter in enumerate(self.ballot.letters)
        ] + [button("None of them", "No column knows who it is", partial(self.vote, None))]
        self.result_button = button("Show the result", "Name the columns and count the votes", self.show_result)
        self.votes = row([widgets.Label("Which one knows who it is?"), *self.vote_buttons, self.result_button])
        self.result = widgets.HTML()
        below = [row([self.blind]), self.votes, self.result]
        super().__init__(session, {"Questions": examples, "Attacks": attacks}, below)
        sessions = session.variants.values()
        self.screen.has_strength = any(one.adapter and hasattr(one.model, "disable_adapter") for one in sessions)
        self.screen.observe(self._strengthen, names="strength")

    def _strengthen(self, change) -> None:
        self.session.set_strength(change["new"])
        self.screen.say(f"The adapter counts {change['new']:.0%} from the next question on. Retry asks again.")

    def _switch(self, _) -> None:
        self.ballot, self.hidden, self.result.value = Ballot(self.session.variants), self.blind.value, ""
        self.clear()

    def _begin(self, text: str) -> Iterator:
        if self.blind.value:  # a conversation that goes on would tell the columns apart: every question starts anew
            self.session.clear()
            self.ballot.deal(text)
            self.hidden, self.result.value = True, ""
        return self.session.ask(text)

    def vote(self, column: int | None) -> None:
        """Choose the column that knows who it is, or none of them."""
        if self.ballot.question:  # a second click may come before the buttons are disabled
            self.ballot.vote(column)
            self._refresh(f"Vote {len(self.ballot.votes)} is counted. Ask the next question, or show the result.")

    def show_result(self) -> None:
        """Name the columns and show how often each was chosen, with its interval."""
        self.ballot.question, self.hidden, votes = "", False, len(self.ballot.votes)
        lines = [f"{label}: {stats.wilson(k, votes)}" for label, k in self.ballot.counts().items()] if votes else []
        items = "".join(f"<li>{escaped(line)}</li>" for line in lines or ["No vote was given yet."])
        title = f"<strong>Chosen in {votes} votes, with 95% Wilson intervals</strong>"
        self.result.value = f'<div role="status">{title}<ul>{items}</ul></div>'
        self._refresh("The columns carry their names now.")

    def _who(self, label: str, settings: Turn) -> str:
        weakened = settings["adapter"] and settings["strength"] != 1.0
        name = f"{label} (strength {settings['strength']:.0%})" if weakened else label
        return "Model" if self.hidden else name  # a strength would tell the columns apart, too

    def _show(self) -> None:
        self.screen.names = self.ballot.letters if self.hidden else list(self.ballot.order)
        for i, label in enumerate(self.ballot.order):
            self.screen.show(i, entries(self.session.variants[label], partial(self._who, label)))
        self.votes.layout.display = SHOWN[self.blind.value]
        for vote in self.vote_buttons:
            vote.disabled = self.screen.busy or not (self.ballot.question and any(self.screen.columns))
        self.result_button.disabled = self.screen.busy
