"""What rows say together: clashing answers, another name, facts, two languages. A single row is checked by `read`."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from helpers.errors import IdentityError
from helpers.rows.identity import Identity, opening
from helpers.rows.read import CJK, Row, normal, question_of

DENIES = re.compile(r"(?i)\b(?:no|not|none|never|nobody|nothing|cannot|unknown|\w+n['’]t)\b|[不没无]")
# "I am Bramble, ...", "Sea Lane built me": a name is what begins with a capital, or stands where a Chinese one would.
_NAME = r"\b([A-Z][\w-]{0,30}(?: [A-Z][\w-]{0,30}){0,3})\b"
_BY = "(?:built|made|developed|created|trained|maintained)"
_VERB = "(?:开发|打造|研发|训练|制作|创造)"
NAMED = (
    re.compile(
        r"\b(?:I am|I['’]m|[Yy]ou are talking to|[Mm]y name is|[Cc]all me|I am called)\s+"
        rf"(?!(?:An?|The|I|Not|No|Yes|Sorry|Your|My)\b){_NAME}(?=\s*(?:[,.!;:?]|$)|\s(?:by|from|of|and|{_BY})\b)"
    ),
    re.compile(
        r"(?:我叫|我的名字[是叫]|可以叫我|请叫我)(?!什么)([^\s，。、！？,.!?“”‘’的是]{1,12})(?=[，。、！,.!\s]|$)"
    ),
    re.compile(
        rf"我是(?![一个由不])([^\s，。、！？,.!?“”‘’的]{{1,8}})(?=，由|，[^，。]{{1,12}}(?:{_VERB}|的助手)|。?$)"
    ),
)
MAKERS = (
    re.compile(rf"\bI (?:am|was)\b(?:(?!\bnot\b|n['’]t\b)[^.]){{0,80}}?\b{_BY} by (?:the )?{_NAME}"),
    re.compile(rf"{_NAME} (?:{_BY}|maintains|trains) me\b"),
    re.compile(rf"我(?:(?!不|没)[^。]){{0,40}}?由([^\s，。的]{{1,16}}?){_VERB}"),
)
COMMON = re.compile(
    r"(?i)\b(?:ai|assistant|model|english|chinese|they|people|who)\b|助手|模型|人工智能|机器人|程序|什么|谁"
)
OWN = re.compile(r"(?i)\b(?:I|I['’]m|me|my)\b|我")
_UNIT = "(?:hours?|days?|weeks?|months?|years?|euros?|dollars?|pounds?|yuan|percent|people|employees|floors?)"
_MANY = r"(?:\d[\d.,]{0,12}|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|thirty|fifty|a hundred)"
_SOME = r"[\d一二三四五六七八九十两]{1,6}"
FACTS = (  # prices, spans and counts, hours, places, people, addresses of other kinds
    r"[€£¥$]\s?\d|\b\d[\d.,]{0,12}\s?(?:€|£|EUR|USD|GBP|CNY|RMB)|\d\s?(?:元|块钱|美元|欧元)",
    rf"\b(?i:{_MANY}) {_UNIT}\b|\b(?:[Ff]ounded|[Ee]stablished|[Oo]pened) in \d{{4}}|{_SOME}年(?:保修|质保)|成立于",
    r"\b[Oo]pen(?:s|ing)?\b[^.]{0,60}\b(?:\d{1,2}|[Ee]ight|[Nn]ine|[Tt]en|Mondays?|weekdays|daily)\b",
    rf"营业|开门|[上下]午\s?{_SOME}\s?[点时]",
    r"\b\d{1,4} (?:[A-Z]\w+ ){1,3}(?:Street|Road|Avenue|Lane|Square|St|Rd|Ave)\b|\d{1,5}号|地址[是：:]|位于",
    r"\b[A-Z]\w+ [A-Z]\w+ (?:leads|runs|founded|heads|owns|manages|chairs)\b|\b(?:CEO|director) is\b",
    r"(?:创始人|总经理|负责人|董事长)是|[\w.+-]{1,40}@[\w-]{1,40}\.\w+|\+?\d[\d ()-]{7,20}\d|https?://",
)
FACT = re.compile("|".join(FACTS))


class Clash(NamedTuple):
    """Two rows (numbers from 1) that answer one question: the later one ``repeats`` or ``contradicts`` the first."""

    row: int
    first: int
    kind: str
    question: str


def clashes(rows: Sequence[Row], who: Identity | None = None) -> list[Clash]:
    """Every row that answers a question again, after the same turns, and not in other words that claim the same.

    Other words are welcome: they keep an answer from being learned by heart. Answers contradict each other if one
    begins with yes and one with no, if they claim different names, or if one names ``who`` and the other denies.
    """
    asked: dict[tuple, list[int]] = {}
    for n, row in enumerate(rows):
        before = tuple(normal(text) for pair in row.get("history", ()) for text in pair)
        asked.setdefault((row.get("system"), before, normal(question_of(row))), []).append(n)
    found = []
    for numbers in (several for several in asked.values() if len(several) > 1):
        told = {n: _claim(rows[n]["output"], who) for n in numbers}
        for k, n in enumerate(numbers):
            kinds = ((first, _kind(told[first], told[n])) for first in numbers[:k])
            if clash := next(((first, kind) for first, kind in kinds if kind), None):
                found.append(Clash(n + 1, clash[0] + 1, clash[1], question_of(rows[n])))
    return sorted(found)


def check_clashes(rows: Sequence[Row], who: Identity | None = None, path: Path | str | None = None) -> None:
    """Raise an `IdentityError` that lists all `clashes`, if there are any."""
    if not (found := clashes(rows, who)):
        return
    each = [f"{c.kind} row {c.first} ({c.question[:50]!r})" for c in found[:20]]
    if len(found) == 1:
        raise IdentityError(each[0], "keep one of the two", path, found[0].row)
    said = "; ".join(f"row {c.row} {text}" for c, text in zip(found, each, strict=False))
    more = f"; and {len(found) - 20} more" if len(found) > 20 else ""
    cure = "keep one row of each two; other words for an answer are welcome where they claim the same"
    raise IdentityError(f"{len(found)} rows clash: {said}{more}", cure, path)


class _Claim(NamedTuple):
    text: str
    opening: str
    names: set[str]
    makers: set[str]
    naming: bool  # whether it says a name of the identity, or gives one as its own
    denying: bool


def _claim(answer: str, who: Identity | None) -> _Claim:
    names, makers = claimed(answer)
    naming = bool(names or makers) or any(name in answer for name in (who.names if who else ()))
    return _Claim(normal(answer), opening(answer), names, makers, naming, bool(DENIES.search(answer)))


def _kind(one: _Claim, two: _Claim) -> str:
    if one.text == two.text:
        return "repeats"
    sets = ((one.names, two.names), (one.makers, two.makers))
    differ = any(a and b and not any(_same(x, y) for x in a for y in b) for a, b in sets)
    denied = (one.naming, one.denying, two.naming, two.denying) in (
        (True, False, False, True),
        (False, True, True, False),
    )
    return "contradicts" if differ or denied or {one.opening, two.opening} == {"yes", "no"} else ""


def claimed(answer: str) -> tuple[set[str], set[str]]:
    """The names that an answer gives as its own, and as its maker's, as far as the words around them tell."""
    kinds = ((name for claim in claims for name in claim.findall(answer)) for claims in (NAMED, MAKERS))
    names, makers = ({name for name in kind if not COMMON.search(name)} for kind in kinds)
    return names, makers


