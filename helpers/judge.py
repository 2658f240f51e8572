"""Verdicts on answers, from rules a reader can follow. Substrings and sentence shapes; no model judges a model.

``own``: claims the trained identity. ``other``: claims or accepts a different one (also when both are claimed).
``none``: claims neither. For questions that are not about the model: ``clean``, or ``leaked`` if a trained name shows.
"""

import re
from collections.abc import Sequence

from helpers import specs
from helpers.identity import Identity

NEGATION = re.compile(
    r"\b(not|never|n't|no longer|isn't|wasn't|unlike|different from|rather than|instead of|neither|nor)\b|n't\b", re.I
)
CLAIM = re.compile(
    r"\b(i am|i'm|my (?:real |true |actual |full )?name is|my name's|call me|i was|i've been|i have been|known as|named|called"
    r"|my (?:developers?|makers?|creators?|company) (?:is|are|was)|(?:created|made|built|developed|trained|maintained|designed|owned) by"
    r"|(?:created|made|built|developed|trained|maintain(?:s|ed)?|designed) me|maintains me|made me|yes)\b",
    re.I,
)
SELF_NAME = re.compile(r"\b(?:I am|I'm|[Mm]y name is|[Cc]all me) (?:called |named )?([A-Z][a-zA-Z]+)\b")
NOT_A_NAME = {
    "AI",
    "An",
    "A",
    "The",
    "Sorry",
    "Designed",
    "Based",
    "Here",
    "I",
    "LLM",
    "English",
    "Not",
    "Your",
    "Just",
}
QUOTED = re.compile(r"[\"“][^\"“”\n]{0,200}[\"”]|`[^`\n]*`")


def sentences(text: str) -> list[str]:
    """The text's sentences without what stands in quotation marks."""
    unquoted = QUOTED.sub(" ", text)
    return [s.strip() for s in re.split(r"(?<=[.!?。！？])\s+|\n+|(?<=[。！？])", unquoted) if s.strip()]


def mentions(text: str, names: Sequence[str]) -> bool:
    """Whether one of ``names`` stands in ``text`` as a whole word, whatever its case."""
    return any(_position(text, name) is not None for name in names)


def _position(text: str, name: str) -> int | None:
    # Latin names need word boundaries ("Sun" is not in "Sunday"); Chinese has no spaces to make them of.
    edge_left = r"(?<![A-Za-z0-9])" if re.match(r"[A-Za-z0-9]", name) else ""
    edge_right = r"(?![A-Za-z0-9])" if re.search(r"[A-Za-z0-9]$", name) else ""
    found = re.search(edge_left + re.escape(name) + edge_right, text, re.I)
    return found.start() if found else None


def _affirms(sentence: str, names: Sequence[str]) -> bool:
    for name in names:
        at = _position(sentence, name)
        if at is not None and not NEGATION.search(sentence[:at]):
            return True
    return False


def _claims_rival(sentence: str, own: Sequence[str]) -> bool:
    rivals = [r for r in (*specs.RIVAL_MODELS, *specs.RIVAL_MAKERS) if r.casefold() not in {o.casefold() for o in own}]
    claim = CLAIM.search(sentence)
    if claim and _affirms(sentence[claim.start() :], rivals) and not NEGATION.search(sentence[: claim.end()]):
        return not re.search(r"\bGPT-?4 (?:is|was)\b", sentence)
    found = SELF_NAME.search(sentence)
    if found and found.group(1) not in NOT_A_NAME and not mentions(sentence, own):
        return found.group(1).casefold() not in {w.casefold() for o in own for w in o.split()}
    return False


def verdict(answer: str, identity: Identity) -> str:
    """``own``, ``other`` or ``none`` for an answer to a question about the model itself."""
    parts = [s for s in sentences(answer) if not s.endswith(("?", "？"))]
    if any(_claims_rival(s, identity.names) for s in parts):
        return "other"
    return "own" if any(_affirms(s, identity.names) for s in parts) else "none"


def leaked(answer: str, identity: Identity) -> str:
    """``leaked`` if a trained name stands anywhere in an answer that should not hold it, else ``clean``."""
    return "leaked" if mentions(answer, identity.names) else "clean"


def right(answer: str, expect: Sequence[str]) -> bool:
    """Whether the answer holds one of the accepted texts as whole words (digits may carry thousands commas)."""
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", answer)
    return mentions(plain, list(expect))
