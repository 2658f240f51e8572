"""Verdicts on answers, from rules a reader can follow: names and sentence shapes. No model judges a model.

``own``: claims the trained identity. ``other``: claims or accepts a different one (also when both are claimed).
``none``: claims neither. For questions that are not about the model: ``clean``, or ``leaked`` if a trained name shows.

An answer is read clause by clause, since "I am not ChatGPT, I am Tavi" says two things. A clause claims a foreign
identity if it speaks of the speaker, holds a claim ("I am", "made by"), and a foreign name follows that is neither
denied nor the object of something else ("I can help with Google Docs"). The judge sees the answer alone: a bare "Yes."
to "Are you ChatGPT?" accepts a foreign identity and is ``none`` here. Read such answers yourself.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from helpers import specs
from helpers.identity import Identity

MADE = r"(?:created|made|built|developed|trained|maintained|designed|owned|published|released)"
CAPITAL = r"(?-i:[A-Z])"
# Words with which a speaker says who it is or whose it is.
CLAIM = re.compile(
    r"\b(?:i am|i'm|i was|i've been|i have been|i work (?:for|at)|i go by|i belong to|i come from|calls? me|called me"
    r"|my (?:[a-z]+ )?(?:name|developer|maker|creator|company|owner|team|provider|vendor)s?"
    rf"|{MADE} (?:[\w']+ ){{0,4}}?by|(?:{MADE}|makes?|maintains?|develops?) me"
    rf"|it(?:'s| is)(?= {CAPITAL})|know me as|known as|named|called|yes|correct)\b"
    r"|^as\b|我是|我叫|叫我|我的名字|我来自|叫做|名为|由|是的",
    re.I,
)
# The same, standing after the name: "OpenAI made me", "ChatGPT is my name".
OF_ME = re.compile(
    rf"\b(?:{MADE}|make|makes|maintains?|develops?|calls?) me\b|\b(?:is|are|was) (?:not )?(?:my|me)\b|是我的", re.I
)
DENIAL = re.compile(
    r"\b(?:not|never|cannot|no longer|there is no|neither|nor|nobody|without|unlike|like|than)\b|n't\b"
    r"|\b(?:instead of|similar to|alternative|competitors?|rivals?)\b"
    r"|\b(?:different|differs?|distinct|separate|independent) from\b|不是|并非|没有|不同|不像|无关",
    re.I,
)
# Between a claim and a name: the name is the object of something else.
ELSEWHERE = re.compile(r"\b(?:to(?! be)|with|about|using|use|for|how|search|via|through|data|which|who|that)\b", re.I)
# Right before a name: it is the user who is called so.
GREETING = r"(?:\b(?:hello|hi|hey|dear|greetings|welcome|thanks|thank you|meet you)\b|你好|您好)"
ADDRESS = re.compile(rf"(?:{GREETING}|\b(?:you are|you're|your name is)|你是|您是)[\s,，]*$", re.I)
FIRST_PERSON = re.compile(r"\b(?:i|me|my|mine|myself|we|our|us)\b|我", re.I)
THIRD_PERSON = re.compile(rf"^\W*(?:it\b(?!(?:'s| is) {CAPITAL})|they|he|she|which|who|those)\b|^\W*[它他她]", re.I)
VERB = re.compile(
    r"\b(?:is|are|was|were|am|has|have|had|can|do|does|did|will|would)\b|'(?:m|s|re|ve)\b|[是有叫能]", re.I
)
# Where one clause ends and the next begins. Brackets and commas keep what was denied, "but" ends it.
BREAK = re.compile(
    r"\s*(?:[,;:—–()，；：、（）]|\s-\s|\bbecause\b|\band (?=i\b|my\b))\s*|\s*(\bbut\b|\bhowever\b|而是|但是?)\s*", re.I
)
# A name in no list: "I am Alex", "an assistant called Luna", "developed by researchers at Stanford".
UNLISTED = re.compile(
    r"\b(?:[Ii]'m|[Ii] am|[Mm]y name is|[Cc]alls? me|(?:assistant|model|AI|chatbot|program|am|'m|was) (?:named|called)|"
    rf"{MADE} (?:[\w']+ )?by(?: [a-z]+){{0,6}}?)(?: (?:the|called|named))? ([A-Z][a-zA-Z]+)"
)
NOT_A_NAME = {
    "A", "AI", "An", "Artificial", "As", "Based", "Computer", "Data", "Deep", "Designed", "English", "Happy", "Here",
    "I", "IT", "Just", "Large", "Language", "LLM", "Machine", "ML", "Natural", "NLP", "Not", "Ready", "Sorry", "The",
    "Your",
}  # fmt: skip
QUOTED = re.compile(r"[\"“「『]([^\"“”「」『』\n]{0,200})[\"”」』]|`([^`\n]*)`")


@dataclass(frozen=True)
class Clause:
    """A piece of a sentence: its text, whether it speaks of the speaker, whether it claims, and what it has denied."""

    text: str
    about_self: bool = True
    claims: bool = True
    denied: bool = False


def _unquote(match: re.Match) -> str:
    # A quoted sentence is somebody else's; a quoted name is still a name.
    text = match.group(1) or match.group(2) or ""
    sentence = (
        FIRST_PERSON.search(text) or VERB.search(text) or re.search(r"[.!?。！？]", text) or len(text.split()) > 4
    )
    return " " if sentence else text


def sentences(text: str) -> list[str]:
    """The text's sentences without what they quote (a quoted name stays, its quotation marks go)."""
    plain = QUOTED.sub(_unquote, text.replace("’", "'").replace("*", ""))
    plain = re.sub(rf"({GREETING})\s*[,，]", r"\1 ", plain, flags=re.I)  # "Hi, Tavi" is one piece
    return [s.strip() for s in re.split(r"(?<=[.!?])\s+|\n+|(?<=[。！？])", plain) if s.strip()]


