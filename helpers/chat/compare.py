"""One question put to several variants of a model, and blind votes on their answers. No widgets here."""

import random
from collections.abc import Iterable, Iterator, Mapping
from string import ascii_uppercase

from helpers.chat.conversation import ChatSession
from helpers.errors import AdapterError, HelpersError


class CompareSession:
    """The same questions put to several variants of one model in turn; each variant keeps its own conversation.

    ``variants`` maps labels to settings of `ChatSession` (``system``, ``adapter``, ``strength``); None compares base
    and tuned, or raises `AdapterError` if there is no adapter. Raises `HelpersError` for no variant or an unknown
    setting. ``error`` and ``note``, by variant, and ``stopped`` are about the last question, once it was answered.
    """

    def __init__(self, model, tokenizer, variants: Mapping[str, Mapping] | None = None, max_new_tokens: int = 64):
        if variants is None:
            if not hasattr(model, "disable_adapter"):
                cure = "load one with load_adapter(model, RUN), or give variants that differ in their system text"
                raise AdapterError("the model carries no adapter, so base and tuned would answer alike", cure)
            variants = {"base": {"adapter": False}, "tuned": {"adapter": True}}
        wrong = sorted({key for how in variants.values() for key in how} - {"system", "adapter", "strength"})
        if wrong or not variants:
            what = f"a variant has no setting {wrong[0]!r}" if wrong else "there is no variant to compare"
            raise HelpersError(what, 'write them like {"prompt": {"system": "You are Tavi.", "adapter": False}}')
        more = {"max_new_tokens": max_new_tokens}
        self.variants = {str(label): ChatSession(model, tokenizer, **how, **more) for label, how in variants.items()}
        self.error, self.note, self.stopped = "", "", False

    def ask(self, text: str) -> Iterator[tuple[str, str]]:
        """Put ``text`` to every variant; returns an iterator over (label, piece). Failures as in `ChatSession.ask`."""
        return self._in_turn({label: session.ask(text) for label, session in self.variants.items()})

    def retry(self) -> Iterator[tuple[str, str]]:
        """Put the last question to every variant again, as after a stop, a failure or a change of strength."""
        return self._in_turn({label: session.retry() for label, session in self.variants.items()})

    def _in_turn(self, answers: dict[str, Iterator[str]]) -> Iterator[tuple[str, str]]:
        try:
            yield from ((label, piece) for label, pieces in answers.items() for piece in pieces)
        finally:  # the reader may have left before the later variants began
            for session in self.variants.values():
                session.answering = False
            self.stopped = any(session.stopped for session in self.variants.values())
            self.error = " ".join(f"{label}: {s.error}." for label, s in self.variants.items() if s.error)
            self.note = " ".join(f"{label}: {s.note}" for label, s in self.variants.items() if s.note)

    def set_strength(self, strength: float) -> None:
        """How much the adapter counts from the next question on, in every variant that has it on; 1 is as trained."""
        for session in self.variants.values():
            session.strength = strength if session.adapter else session.strength

    def stop(self) -> None:
        """End the answer under way and skip the variants that are still to come; what was said is kept."""
        for session in self.variants.values():
            session.stop()

    def clear(self) -> None:
        """Forget all conversations, ending an answer that is under way."""
        for session in self.variants.values():
            session.clear()
        self.error, self.note, self.stopped = "", "", False


class Ballot:
    """Blind votes: for each question the variants are shuffled and unnamed, and one of them may be chosen.

    ``order`` holds the labels in the order of the columns, ``letters`` a letter for each column, ``question`` the one
    that may be voted on, if any, and ``votes`` a (question, label) for each vote, the label None for "none of them".
    Raises `HelpersError` if there are more variants than letters.
    """

    def __init__(self, labels: Iterable[str], seed: int | None = None):
        self.labels, self.votes, self.question = tuple(labels), [], ""
        self.order, self.letters = list(self.labels), list(ascii_uppercase[: len(self.labels)])
        if len(self.letters) < len(self.labels):
            raise HelpersError(f"{len(self.labels)} variants, but only 26 letters for them", "compare fewer at a time")
        self._random = random.Random(seed)

    def deal(self, question: str) -> None:
        """Shuffle the columns for ``question``, which may be voted on then."""
        self.question = question
        self._random.shuffle(self.order)

    def vote(self, column: int | None) -> None:
        """Choose a column (from 0), or none of them. Raises `HelpersError` if no question may be voted on."""
        if not self.question:
            raise HelpersError("there is no question to vote on", "ask one first")
        self.votes.append((self.question, None if column is None else self.order[column]))
        self.question = ""

    def counts(self) -> dict[str, int]:
        """How often each label was chosen, and "none of them"."""
        chosen = [label for _, label in self.votes]
        return {**{label: chosen.count(label) for label in self.labels}, "none of them": chosen.count(None)}
