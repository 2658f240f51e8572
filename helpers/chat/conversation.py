"""A conversation with a model as a plain class: what was said, and how to go on.

No widgets here and no browser: `helpers.widgets.chat` shows it, and tests and a terminal can drive it too.
"""

import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers import files
from helpers.chat import generate
from helpers.errors import HelpersError
from helpers.models.load import context_length

Turn = dict[str, Any]

# What is sent at most, in tokens. The models take more, but 4,000 tokens cost the embedded one 21 CPU seconds before
# the first word (measured), and Stop cannot cut that short.
MOST_TOKENS = 2048

UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def pairs(history: Sequence[Turn]) -> list[tuple[str, str | None]]:
    """Questions with their answers, in order; None where none was given (busy, failed, stopped before a word)."""
    found: list[tuple[str, str | None]] = []
    for turn in history:
        if turn["role"] == "user":
            found.append((turn["content"], None))
        elif found:
            found[-1] = (found[-1][0], turn["content"])
    return found


def plain(text: str) -> str:
    """``text`` with control, direction-override and unpaired surrogate characters replaced, line breaks and tabs kept.

    They could steer a terminal, reorder what stands around them, or fail to be sent to the browser.
    """
    return UNSAFE.sub("\ufffd", text)


def explain(error: Exception) -> str:
    """One line for the reader: a `HelpersError` brings its cure, anything else is named by its type."""
    if isinstance(error, HelpersError):
        return str(error)
    lines = str(error).strip().splitlines() or ["no reason given"]
    return f"{type(error).__name__}: {lines[0][:200]}. The conversation is kept; try again"


