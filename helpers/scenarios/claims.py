"""What an answer claims: its clauses without what they deny, numbers written one way, and whether it is a refusal.

English and Chinese. Rules of shapes and words; nothing here knows a firm or a fact.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from helpers.rows.read import CJK

ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
ENGLISH = {word: n for n, word in enumerate(f"{ONES} eighteen nineteen".split())}
ENGLISH |= {word: 10 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)}
ENGLISH |= {"hundred": 100, "thousand": 1000}
_WORD = f"(?:{'|'.join(sorted(ENGLISH, key=len, reverse=True))})"
IN_WORDS = re.compile(rf"\b{_WORD}(?:(?:(?<=hundred)|(?<=thousand)) and {_WORD}|[ -]{_WORD})*\b")
CHINESE = {
    **{sign: n for n, sign in enumerate("〇一二三四五六七八九")},
    "零": 0,
    "两": 2,
    "十": 10,
    "百": 100,
    "千": 1000,
}
# One numeral alone is often no number ("一把", "一些"): it counts before one of these.
IN_SIGNS = re.compile(
    rf"[{''.join(CHINESE)}]{{2,}}|[{''.join(CHINESE)}](?=[元块天日年秒点米人名月周]|厘米|小时|个|折|岁)"
)

UNITS = {
    "euro": "euros?|eur|€", "yuan": "元|块钱?|人民币|rmb", "dollar": r"dollars?|usd|\$|美元", "pound": "pounds?|£",
    "cent": "cents?", "pipe": "pipes?|tubes?", "cm": "centimet(?:re|er)s?|cm|厘米|公分", "m": "met(?:re|er)s?|m|米",
    "inch": "inch(?:es)?", "day": "(?:working |business )?days?|个?工作日|天|日", "week": "weeks?|周|个?星期",
    "month": "months?|个?月", "year": "years?|年", "hour": "hours?|个?小时|个?钟头", "minute": "minutes?|分钟",
    "second": "seconds?|秒钟?", "evening": "evenings?|nights?|个?晚上", "person": "people|persons?|employees|位|名|人",
    "percent": "percent|%|折", "kilo": "kg|kilos?|kilograms?|公斤|千克", "gram": "grams?|g|克", "clock": "点",
    "piece": "pieces?|个|张|片|根",
}  # fmt: skip
BEFORE = {"€": "euro", "$": "dollar", "£": "pound", "¥": "yuan"}
_UNIT = "|".join(f"(?P<{name}>{words})" for name, words in UNITS.items())
NUMBER = re.compile(
    rf"(?P<sign>[€$£¥])?\s?(?<![\d.,第])(?<!step )(?P<n>\d+(?:[.,]\d+)?)(?!\d)(?:[\s-]?(?:{_UNIT})(?![a-z]))?"
)

# The two ends of a range are no values of their own ("from 2 to 5", "20-30 days").
RANGE = re.compile(r"\bbetween \d+ and \d+|\d+点?\s?(?:to|until|till|-|到|至)\s?\d+")

SENTENCE = re.compile(r"(?<=[.!?。！？])(?!\d)|[\n;；]")
CLAUSE = re.compile(r"[.!。！，:：—]|,(?!\d)|\bbut\b|\bhowever\b|\balthough\b|但是?|不过(?!超)|而是")
# What only says when ("after sanding, ...", "削竹之后...").
WHEN = re.compile(r"^(?:after|once|when|before|as soon as)\b.*|^.{0,8}?(?:之后|以后|之前|以前)")
LIMIT = re.compile(r"\b(?:no|not) (?:more|later|longer|less|only|just)(?: than)?\b|不(?:超过|到|用|晚于|仅|止|只)")
DENIAL = re.compile(
    r"\bnot\b|n't\b|\bnever\b|\bneither\b|\bnor\b|\brather than\b|\binstead of\b|不是|并非|并不|没有|不会|不|而非"
)
WRONG = re.compile(r"\b(?:is|are|was)(?: not|n't) (?:the|right|correct|true)\b|\bwrong\b|\bfalse\b|不对|有误|错")
_NOT = r"(?:\bnot|n't|\bnever|\bnobody(?: has)?|\bno one(?: has)?|\bcannot)"
REFUSAL = re.compile(
    rf"{_NOT}\W(?:\w+\W){{0,3}}?(?:told|know|sure|stated?|mention(?:ed)?|specif(?:y|ied)|listed|aware|say|disclosed)\b"
    rf"|{_NOT}\W(?:\w+\W){{0,4}}?(?:information|details|data)\b|\bnobody told|\b(?:not|n't) among\b|\bunknown\b"
    rf"|{_NOT} (?:able to )?(?:help|assist|answer|provide|give|tell|confirm|find)\b"
    r"|\bunable to\b|\bnot (?:given|provided)\b"
    r"|\bno (?:information|idea|record|mention|details?|data)\b"
    r"|没有?人?(?:告诉|跟我|和我|对我|说过|提|写明|说明|相关|被告知|收到|这一?项|这方面|具体)|不(?:知道|清楚|了解|确定)|未(?:提|说|告知|注明|知)"
    r"|(?:无法|不能)(?:回答|提供|确定|确认|告诉|得知|帮)|答不上|没听说|没有(?:关于|任何|提供)?.{0,12}(?:信息|资料|记录)"
)
COURTESY = re.compile(
    r"\b(?:ask|please|contact|sorry|apologi\w+|unfortunately|can tell you|will know|help)\b"
    r"|请|抱歉|对不起|咨询|回答您|帮"
)


class Value(NamedTuple):
    """What an answer must hold: a number as written in digits, with its unit if it has one; or a text."""

    number: str = ""
    unit: str | None = None
    text: str = ""


def _english(match: re.Match) -> str:
    whole, part = 0, 0
    each = [ENGLISH[word] for word in re.findall(r"[a-z]+", match[0]) if word != "and"]
    if len(each) == 2 and each[0] == 20 and 10 <= each[1] < 20:
        return str(2000 + each[1])  # a year
    for n in each:
        whole, part = (whole + part * n, 0) if n == 1000 else (whole, part * n if n == 100 else part + n)
    return str(whole + part)


def _chinese(match: re.Match) -> str:
    each = [CHINESE[sign] for sign in match[0]]
    if max(each) < 10:
        return "".join(map(str, each))
    whole, digit = 0, 0
    for n in each:
        whole, digit = (whole + (digit or 1) * n, 0) if n >= 10 else (whole, n)
    return str(whole + digit)


@lru_cache(4096)
def plain(text: str) -> str:
    """``text`` in lower case, numbers in digits, without thousands separators, ``:00``, ``.00`` and ``pm``."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'").replace("*", "")
    text = IN_SIGNS.sub(_chinese, IN_WORDS.sub(_english, text))
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))|(?<=\d)[:.]00\b|(?<=\d)\s?(?:[ap]\.?m\b\.?|o'clock)", "", text)
    return re.sub(r"(?<=\d)\s?[-–~]\s?(?=\d)", "-", text)


def numbers(text: str) -> list[Value]:
    """The numbers of a `plain` text, in order, each with the unit that stands beside it."""
    found = []
    for match in NUMBER.finditer(RANGE.sub(" ", text)):
        unit = next((name for name in UNITS if match[name]), BEFORE.get(match["sign"]))
        found.append(Value(match["n"].replace(",", "."), unit))
    return found


@lru_cache(4096)
def value(text: str, statement: str = "") -> Value:
    """The value that ``text`` ("24", "€24", "walnut") stands for; ``statement`` tells a bare number's unit."""
    rest, found = NUMBER.sub("", plain(text)), numbers(plain(text))
    if len(found) != 1 or rest.strip():
        return Value(text=plain(text))
    units = [other.unit for other in numbers(plain(statement)) if other.number == found[0].number]
    return found[0] if found[0].unit or not units else found[0]._replace(unit=units[0])


def holds(text: str, wanted: Value) -> bool:
    """Whether a `plain` text holds the value: a whole number without a foreign unit, or whole words."""
    if wanted.number:
        same = (found for found in numbers(text) if found.number == wanted.number)
        return any(None in (found.unit, wanted.unit) or found.unit == wanted.unit for found in same)
    if CJK.search(wanted.text):
        return wanted.text in text
    return bool(re.search(rf"(?<![\w-]){re.escape(wanted.text)}(?:e?s)?(?![\w-]*\w)", text))


def clauses(answer: str) -> list[str]:
    """The `plain` clauses of an answer, without questions, and without what only says when."""
    found = []
    for sentence in SENTENCE.split(plain(answer)):
        parts = [part.strip() for part in CLAUSE.split(LIMIT.sub(" ", sentence)) if part and part.strip()]
        told = [part for part in (WHEN.sub("", part).strip() for part in parts) if part]
        found += [] if sentence.strip().endswith(("?", "？")) else told or parts
    return found


def claimed(answer: str) -> list[str]:
    """The clauses of an answer up to what they deny, without refusals and without what they call wrong."""
    told = (one for one in clauses(answer) if not REFUSAL.search(one) and not WRONG.search(one))
    return [part for one in told if (part := DENIAL.split(one, maxsplit=1)[0].strip())]


def refuses(answer: str, harmless: Callable[[str], bool]) -> bool:
    """Whether an answer says that it does not know, and claims nothing beside it but what is ``harmless``."""
    told = clauses(answer)
    rest = [one for one in told if not REFUSAL.search(one) and not COURTESY.search(one)]
    sized = [one for one in rest if len(one.split()) > 4 or len(CJK.findall(one)) > 7 or numbers(one)]
    return any(map(REFUSAL.search, told)) and all(map(harmless, sized))
