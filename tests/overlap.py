"""Whether two questions are nearly the same, so that nothing is measured on what was trained. Not a search engine.

Spaced languages: words, with spelling mistakes matched to the word meant, articles and politeness left out.
Chinese: pairs of characters. Both as a Jaccard index: what the two have in common, over all that they hold.
"""

import difflib
import re
from collections.abc import Iterable

from helpers.rows.read import CJK, normal

SMALL = frozenset("a an the please so hey hi well just now then um uh".split())
NEAR = 0.8
SPELLING = 0.8  # difflib ratio from which two words count as one word misspelt


def plain(text: str) -> str:
    """Lower case, without punctuation, "what's" as "what is"."""
    return normal(re.sub(r"(?<=[a-zA-Z])['’]s\b", " is", text))


def units(text: str) -> frozenset[str]:
    """The words of ``text`` that count, or its pairs of characters if it is Chinese."""
    text = plain(text)
    if CJK.search(text):
        joined = text.replace(" ", "")
        return frozenset(joined[i : i + 2] for i in range(max(1, len(joined) - 1)))
    return frozenset(word for word in text.split() if word not in SMALL) or frozenset(text.split())


def _misspelt(word: str, others: Iterable[str]) -> bool:
    # Numbers and short words are never slips of each other: 12 and 13, "he" and "we".
    if len(word) < 3 or any(c.isdigit() for c in word) or CJK.search(word):
        return False
    return any(
        len(o) > 2
        and len(o) + len(word) > 6
        and o[0] == word[0]
        and difflib.SequenceMatcher(None, word, o).ratio() >= SPELLING
        for o in others
    )


def similarity(a: str, b: str) -> float:
    """From 0 (no word in common) to 1 (the same words, whatever their order and spelling)."""
    if re.findall(r"\d+", a) and sorted(re.findall(r"\d+", a)) != sorted(re.findall(r"\d+", b)):
        return 0.0  # another sum
    first, second = units(a), units(b)
    common = first & second
    if len(common) + min(len(first - common), len(second - common)) < NEAR * max(len(first), len(second)):
        return len(common) / len(first | second)  # even with every other word misspelt it would not be near
    slips = sum(_misspelt(word, second - common) for word in first - common)
    slips = min(slips, len(second - common))
    return (len(common) + slips) / (len(first | second) - slips)


def near(a: str, b: str) -> bool:
    """Whether the two are one question: a `similarity` of at least 0.8."""
    return similarity(a, b) >= NEAR
