"""A scripted generator in the place of a model's, so that a test decides what is said and when."""

from types import SimpleNamespace

import pytest

from helpers.chat import generate
from helpers.chat.conversation import ChatSession

HOSTILE = {
    "image": "<img src=x onerror=\"document.title='owned'\">",
    "script": "</div></style><script>alert('x')</script>",
    "links": "[x](javascript:alert(1)) <a href='javascript:alert(1)'>x</a> <iframe src='javascript:alert(1)'>",
    "quotes": "\" onmouseover='alert(1)' x=`",
    "entity": "&lt;b&gt; &amp; &#60;script&#62;",
    "long": "a" * 10_000,
    "right-to-left": "مرحبا \u202e<b>evil</b>\u202c שלום",
    "emoji": "👩‍👩‍👧 🏳️‍🌈 ✨\n\n  indented",
    "controls": "\x1b[31mred\x00\x07\ud800",
}


def fake_model(context=100_000):
    return SimpleNamespace(config=SimpleNamespace(max_position_embeddings=context), disable_adapter=None)


def pairs(history):
    """Questions with their answers, in order; None where none was given."""
    found = []
    for turn in history:
        if turn["role"] == "user":
            found.append((turn["content"], None))
        else:
            found[-1] = (found[-1][0], turn["content"])
    return found


class WordTokenizer:
    """A word is a token."""

    def apply_chat_template(self, messages, **kwargs):
        return " ".join(m["content"] for m in messages)

    def __call__(self, text, **kwargs):
        return {"input_ids": text.split()}


class Script:
    """Stands in for `generate.stream`: says the pieces of ``answers`` in order, raising what is an exception.

    ``gate``, if set, is waited for before each piece, so that a test can act while an answer is under way.
    """

    def __init__(self, *answers, gate=None):
        self.answers, self.gate, self.calls = list(answers), gate, []

    def __call__(self, model, tokenizer, messages, *, stop=None, wait=True, **how):
        self.calls.append({"messages": [dict(m) for m in messages], "wait": wait, **how})
        for piece in self.answers.pop(0):
            if self.gate:
                self.gate.acquire(timeout=5)
            if stop.is_set():
                return
            if isinstance(piece, Exception):
                raise piece
            yield piece


@pytest.fixture
def scripted(monkeypatch):
    """Install a script; returns a function that takes its answers."""

    def install(*answers, gate=None):
        script = Script(*answers, gate=gate)
        monkeypatch.setattr(generate, "stream", script)
        return script

    return install


@pytest.fixture
def chat():
    return ChatSession(fake_model(), WordTokenizer())
