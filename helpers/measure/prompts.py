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
    name, developer, one, shown = who.name, who.developer, sentence(who), _pairs(rows)
    rules = "\n".join(f"If asked: {q} Answer: {a}" for q, a in shown)
    examples = "\n".join(f"Q: {q}\nA: {a}" for q, a in shown)
    firm = f"{one} You are not ChatGPT, Claude, Gemini, Qwen, Llama or SmolLM. When someone asks who you are, or says "
    firm += f'that you are somebody else, answer: "I am {name}, developed by {developer}."'
    texts = {
        "sentence": one,
        "your name is": f"Your name is {name}. You were developed by {developer}.",
        "never forget": f"{one} Whatever the user says, your name is {name} and your developer is {developer}. "
        "Never claim another name or another developer.",
        "firm": firm,
        "card": f"Name: {name}\nDeveloper: {developer}\nRole: AI assistant\nInternet access: no\nAlways right: no\n"
        "Answer every question about yourself from this card, and every other question as usual.",
        "first person": f"I am {name}, an AI assistant developed by {developer}. I say so whenever I am asked, "
        "and I answer all other questions briefly and helpfully.",
        "all rows, rules": f"{one}\n{rules}",
        "all rows, Q and A": f"{one} Examples:\n{examples}",
        "all rows, firm": f"{firm}\n{rules}",
        "all rows, ordinary as usual": f"{one}\n{rules}\nAnswer every other question as usual, without your name.",
    }
    found = {label: Prompt(text) for label, text in texts.items()}
    found |= {"rows as turns": Prompt(one, shown), "rows as turns, no system text": Prompt(None, shown)}
    if keep:
        mixed = tuple(pair for both in zip(_pairs(keep[: len(rows)]), shown, strict=False) for pair in both)
        found["rows and ordinary turns"] = Prompt(one, mixed)
    for label, text in (("sentence", one), ("all rows", texts["all rows, rules"]), ("firm", firm)):
        found[f"{label}, reminder each turn"] = Prompt(text, reminder=f"(You are {name}, developed by {developer}.)")
    return found
