"""The same question put to several arms of one model, and votes on who answered what without knowing it.

Plain classes, no widgets: `helpers.widgets.compare` shows them.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from helpers.chat.conversation import ChatSession
from helpers.errors import AdapterError, HelpersError

ARMS: dict[str, dict[str, Any]] = {"base": {"adapter": False}, "tuned": {"adapter": True}}
SETTINGS = {"system", "adapter", "strength"}


class CompareSession:
    """The same questions put to several arms of one model, one after the other; each arm keeps its own conversation.

    Args:
        arms: label -> settings of `ChatSession` (``system``, ``adapter``, ``strength``); None for base against tuned.

    Raises:
        AdapterError: ``arms`` is None and the model has no adapter, so that both would answer alike.
        HelpersError: no arm, or a setting that does not exist.
    """

    def __init__(self, model, tokenizer, arms: Mapping[str, Mapping] | None = None, max_new_tokens: int = 64):
        if arms is None and not hasattr(model, "disable_adapter"):
            cure = "load one with load_adapter(model, RUN), or give arms that differ in their system text"
            raise AdapterError("the model carries no adapter, so base and tuned would answer alike", cure)
        arms = ARMS if arms is None else arms
        wrong = sorted({key for arm in arms.values() for key in arm} - SETTINGS)
        if wrong or not arms:
            what = f"arms know no {wrong[0]!r}" if wrong else "there is no arm to compare"
            raise HelpersError(what, 'write them like {"prompt": {"system": "You are Tavi.", "adapter": False}}')
        self.arms = {
            str(label): ChatSession(model, tokenizer, max_new_tokens=max_new_tokens, **arm)
            for label, arm in arms.items()
        }
        self._strength: float | None = None

    def ask(self, text: str) -> Iterator[tuple[str, str]]:
        """Put ``text`` to every arm and return an iterator over (label, piece); failures as in `ChatSession.ask`."""
        return self._in_turn({label: session.ask(text) for label, session in self.arms.items()})

    def retry(self) -> Iterator[tuple[str, str]]:
        """Put the last question to every arm again, as after a stop, a failure or a change of strength."""
        return self._in_turn({label: session.retry() for label, session in self.arms.items()})

    def set_strength(self, strength: float) -> None:
        """How much the adapter counts from the next question on, in every arm that has it on; 1 is as trained."""
        self._strength = strength

    def _in_turn(self, answers: dict[str, Iterator[str]]) -> Iterator[tuple[str, str]]:
        for session in self.arms.values():  # not before: a question under way is answered by all arms as it was asked
            if session.adapter and self._strength is not None:
                session.strength = self._strength
        try:
            for label, pieces in answers.items():
                for piece in pieces:
                    yield label, piece
        finally:  # the reader may have left before the later arms began
            for session in self.arms.values():
                session.answering = False

    def stop(self) -> None:
        """End the answer under way and skip the arms that are still to come; what was said is kept."""
        for session in self.arms.values():
            session.stop()

    def clear(self) -> None:
        """Forget all conversations, ending an answer that is under way."""
        for session in self.arms.values():
            session.clear()

    @property
    def stopped(self) -> bool:
        """Whether the last question was cut short by `stop`."""
        return any(session.stopped for session in self.arms.values())

    @property
    def error(self) -> str:
        """What went wrong in the last question, by arm; empty if nothing did."""
        return " ".join(f"{label}: {s.error}." for label, s in self.arms.items() if s.error)

    @property
    def note(self) -> str:
        """What else a reader should know about the last answers, by arm."""
        return " ".join(f"{label}: {s.note}" for label, s in self.arms.items() if s.note)

    @property
    def answering(self) -> bool:
        """Whether a question is under way."""
        return any(session.answering for session in self.arms.values())


class Ballot:
    """Blind votes: for each question the arms are shuffled and unnamed, and one of them may be chosen.

    ``order`` holds the arms' labels in the order of the columns, ``votes`` a (question, label) for each question that
    was voted on, with None for "none of them".
    """

    LETTERS = "ABCDEFGH"

    def __init__(self, labels: Iterable[str], seed: int | None = None):
        self.order = list(labels)
        self.labels = tuple(self.order)
        self.votes: list[tuple[str, str | None]] = []
        self.open = ""  # the question that may be voted on
        self._random = random.Random(seed)

    def deal(self, question: str) -> list[str]:
        """Shuffle the columns for ``question`` and return the labels in their order."""
        self.open = question
        self._random.shuffle(self.order)
        return list(self.order)

    def vote(self, column: int | None) -> str | None:
        """Choose a column (from 0), or none of them, and return its label; a question takes one vote."""
        if not self.open:
            raise HelpersError("there is no question to vote on", "ask one first")
        chosen = None if column is None else self.order[column]
        self.votes.append((self.open, chosen))
        self.open = ""
        return chosen

    def counts(self) -> dict[str, int]:
        """How often each label was chosen, and "none of them"."""
        chosen = [label for _, label in self.votes]
        return {**{label: chosen.count(label) for label in self.labels}, "none of them": chosen.count(None)}