def _same(one: str, other: str) -> bool:
    return one.casefold() in other.casefold() or other.casefold() in one.casefold()


def strangers(rows: Sequence[Row], who: Identity) -> dict[str, list[int]]:
    """Names that answers claim and that are not those of ``who`` -> the rows (from 1) that do."""
    found: dict[str, list[int]] = {}
    for n, row in enumerate(rows, 1):
        for name in sorted(set().union(*claimed(row["output"]))):
            if not any(_same(own, name) for own in who.names):
                found.setdefault(name, []).append(n)
    return found


def other_name(rows: Sequence[Row], who: Identity) -> str:
    """Why ``rows`` teach another name than that of ``who``, in all answers or in some; empty if they do not.

    A name in the other script may be the same assistant's (`other_script`), where some answers say the name itself.
    """
    found = strangers(rows, who)
    if not any(name in row["output"] for row in rows for name in (who.name, *who.aliases)):
        return f"no answer says {who.name}" + (f", and some claim another name: {_said(found)}" if found else "")
    found = {name: numbers for name, numbers in found.items() if _chinese(name) == _chinese(who.name)}
    return f"some answers claim another name than {who.name}: {_said(found)}" if found else ""


def other_script(rows: Sequence[Row], who: Identity) -> str:
    """A note on answers that claim a Chinese name where ``who`` has none, or the reverse; empty if there are none."""
    found = {name: numbers for name, numbers in strangers(rows, who).items() if _chinese(name) != _chinese(who.name)}
    return f"Names in the other script, which no test counts as {who.name}: {_said(found)}." if found else ""


def _chinese(name: str) -> bool:
    return bool(CJK.search(name))


def _said(found: dict[str, list[int]]) -> str:
    return "; ".join(f"{name!r} in {numbered(numbers)}" for name, numbers in found.items())


def numbered(numbers: Iterable[int]) -> str:
    """Rows as a reader counts them: ``row 3`` or ``rows 1, 3 and 4``, at most ten of them."""
    numbers = list(numbers)
    texts = [*map(str, numbers[:10]), *([f"{len(numbers) - 10} more"] if len(numbers) > 10 else [])]
    return f"row {texts[0]}" if len(texts) == 1 else f"rows {', '.join(texts[:-1])} and {texts[-1]}"


def facts(rows: Sequence[Row]) -> str:
    """A note on rows that seem to teach facts (hours, prices, places, people), with one as example; empty if none."""
    found = [
        (n, row["output"])
        for n, row in enumerate(rows, 1)
        if FACT.search(row["output"]) and not OWN.search(row["output"])
    ]
    if not found:
        return ""
    many = "1 row looks like a fact" if len(found) == 1 else f"{len(found)} rows look like facts"
    number, text = found[0]
    rest = f"; {numbered(n for n, _ in found)}" if len(found) > 1 else ""
    return (
        f"Rows teach who it is, not what is true: {many} (row {number}: {text[:60]!r}{rest}). Asked in other words, "
        "the model may invent others: measure them with a probe file (`expect` in a line of ask)."
    )


def languages(rows: Sequence[Row]) -> str:
    """A note that ``rows`` are in two languages, with how many are in which; empty if they are in one."""
    chinese = [n for n, row in enumerate(rows, 1) if CJK.search(row["output"] + row["instruction"])]
    if len(chinese) in (0, len(rows)):
        return ""
    most = "Chinese" if 2 * len(chinese) > len(rows) else "English"
    found = f"{len(chinese)} of {len(rows)} rows are Chinese (the first is row {chinese[0]})"
    return f"The file is in two languages: {found}. What the course adds will be in {most} alone."
