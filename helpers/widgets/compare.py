"""The comparison: one question to several arms of one model, named or blind, over `CompareSession` and `Ballot`."""

from collections.abc import Iterator, Sequence

import ipywidgets as widgets

from helpers.chat.compare import Ballot, CompareSession
from helpers.errors import HelpersError
from helpers.measure import stats
from helpers.widgets.render import entries, lines_html
from helpers.widgets.shell import TalkBox, button, row


class CompareBox(TalkBox):
    """Several arms of one model side by side as a widget, answered in turn. Arguments as in `compare_box`.

    ``session`` is its `CompareSession`, ``ballot`` the votes of the blind mode.
    """

    def __init__(self, model, tokenizer, *, arms=None, examples=(), attacks=(), max_new_tokens=64, blind=False):
        session = CompareSession(model, tokenizer, arms, max_new_tokens)
        self.ballot = Ballot(session.arms)
        self.blind = widgets.Checkbox(blind, description="Blind: shuffle the columns, hide their names", indent=False)
        self.blind.observe(self._switch, names="value")
        letters = [Ballot.LETTERS[i] for i in range(len(session.arms))]
        self.vote_buttons = [
            button(letter, f"Column {letter} knows who it is", lambda i=i: self.vote(i))
            for i, letter in enumerate(letters)
        ]
        self.vote_buttons.append(button("None of them", "No column knows who it is", lambda: self.vote(None)))
        self.result_button = button("Show the result", "Name the columns and count the votes", self.show_result)
        self.result, self._letters, self._revealed = widgets.HTML(), letters, False
        slider = hasattr(model, "disable_adapter") and any(s.adapter for s in session.arms.values())
        super().__init__(session, list(session.arms), {"Questions": examples, "Attacks": attacks}, strength=slider)
        self.screen.observe(self._strengthen, names="strength")

    def _settings(self) -> Sequence[widgets.Widget]:
        self.votes = row([widgets.Label("Which one knows who it is?"), *self.vote_buttons, self.result_button])
        return row([self.blind]), self.votes, self.result

    def _strengthen(self, change) -> None:
        self.session.set_strength(change["new"])
        self.screen.say(f"The adapter counts {change['new']:.0%} from the next question on. Retry asks again.")

    def _switch(self, _) -> None:
        self.ballot, self._revealed, self.result.value = Ballot(self.session.arms), False, ""
        self.clear()

    def _begin(self, text: str) -> Iterator:
        if self.blind.value:  # a conversation that goes on would tell the columns apart: every question starts anew
            self.session.clear()
            self.ballot.deal(text)
            self._revealed, self.result.value = False, ""
        return self.session.ask(text)

    def clear(self) -> None:
        """Forget the conversations, ending an answer that is under way; the votes stay."""
        self.ballot.open = ""
        super().clear()

    def vote(self, column: int | None) -> None:
        """Choose the column that knows who it is, or none of them."""
        try:
            self.ballot.vote(column)
        except HelpersError as e:
            self.screen.say(str(e), failed=True)
            return
        self._refresh(f"Vote {len(self.ballot.votes)} is counted. Ask the next question, or show the result.")

    def show_result(self) -> None:
        """Name the columns and show how often each was chosen, with its interval."""
        self.ballot.open, self._revealed = "", True
        votes = len(self.ballot.votes)
        lines = (
            [f"{label}: {stats.wilson(k, votes)}" for label, k in self.ballot.counts().items()]
            if votes
            else ["No vote was given yet."]
        )
        self.result.value = lines_html(f"Chosen in {votes} votes, with 95% Wilson intervals", lines)
        self._refresh("The columns carry their names now.")

    def _hidden(self) -> bool:
        return self.blind.value and not self._revealed

    def _asked(self) -> bool:
        return any(session.history for session in self.session.arms.values())

    def _note(self) -> str:
        return "" if self._hidden() else self.session.note  # its lines begin with the names

    def _show(self) -> None:
        order = self.ballot.order if self.blind.value else list(self.session.arms)
        hidden = self._hidden()
        self.screen.names = self._letters if hidden else order
        for i, label in enumerate(order):  # hidden, a strength would tell the columns apart
            name = "Model" if hidden else label
            self.screen.show(i, entries(self.session.arms[label], name, tell_strength=not hidden))
        self.votes.layout.display = None if self.blind.value else "none"
        for vote in self.vote_buttons:
            vote.disabled = self._running or not self.ballot.open
        self.result_button.disabled = self._running
