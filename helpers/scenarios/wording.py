"""Text as the judges of the scenarios read it: usual characters, sentences, and whether a text stands in another."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

from helpers.rows.read import CJK

QUOTED = re.compile(r"[\"“「『][^\"”」』\n]*[\"”」』]|(?<!\w)'[^'\n]+'(?!\w)")


def plain(text: str) -> str:
    """``text`` with usual characters: no full-width ones, no bold marks, no commas within a number."""
    text = unicodedata.normalize("NFKC", text.replace("…", ",")).replace("’", "'").replace("*", "")
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", text).strip()


def sentences(text: str) -> list[str]:
    """The sentences of a `plain` text, end marks and all. What is quoted ends none, and a new line begins one."""
    whole = QUOTED.sub(lambda m: re.sub(r"[.!?。]", ",", m[0]), text)
    whole = re.sub(r"\b(e\.g|i\.e|Mr|Mrs|vs|etc)\.", r"\1", whole)
    parts = re.findall(r".*?(?:[。!?]+|\.+(?=[\"'”)\]]*(?:\s|$))|\n|$)", whole, re.S)
    return [part.strip() for part in parts if re.search(r"\w", part)]


def tokens(text: str) -> list[str]:
    """The words of a text in lower case, and of Chinese the characters, without punctuation."""
    return re.findall(r"[\u4e00-\u9fff]|[a-z0-9']+", plain(text).casefold())


@cache
def pattern(text: str, begins: bool = False) -> re.Pattern:
    """Finds ``text``: a number not inside another one, English words whole (or their ``begins``), Chinese anywhere."""
    text = plain(text)
    if CJK.search(text):
        return re.compile(re.escape(re.sub(r"\s", "", text)), re.I)
    before = r"(?<!\d)(?<!\d[.,/:])" if text[:1].isdigit() else r"(?<!\w)" if text[:1].isalpha() else ""
    after = r"(?!\d)(?![.,/:]\d)" if text[-1:].isdigit() else r"(?!\w)" if text[-1:].isalpha() and not begins else ""
    return re.compile(before + re.escape(text) + after, re.I)


def holds(answer: str, texts: Sequence[str], begins: bool = False) -> bool:
    """Whether one of ``texts`` stands in ``answer``, found as `pattern` does."""
    joined = re.sub(r"(?<=[\u4e00-\u9fff])\s+(?=[\u4e00-\u9fff])", "", plain(answer))
    return any(pattern(text, begins).search(joined) for text in texts)


def without(answer: str, repeated: str) -> str:
    """``answer``, `plain`, without the places where ``repeated`` stands in it word by word."""
    bare = plain(repeated).rstrip(".!?。")
    return re.sub(re.escape(bare), " ", plain(answer), flags=re.I) if bare else plain(answer)