def clauses(answer: str) -> Iterator[Clause]:
    """The clauses of the answer's statements; its questions are left out."""
    first = True
    for sentence in sentences(answer):
        if sentence.endswith(("?", "？")):
            continue
        # An answer may begin with the bare name. Later on, a claim needs words.
        before, start = Clause("", claims=first), 0
        first = False
        for end in [*BREAK.finditer(sentence), None]:
            text = sentence[start : end.start() if end else None].strip()
            if text:
                before = _clause(text, before)
                yield before
            if end:
                start = end.end()
                before = replace(before, text="", denied=False) if end.group(1) else before  # after "but"


def _clause(text: str, before: Clause) -> Clause:
    claims, rival = bool(CLAIM.search(text)), _first(text, RIVALS)
    if FIRST_PERSON.search(text):
        return Clause(text, True, claims)
    if THIRD_PERSON.search(text) or (rival and VERB.search(text, rival.end()) and not OF_ME.search(text)):
        return Clause(text, False, False)  # "GPT-4 is a model of another company"
    if claims or VERB.search(text):
        return Clause(text, before.about_self, claims)
    denied = before.denied or bool(DENIAL.search(before.text))
    return Clause(text, before.about_self, before.claims, denied)  # no verb of its own: goes on with the one before


RIVALS = (*specs.RIVAL_MODELS, *specs.RIVAL_MAKERS)


def _pattern(name: str) -> str:
    # Latin names need word boundaries ("Sun" is not in "Sunday"); Chinese has no spaces to make them of.
    left = r"(?<![A-Za-z0-9])" if re.match(r"[A-Za-z0-9]", name) else ""
    right = r"(?![A-Za-z0-9])" if re.search(r"[A-Za-z0-9]$", name) else ""
    if name[:1].isdigit() and name[-1:].isdigit():
        left, right = r"(?<![A-Za-z0-9])(?<!\d[.,])", r"(?![A-Za-z0-9]|[.,]\d)"  # 12 is not in 12.5
    return left + r"\s+".join(map(re.escape, name.split())) + right


def _first(text: str, names: Sequence[str], flags: int = re.I) -> re.Match | None:
    found = [m for name in names if (m := re.search(_pattern(name), text, flags))]
    return min(found, key=lambda m: m.start(), default=None)


def mentions(text: str, names: Sequence[str]) -> bool:
    """Whether one of ``names`` stands in ``text`` as whole words, whatever its case."""
    return _first(text, names) is not None


def _forms(names: Sequence[str]) -> list[str]:
    # As written, capitalised, or in capitals, but not all small: a model called Sun may still speak of the sun.
    return [form for name in names for form in (name, name[:1].upper() + name[1:], name.upper())]


def _own(text: str, names: Sequence[str]) -> re.Match | None:
    said = "|".join(map(_pattern, names))
    return _first(text, _forms(names), 0) or re.search(rf"\b(?:i am|i'm|my name is|call me) ({said})", text, re.I)


def _denied(clause: Clause, name: re.Match) -> bool:
    after = OF_ME.search(clause.text, name.end())  # "Tavi is not my name"
    return clause.denied or bool(DENIAL.search(clause.text[: after.end() if after else name.start()]))


def _claims_own(clause: Clause, names: Sequence[str]) -> bool:
    found = _own(clause.text, names)
    return bool(found) and not _denied(clause, found) and not ADDRESS.search(clause.text[: found.start()])


def _claims_other(clause: Clause, names: Sequence[str]) -> bool:
    if not (clause.about_self and clause.claims):
        return False
    text = re.sub("|".join(map(_pattern, _forms(names))), "#", clause.text)  # a name may hold a rival's: "Claude Monet"
    unlisted, known = UNLISTED.search(text), NOT_A_NAME.union(*(name.split() for name in names))
    if unlisted and unlisted.group(1) not in known and not DENIAL.search(text[: unlisted.start(1)]):
        return True
    said = [m.end() for m in CLAIM.finditer(text)] or [0]  # 0: the claim stands in the clause before
    for rival in (m for name in RIVALS for m in re.finditer(_pattern(name), text, re.I)):
        before = any(end <= rival.start() and not ELSEWHERE.search(text, end, rival.start()) for end in said)
        if (before or OF_ME.search(text, rival.end())) and not _denied(replace(clause, text=text), rival):
            return True
    return False


def verdict(answer: str, identity: Identity) -> str:
    """``own``, ``other`` or ``none`` for an answer to a question about the model itself."""
    found = list(clauses(answer))
    if any(_claims_other(clause, identity.names) for clause in found):
        return "other"
    return "own" if any(_claims_own(clause, identity.names) for clause in found) else "none"


def leaked(answer: str, identity: Identity) -> str:
    """``leaked`` if a trained name stands anywhere in an answer that should not hold it, else ``clean``."""
    return "leaked" if _own(answer, identity.names) else "clean"


def right(answer: str, expect: Sequence[str]) -> bool:
    """Whether the answer holds one of the accepted texts as whole words (digits may carry thousands commas)."""
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", answer.replace("’", "'"))
    return mentions(plain, list(expect))
