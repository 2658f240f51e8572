"""The comparison: one question to several variants of a model, named or blind, over `CompareSession` and `Ballot`."""

from collections.abc import Iterator, Sequence
from functools import partial

import ipywidgets as widgets

from helpers.chat.compare import Ballot, CompareSession
from helpers.chat.conversation import Turn
from helpers.measure import stats
from helpers.widgets.render import entries, lines_html
from helpers.widgets.shell import SHOWN, ConversationBox, button, row


class CompareBox(ConversationBox):
    """A `CompareSession` as a widget: the variants side by side, answered in turn; ``ballot`` holds the blind votes.

    ``examples`` and ``attacks`` are there to click on; ``blind`` starts with the columns shuffled and unnamed.
    """

    def __init__(self, session: CompareSession, examples: Sequence[str] = (), attacks: Sequence[str] = (), blind=False):
        self.ballot, self._hidden = Ballot(session.variants), blind
        self.blind = widgets.Checkbox(blind, description="Blind: shuffle the columns, hide their names", indent=False)
        self.blind.observe(self._switch, names="value")
        columns = [(letter, f"Column {letter}", i) for i, letter in enumerate(self.ballot.letters)]
        self.vote_buttons = [
            button(label, f"{who} knows who it is", lambda i=i: self.vote(i))
            for label, who, i in [*columns, ("None of them", "No column", None)]
        ]
        self.result_button = button("Show the result", "Name the columns and count the votes", self.show_result)
        self.votes = row([widgets.Label("Which one knows who it is?"), *self.vote_buttons, self.result_button])
        self.result = widgets.HTML()
        suggestions = {"Questions": examples, "Attacks": attacks}
        super().__init__(session, suggestions, settings=[row([self.blind]), self.votes, self.result])
        sessions = session.variants.values()
        self.screen.has_strength = any(one.adapter and hasattr(one.model, "disable_adapter") for one in sessions)
        self.screen.observe(self._strengthen, names="strength")

    def _strengthen(self, change) -> None:
        self.session.set_strength(change["new"])
        self.screen.say(f"The adapter counts {change['new']:.0%} from the next question on. Retry asks again.")

    def _switch(self, _) -> None:
        self.ballot, self._hidden, self.result.value = Ballot(self.session.variants), self.blind.value, ""
        self.clear()

    def _begin(self, text: str) -> Iterator:
        if self.blind.value:  # a conversation that goes on would tell the columns apart: every question starts anew
            self.session.clear()
            self.ballot.deal(text)
            self._hidden, self.result.value = True, ""
        return self.session.ask(text)

    def vote(self, column: int | None) -> None:
        """Choose the column that knows who it is, or none of them."""
        if self.ballot.open:  # a second click may come before the buttons are disabled
            self.ballot.vote(column)
            self._refresh(f"Vote {len(self.ballot.votes)} is counted. Ask the next question, or show the result.")

    def show_result(self) -> None:
        """Name the columns and show how often each was chosen, with its interval."""
        self.ballot.open, self._hidden = "", False
        votes = len(self.ballot.votes)
        lines = [f"{label}: {stats.wilson(k, votes)}" for label, k in self.ballot.counts().items()] if votes else []
        title = f"Chosen in {votes} votes, with 95% Wilson intervals"
        self.result.value = lines_html(title, lines or ["No vote was given yet."])
        self._refresh("The columns carry their names now.")

    def _note(self) -> str:
        return "" if self._hidden else self.session.note  # its lines begin with the names

    def _who(self, label: str, settings: Turn) -> str:
        if self._hidden:  # a strength would tell the columns apart, too
            return "Model"
        weakened = settings["adapter"] and settings["strength"] != 1.0
        return f"{label} (strength {settings['strength']:.0%})" if weakened else label

    def _show(self) -> None:
        self.screen.names = self.ballot.letters if self._hidden else list(self.ballot.order)
        for i, label in enumerate(self.ballot.order):
            self.screen.show(i, entries(self.session.variants[label], partial(self._who, label)))
        self.votes.layout.display = SHOWN[self.blind.value]
        for vote in self.vote_buttons:
            vote.disabled = self.screen.busy or not (self.ballot.open and any(self.screen.columns))
        self.result_button.disabled = self.screen.busy
