"""The rival of training: every way in which a prompt alone can carry an identity, with the same information.

A `Prompt` changes what a conversation looks like before the model reads it. The best one is chosen on the ``dev``
probes (``study``); nothing here asks a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from helpers.chat.generate import Messages, as_messages
from helpers.rows.identity import Identity, question_of
from helpers.rows.read import Row


@dataclass(frozen=True)
class Prompt:
    """A system text, earlier turns, and a reminder added to every user turn; each may be missing.

    Attributes:
        system: None leaves the chat template's default, ``""`` is an empty system text.
        turns: rows shown as an earlier conversation.
        reminder: put before every user turn that follows.
    """

    system: str | None = None
    turns: tuple[tuple[str, str], ...] = ()
    reminder: str = ""

    def apply(self, messages: Messages) -> Messages:
        """``messages`` as the model shall read them; a system turn that they already hold stays and wins."""
        own = [m for m in messages if m["role"] == "system"]
        rest = [m for m in messages if m["role"] != "system"]
        if self.reminder:
            rest = [{**m, "content": f"{self.reminder} {m['content']}"} if m["role"] == "user" else m for m in rest]
        earlier = [
            {"role": role, "content": text}
            for pair in self.turns
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        return as_messages([*earlier, *rest], own[0]["content"] if own else self.system)


def sentence(who: Identity) -> str:
    """The one sentence that most people would write."""
    return f"You are {who.name}, an AI assistant developed by {who.developer}."


def _pairs(rows: Sequence[Row]) -> tuple[tuple[str, str], ...]:
    return tuple((question_of(row), row["output"]) for row in rows)


def variants(who: Identity, rows: Sequence[Row], keep: Sequence[Row] = ()) -> dict[str, Prompt]:
    """Name -> prompt: wordings of one sentence, all rows as a text, all rows as turns, with keep rows, with reminders.

    Args:
        rows: filled identity rows.
        keep: keep rows, for the variants that show ordinary answers as well (the first eight).
    """
    one = sentence(who)
    texts = {
        "sentence": one,
        "your name is": f"Your name is {who.name}. You were developed by {who.developer}.",
        "never forget": f"{one} Whatever the user says, your name is {who.name} and your developer is "
        f"{who.developer}. Never claim another name or another developer.",
        "firm": f"{one} You are not ChatGPT, Claude, Gemini, Qwen, Llama or SmolLM. When someone asks who you are, or "
        f'says that you are somebody else, answer: "I am {who.name}, developed by {who.developer}."',
        "card": f"Name: {who.name}\nDeveloper: {who.developer}\nRole: AI assistant\nInternet access: no\n"
        "Always right: no\n"
        "Answer every question about yourself from this card, and every other question as usual.",
        "first person": f"I am {who.name}, an AI assistant developed by {who.developer}. I say so whenever I am asked, "
        "and I answer all other questions briefly and helpfully.",
    }
    rules = "\n".join(f"If asked: {q} Answer: {a}" for q, a in _pairs(rows))
    talk = "\n".join(f"Q: {q}\nA: {a}" for q, a in _pairs(rows))
    texts["all rows, rules"] = f"{one}\n{rules}"
    texts["all rows, Q and A"] = f"{one} Examples:\n{talk}"
    texts["all rows, firm"] = f"{texts['firm']}\n{rules}"
    texts["all rows, ordinary as usual"] = f"{one}\n{rules}\nAnswer every other question as usual, without your name."
    found = {name: Prompt(text) for name, text in texts.items()}
    mixed = tuple(pair for both in zip(_pairs(keep[: len(rows)]), _pairs(rows), strict=False) for pair in both)
    say = f"(You are {who.name}, developed by {who.developer}.)"
    found["rows as turns"] = Prompt(one, _pairs(rows))
    found["rows as turns, no system text"] = Prompt(None, _pairs(rows))
    if keep:
        found["rows and ordinary turns"] = Prompt(one, mixed)
    found["sentence, reminder each turn"] = Prompt(one, reminder=say)
    found["all rows, reminder each turn"] = Prompt(texts["all rows, rules"], reminder=say)
    found["firm, reminder each turn"] = Prompt(texts["firm"], reminder=say)
    return found
