"""A conversation with a model as a plain class: what was said, and how to go on. No widgets here and no browser."""

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from helpers import files
from helpers.chat import generate
from helpers.errors import HelpersError
from helpers.models.load import context_length

Turn = dict[str, Any]

# What is sent at most. The models take more, but the embedded one needs 21 CPU seconds to read 4,000 tokens (measured).
MOST_TOKENS = 2048
SETTINGS = ("system", "adapter", "max_new_tokens", "temperature", "strength")


def plain(text: str) -> str:
    """``text`` with each character replaced that could steer a terminal, reorder other text, or fail to be sent."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", "\ufffd", text)


def explain(error: Exception) -> str:
    """One line for the reader: a `HelpersError` brings its cure, anything else is named by its type."""
    lines = str(error).strip().splitlines() or ["no reason given"]
    other = f"{type(error).__name__}: {lines[0][:200]}. The conversation is kept; try again"
    return str(error) if isinstance(error, HelpersError) else other


@dataclass
class ChatSession:
    """One conversation. It has one reader at a time; another thread may call `stop` and `clear` while it answers.

    ``system`` is the system text: None leaves the chat template's own default, ``""`` sends an empty one. With
    ``adapter`` False the base model under the adapter answers; ``strength`` is how much the adapter counts, 1 being as
    trained. ``max_new_tokens`` is the longest answer; without a ``temperature`` decoding is greedy. These settings may
    be changed at any time; an answer is made by what they are when it is asked for.

    ``history`` holds ``{"role", "content"}`` turns, an answer's with its settings. Of the last answer, ``error`` says
    why it failed, ``stopped`` whether `stop` cut it short, ``note`` what else a reader should know, and ``speed`` its
    tokens a second, the reading of the question included. ``answering``: one is under way or to be read.
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
    _settings: dict[str, Any] = field(default_factory=dict, repr=False)

    def ask(self, text: str) -> Iterator[str]:
        """Put ``text`` (unless blank) into the history; returns the answer's pieces, of which none raises an error."""
        if not text.strip():
            return iter(())
        self.history.append({"role": "user", "content": text.strip()})
        return self.retry()

    def retry(self) -> Iterator[str]:
        """Answer the last question again; the former answer comes back if nothing takes its place."""
        if not self.history:
            return iter(())
        former = [self.history.pop()] if self.history[-1]["role"] == "assistant" else []
        self.error, self.note, self.stopped, self.answering = "", "", False, False
        self._settings, self.answering = self.settings(), True
        self._stop = threading.Event()  # made before the answer's thread starts, so that an early Stop is not lost
        return self._answer(self.history, former, self._stop, self._settings)

    def stop(self) -> None:
        """End the answer at its next token. Returns at once; what was said is kept."""
        self.stopped = True
        self._stop.set()

    def clear(self) -> None:
        """Forget the conversation, ending an answer that is under way."""
        self._stop.set()
        self.history = []  # a new list: an answer still ending writes into the old one
        self.error, self.note, self.stopped, self.answering = "", "", False, False

    def settings(self) -> dict[str, Any]:
        """What the answer under way is made by, or the next one, as keywords of `generate.stream`."""
        return self._settings if self.answering else {name: getattr(self, name) for name in SETTINGS}

    def save(self, path: Path | str) -> Path:
        """Write the history as JSONL, a turn a line, atomically; raises `HelpersError` if nothing was said yet."""
        if not self.history:
            raise HelpersError("nothing was said yet, so there is nothing to save", "ask a question first")
        return files.write_jsonl(path, [{**turn, "content": plain(turn["content"])} for turn in self.history])

    def _answer(self, history: list[Turn], former: list[Turn], stop: threading.Event, how: dict) -> Iterator[str]:
        turn = {"role": "assistant", "content": "", **how}
        began, error, longest = time.perf_counter(), "", how["max_new_tokens"]
        try:
            if not stop.is_set():
                sent = self._fitting(history, how["system"], longest)
                for piece in generate.stream(self.model, self.tokenizer, sent, **how, stop=stop, wait=False):
                    turn["content"] += piece
                    if history[-1] is not turn:
                        history.append(turn)
                    yield piece
        except Exception as e:  # whatever it was, the session goes on and the reader is told
            error = explain(e)
        finally:
            turn["content"] = turn["content"].strip()
            if not turn["content"]:
                history[:] = [t for t in history if t is not turn] + former
            if self.history is history:  # not cleared meanwhile
                tokens = generate.count_tokens(self.tokenizer, turn["content"]) if turn["content"] else 0
                self.error, self.answering, self.speed = error, False, tokens / (time.perf_counter() - began)
                if tokens >= longest and not (self.stopped or error):
                    self.note += f"The answer was cut at {longest} tokens, the longest it may be here. "

    def _fitting(self, history: list[Turn], system: str | None, max_new_tokens: int) -> list[Turn]:
        # The turns to send: answered questions and the new one, without the oldest where all are too long.
        turns = [
            {"role": turn["role"], "content": turn["content"]}
            for turn, following in pairwise([*history, {"role": "assistant"}])
            if "assistant" in (turn["role"], following["role"])  # two user turns in a row break some chat templates
        ]
        most = min(MOST_TOKENS, context_length(self.model))
        for first in range(0, len(turns), 2):
            text = generate.render(self.tokenizer, generate.as_messages(turns[first:], system))
            tokens = generate.count_tokens(self.tokenizer, text)
            if tokens + max_new_tokens <= most:
                if first:
                    self.note = f"The oldest {first // 2} turns no longer fit: the model did not read them. "
                return turns[first:]
        what = f"the question is too long: {tokens} tokens and {max_new_tokens} for the answer, but only {most} fit"
        raise HelpersError(what, "shorten it, or lower max_new_tokens, and send it again")