@dataclass
class ChatSession:
    """One conversation. It has one reader at a time; another thread may call `stop` and `clear` while it answers.

    Args:
        model, tokenizer: from `helpers.models`.
        system: system text; None leaves the chat template's own default, ``""`` sends an empty one.
        adapter: False answers with the base model under the adapter.
        max_new_tokens: the longest answer, in tokens.
        temperature: None for greedy decoding.
        strength: how much the adapter counts, 1 being as trained.

    All but the model may be changed between two questions: each answer is made by what stands there when it is asked
    for. ``history`` holds ``{"role", "content"}`` turns, an answer's with its settings beside them; ``error`` why the
    last answer failed (empty if it did not), ``stopped`` whether it was cut short by `stop`, ``note`` what else a
    reader should know about it, ``speed`` its tokens a second, the reading of the question included (0 for no answer),
    and ``answering`` whether an answer is under way or about to be read.
    """

    model: Any
    tokenizer: Any
    system: str | None = None
    adapter: bool = True
    max_new_tokens: int = 96
    temperature: float | None = None
    strength: float = 1.0
    history: list[Turn] = field(default_factory=list)
    error: str = ""
    note: str = ""
    speed: float = 0.0
    stopped: bool = False
    answering: bool = False
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)

    def ask(self, text: str) -> Iterator[str]:
        """Put ``text`` into the history now, and return an iterator over the pieces of the answer.

        Nothing is raised while it is read: a failure ends the pieces and stands in ``error``, and the question and
        whatever was said stay in the history. Blank text asks nothing.
        """
        if not text.strip():
            return iter(())
        self.history.append({"role": "user", "content": text.strip()})
        return self._begin([])

    def retry(self) -> Iterator[str]:
        """Answer the last question again; the former answer comes back if nothing takes its place."""
        asked = [i for i, turn in enumerate(self.history) if turn["role"] == "user"]
        if not asked:
            return iter(())
        former = self.history[asked[-1] + 1 :]
        del self.history[asked[-1] + 1 :]
        return self._begin(former)

    def stop(self) -> None:
        """End the answer at its next token. Returns at once; what was said is kept."""
        self.stopped = True
        self._stop.set()

    def clear(self) -> None:
        """Forget the conversation, ending an answer that is under way."""
        self._stop.set()
        self.history = []  # a new list: an answer still ending writes into the old one
        self._forget(answering=False)

    def transcript(self, you: str = "You", model: str = "Model") -> str:
        """The conversation as plain text, a turn a line."""
        lines = []
        for question, answer in pairs(self.history):
            lines += [f"{you}: {plain(question)}", f"{model}: {plain(answer) if answer else '(no answer)'}"]
        return "\n".join(lines)

    def settings(self) -> dict[str, Any]:
        """What the next answer is made by, as keywords of `generate.stream`."""
        names = ("system", "adapter", "max_new_tokens", "temperature", "strength")
        return {name: getattr(self, name) for name in names}

    def save(self, path: Path | str) -> Path:
        """Write the history as JSONL, a turn a line, atomically; raises `HelpersError` if nothing was said yet."""
        if not self.history:
            raise HelpersError("nothing was said yet, so there is nothing to save", "ask a question first")
        return files.write_jsonl(path, [{**turn, "content": plain(turn["content"])} for turn in self.history])

    def _begin(self, former: list[Turn]) -> Iterator[str]:
        # A new event for each answer, made before its thread starts, so that an early Stop is not lost.
        self._stop = threading.Event()
        self._forget(answering=True)
        return self._answer(self.history, former, self._stop)

    def _forget(self, answering: bool) -> None:
        self.error, self.note, self.speed, self.stopped, self.answering = "", "", 0.0, False, answering

    def _answer(self, history: list[Turn], former: list[Turn], stop: threading.Event) -> Iterator[str]:
        turn = {"role": "assistant", "content": "", **self.settings()}
        error, said, began = "", [], time.monotonic()
        try:
            if not stop.is_set():
                for piece in self._stream(history, stop):
                    said.append(piece)
                    turn["content"] = "".join(said)
                    if len(said) == 1:
                        history.append(turn)
                    yield piece
        except Exception as e:  # whatever it was, the session goes on and the reader is told
            error = explain(e)
        finally:
            turn["content"] = turn["content"].strip()
            if not turn["content"]:
                history[:] = [t for t in history if t is not turn] + former
            if self.history is history:  # not cleared meanwhile
                self.error, self.answering = error, False
                self._measure(turn["content"], time.monotonic() - began)

    def _stream(self, history: list[Turn], stop: threading.Event) -> Iterator[str]:
        how = {**self.settings(), "stop": stop, "wait": False}
        yield from generate.stream(self.model, self.tokenizer, self._fitting(history), **how)

    def _fitting(self, history: list[Turn]) -> list[Turn]:
        """The turns to send: answered questions and the new one, without the oldest where all are too long."""
        *earlier, (question, _) = pairs(history)
        earlier = [(q, a) for q, a in earlier if a]  # two user turns in a row break some chat templates
        most = min(MOST_TOKENS, context_length(self.model))
        room = most - self.max_new_tokens
        if room <= 0:
            raise HelpersError(
                f"max_new_tokens={self.max_new_tokens} leaves no room for a question", f"stay under {most}"
            )
        for first in range(len(earlier) + 1):
            turns = [t for q, a in earlier[first:] for t in (_turn("user", q), _turn("assistant", a))]
            turns.append(_turn("user", question))
            tokens = self._count(generate.render(self.tokenizer, generate.as_messages(turns, self.system)))
            if tokens <= room:
                if first:
                    self.note = f"The oldest {first} turns no longer fit: the model did not read them. "
                return turns
        raise HelpersError(f"the question is too long: {tokens} tokens, {room} fit", "shorten it and send it again")

    def _count(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _measure(self, answer: str, seconds: float) -> None:
        tokens = self._count(answer) if answer else 0
        self.speed = tokens / seconds if seconds else 0.0
        if tokens >= self.max_new_tokens and not (self.stopped or self.error):
            self.note += f"The answer was cut at {self.max_new_tokens} tokens, the longest it may be here. "


def _turn(role: str, content: str) -> Turn:
    return {"role": role, "content": content}
