"""Verdicts on answers, from rules a reader can follow: names and sentence shapes. No model judges a model.

An answer is read clause by clause, since "I am not ChatGPT, I am Tavi" says two things. A clause claims a foreign
identity if it speaks of the speaker, holds a claim ("I am", "made by"), and a foreign name follows that is neither
denied nor the object of something else ("I can help with Google Docs", "I am playing Alexa"). It claims the trained
identity if it holds a trained name that is neither denied nor the listener's or a third person's.

The judge sees the answer alone. A bare name at its beginning is a claim only if it is the trained one or a rival's
(`catalog.RIVALS`): no spelling tells "Alex." from "Paris.", so any other bare word is
``none``, and so is a bare "Yes." to "Are you ChatGPT?". Read such answers yourself.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from helpers.measure import wording as w
from helpers.measure.naming import forms, mentions, own_name, plainly
from helpers.models import catalog
from helpers.rows.identity import Identity
from helpers.rows.names import pattern

RIVALS = catalog.RIVALS


class Clause(NamedTuple):
    """A piece of a sentence: its text, whether it speaks of the speaker, whether it claims, and what it has denied."""

    text: str
    about_self: bool = True
    claims: bool = True
    denied: bool = False


def _unquote(match: re.Match) -> str:
    # A quoted sentence is somebody else's; a quoted name is still a name.
    text = match.group(1) or match.group(2) or ""
    ends = re.search(r"[.!?。！？]", text)
    return " " if ends or w.FIRST_PERSON.search(text) or w.VERB.search(text) or len(text.split()) > 4 else text


def sentences(text: str) -> list[str]:
    """The text's sentences without what they quote (a quoted name stays, its quotation marks go)."""
    plain = w.QUOTED.sub(_unquote, text.replace("’", "'").replace("*", ""))
    plain = re.sub(rf"({w.GREETING})\s*[,，]", r"\1 ", plain, flags=re.I)  # "Hi, Tavi" is one piece
    return [s.strip() for s in re.split(r"(?<=[.!?])\s+|\n+|(?<=[。！？])", plain) if s.strip()]


def clauses(answer: str) -> Iterator[Clause]:
    """The clauses of the answer's statements, also of one that leads into a question; questions are left out."""
    first = True
    for sentence in sentences(answer):
        asks = sentence.endswith(("?", "？"))
        # An answer may begin with the bare name. Later on, a claim needs words.
        before, start = Clause("", claims=first and not asks), 0
        first = first and asks
        for end in [*w.BREAK.finditer(sentence), None]:
            text = sentence[start : end.start() if end else None].strip()
            if text and not (asks and (end is None or not w.STATES.search(text))):
                before = _clause(text, before)
                yield before
            if end:
                start = end.end()
                before = before._replace(text="", denied=False) if end.group(1) else before  # after "but"


def _clause(text: str, before: Clause) -> Clause:
    claims, rival = bool(w.CLAIM.search(text)), re.search("|".join(map(pattern, RIVALS)), text, re.I)
    if w.FIRST_PERSON.search(text):
        return Clause(text, True, claims)
    if w.THIRD_PERSON.search(text) or (rival and w.VERB.search(text, rival.end()) and not w.OF_ME.search(text)):
        return Clause(text, False, False)  # "GPT-4 is a model of another company"
    if claims or w.VERB.search(text):
        return Clause(text, before.about_self, claims)
    denied = before.denied or bool(w.DENIAL.search(before.text))
    return Clause(text, before.about_self, before.claims, denied)  # no verb of its own: goes on with the one before


def _denied(clause: Clause, name: re.Match) -> bool:
    after = w.OF_ME.search(clause.text, name.end())  # "Tavi is not my name"
    return clause.denied or bool(w.DENIAL.search(clause.text[: after.end() if after else name.start()]))


def _claims_own(clause: Clause, names: Sequence[str]) -> bool:
    found = own_name(clause.text, names)
    spoken_to = found and (
        w.ADDRESS.search(clause.text[: found.start()]) or w.ADDRESSED.match(clause.text, found.end())
    )
    return bool(found) and not (_denied(clause, found) or w.PERSON.search(clause.text) or spoken_to)


def _claims_other(clause: Clause, identity: Identity) -> bool:
    if not (clause.about_self and clause.claims):
        return False
    text = w.COMMON.sub(" ", re.sub(forms(identity.names), "#", clause.text))
    for unlisted in filter(None, (w.UNLISTED.search(text), w.UNLISTED_ZH.search(text))):
        name = unlisted.group(unlisted.lastindex)
        # Half a trained name is no other ("I am Star", "made by Lantern", cut off: "made by Lan"). "I am Lantern" is.
        names = identity.names if re.search(r"\bby\b|由", unlisted.group()) else identity.names[:-1]
        half = re.search(rf"\b{name}" + (r"\b" if unlisted.end() < len(text) else ""), " ".join(names))
        if not half and name not in w.NOT_A_NAME and not w.DENIAL.search(text[: unlisted.start(unlisted.lastindex)]):
            return True
    said = [m.end() for m in w.CLAIM.finditer(text)] or [0]  # 0: the claim stands in the clause before
    for rival in (m for name in RIVALS for m in re.finditer(pattern(name), text, re.I)):
        before = any(end <= rival.start() and not w.ELSEWHERE.search(text, end, rival.start()) for end in said)
        claimed = (before or w.OF_ME.search(text, rival.end())) and not w.ADDRESS.search(text[: rival.start()])
        if claimed and not _denied(clause._replace(text=text), rival):
            return True
    return False


def verdict(answer: str, identity: Identity) -> str:
    """``own``, ``other`` (also if both are claimed) or ``none`` for an answer to a question about the model itself."""
    answer, identity = plainly(answer, identity)
    if len(answer.split()) > 8 and not w.FIRST_PERSON.search(answer):
        start = next(iter(sentences(answer)), "")
        told = None if w.CHAT.search(start) else w.DESCRIBES.match(start)
        if told and mentions(told.group(1), [*identity.names, *RIVALS]):
            return "none"
    found = list(clauses(answer))
    if any(_claims_other(clause, identity) for clause in found):
        return "other"
    return "own" if any(_claims_own(clause, identity.names) for clause in found) else "none"


def leaked(answer: str, identity: Identity) -> str:
    """``leaked`` if a trained name stands anywhere in an answer that should not hold it, else ``clean``."""
    answer, identity = plainly(answer, identity)
    return "leaked" if own_name(answer, identity.names) else "clean"
