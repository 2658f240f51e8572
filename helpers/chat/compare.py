"""The same question put to several variants of one model, and votes on who answered what without knowing it.

A variant is the model with a system text, with or without its adapter. No widgets: see `helpers.widgets.compare`.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from string import ascii_uppercase
from typing import Any

from helpers.chat.conversation import ChatSession
from helpers.errors import AdapterError, HelpersError

BASE_AND_TUNED: dict[str, dict[str, Any]] = {"base": {"adapter": False}, "tuned": {"adapter": True}}
SETTINGS = {"system", "adapter", "strength"}


class CompareSession:
    """The same questions put to several variants of one model in turn; each variant keeps its own conversation.

    ``variants`` maps labels to settings of `ChatSession` (``system``, ``adapter``, ``strength``); None compares base
    and tuned. Raises `AdapterError` if these two would answer alike for want of an adapter, and `HelpersError` if there
    is no variant or a setting does not exist.
    """

    def __init__(self, model, tokenizer, variants: Mapping[str, Mapping] | None = None, max_new_tokens: int = 64):
        if variants is None and not hasattr(model, "disable_adapter"):
            cure = "load one with load_adapter(model, RUN), or give variants that differ in their system text"
            raise AdapterError("the model carries no adapter, so base and tuned would answer alike", cure)
        variants = BASE_AND_TUNED if variants is None else variants
        wrong = sorted({key for settings in variants.values() for key in settings} - SETTINGS)
        if wrong or not variants:
            what = f"a variant has no setting {wrong[0]!r}" if wrong else "there is no variant to compare"
            raise HelpersError(what, 'write them like {"prompt": {"system": "You are Tavi.", "adapter": False}}')
        self.variants = {
            str(label): ChatSession(model, tokenizer, max_new_tokens=max_new_tokens, **settings)
            for label, settings in variants.items()
        }

    def ask(self, text: str) -> Iterator[tuple[str, str]]:
        """Put ``text`` to every variant; returns an iterator over (label, piece). Failures as in `ChatSession.ask`."""
        return self._in_turn({label: session.ask(text) for label, session in self.variants.items()})

    def retry(self) -> Iterator[tuple[str, str]]:
        """Put the last question to every variant again, as after a stop, a failure or a change of strength."""
        return self._in_turn({label: session.retry() for label, session in self.variants.items()})

    def _in_turn(self, answers: dict[str, Iterator[str]]) -> Iterator[tuple[str, str]]:
        try:
            for label, pieces in answers.items():
                for piece in pieces:
                    yield label, piece
        finally:  # the reader may have left before the later variants began
            for session in self.variants.values():
                session.answering = False

    def set_strength(self, strength: float) -> None:
        """How much the adapter counts from the next question on, in every variant that has it on; 1 is as trained."""
        for session in self.variants.values():
            if session.adapter:
                session.strength = strength

    def stop(self) -> None:
        """End the answer under way and skip the variants that are still to come; what was said is kept."""
        for session in self.variants.values():
            session.stop()

    def clear(self) -> None:
        """Forget all conversations, ending an answer that is under way."""
        for session in self.variants.values():
            session.clear()

    @property
    def stopped(self) -> bool:
        """Whether the last question was cut short by `stop`."""
        return any(session.stopped for session in self.variants.values())

    @property
    def error(self) -> str:
        """What went wrong in the last question, by variant; empty if nothing did."""
        return " ".join(f"{label}: {s.error}." for label, s in self.variants.items() if s.error)

    @property
    def note(self) -> str:
        """What else a reader should know about the last answers, by variant."""
        return " ".join(f"{label}: {s.note}" for label, s in self.variants.items() if s.note)


class Ballot:
    """Blind votes: for each question the variants are shuffled and unnamed, and one of them may be chosen.

    ``order`` holds the variants' labels in the order of the columns, ``letters`` a letter for each column, ``votes`` a
    (question, label) for each question that was voted on, with None for "none of them", and ``open`` the question
    that may be voted on, if any. Raises `HelpersError` if there are more variants than letters.
    """

    def __init__(self, labels: Iterable[str], seed: int | None = None):
        self.order = list(labels)
        if len(self.order) > len(ascii_uppercase):
            what = f"{len(self.order)} variants to compare, but only {len(ascii_uppercase)} letters to name them by"
            raise HelpersError(what, "compare fewer at a time")
        self.labels, self.letters = tuple(self.order), list(ascii_uppercase[: len(self.order)])
        self.votes: list[tuple[str, str | None]] = []
        self.open = ""
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
