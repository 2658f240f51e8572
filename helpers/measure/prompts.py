"""Every way in which a prompt alone can carry an identity, worded in ``data/prompts``; nothing here asks a model."""

from collections.abc import Sequence
from dataclasses import dataclass

from helpers import files
from helpers.chat.generate import Messages, as_messages
from helpers.rows.identity import PLACEHOLDER, Identity, question_of
from helpers.rows.read import Row, shipped


@dataclass(frozen=True)
class Prompt:
    """A system text (None: the template's default), rows as earlier turns, a reminder put before every user turn."""

    system: str | None = None
    turns: tuple[tuple[str, str], ...] = ()
    reminder: str = ""

    def apply(self, messages: Messages) -> Messages:
        """``messages`` as the model shall read them; a system turn that they already hold stays and wins."""
        own, turns = [m["content"] for m in messages if m["role"] == "system"], []
        for question, answer in self.turns:
            turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        before = {"user": f"{self.reminder} "} if self.reminder else {}
        turns += [{**m, "content": before.get(m["role"], "") + m["content"]} for m in messages if m["role"] != "system"]
        return as_messages(turns, own[0] if own else self.system)


def sentence(who: Identity, lang: str = "en") -> str:
    """The one sentence that most people would write."""
    return variants(who, (), lang=lang)["sentence"].system


def variants(who: Identity, rows: Sequence[Row], keep: Sequence[Row] = (), lang: str = "en") -> dict[str, Prompt]:
    """Name -> prompt, worded in ``lang``, for filled identity ``rows``; the one that shows ``keep`` rows needs some."""
    pairs, ordinary = ([(question_of(row), row["output"]) for row in part] for part in (rows, keep))
    found, known = {}, {"NAME": who.name, "DEVELOPER": who.developer}

    def put(text: str, **more: str) -> str:
        return PLACEHOLDER.sub(lambda match: {**known, **more}[match[1]], text)

    for label, way in files.read_json(shipped("prompts", f"{lang}.json")).items():
        known["ROWS"] = "\n".join(put(way["row"], QUESTION=q, ANSWER=a) for q, a in pairs if "row" in way)
        texts = {key: put(way[key]) for key in ("system", "reminder") if key in way}
        shown = zip(*({"rows": pairs, "keep": ordinary}[name] for name in way.get("turns", ())), strict=False)
        if keep or "keep" not in way.get("turns", ()):
            found[label] = Prompt(**texts, turns=tuple(pair for each in shown for pair in each))
    return found
