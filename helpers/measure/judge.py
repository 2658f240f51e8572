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

from helpers.models import catalog
from helpers.rows.identity import Identity

RIVALS = catalog.RIVALS
MADE = r"(?:created|made|built|developed|trained|maintained|designed|owned|published|released)"
MADE_ZH = r"(?:训练|訓練|开发|開發|研发|研發|创造|創造|创建|制造|製造|打造|维护|維護|设计|設計|构建)"
# 我是, 我就是, 我其实是 ...: what stands between is no denial.
AM_ZH = r"我(?:就|也|还|既|正|现在|其实|其實|确实|確實|真的|的确|当然|仍然|一直|本来|实际上)*[是叫]"
MINE_ZH = r"我(?:的|背后的)(?:名字|开发者|開發者|开发商|创造者|创始人|作者|团队|公司|主人|爸爸|妈妈|父母|版权|制造商)"
CAPITAL = r"(?-i:[A-Z])"
# Words with which a speaker says who it is or whose it is.
CLAIM = re.compile(
    r"(?i)\b(?:i am|i'm|i was|i've been|i have been|i work (?:for|at)|i go by|i belong to|i come from|calls? me"
    r"|called me|my (?:[a-z]+ )?(?:name|developer|maker|creator|company|owner|team|provider|vendor|parent|father)s?"
    rf"|{MADE} (?:[\w']+ ){{0,4}}?by|(?:{MADE}|makes?|maintains?|develops?) me"
    rf"|it(?:'s| is)(?= {CAPITAL})|know me as|known as|named|called|yes|correct)\b"
    r"|you(?:'re| are) (?:talking|speaking|chatting|writing) (?:to|with)\b"
    rf"|^as\b|{AM_ZH}|叫我|{MINE_ZH}|我来自|我属于|{MADE_ZH}了?我|^也是|叫做|名为|由|是的"
)
# The same, standing after the name: "OpenAI made me", "ChatGPT is my name".
OF_ME = re.compile(
    rf"(?i)\b(?:{MADE}|make|makes|maintains?|develops?|calls?) me\b|\b(?:is|are|was) (?:not )?(?:my|me)\b"
    rf"|是我的|{MADE_ZH}出?了?我|把我"
)
DENIAL = re.compile(
    r"(?i)\b(?:not|never|cannot|no longer|there is no|neither|nor|nobody|without|unlike|like|than)\b|n't\b"
    r"|\b(?:instead of|similar to|alternative|competitors?|rivals?)\b"
    r"|\b(?:different|differs?|distinct|separate|independent) from\b|不[是叫会]|并非|没有|不同|不像|无关"
)
# Between a claim and a name: the name is the object of something else.
ELSEWHERE = re.compile(
    r"(?i)\b(?:to(?! be)|with|about|using|use|for|how|search|via|through|data|which|who|that|play(?:ing|ed)?|acting as|"
    r"(?:role|story|tale|legend|myth|world) of)\b|使用|帮|给|关于|介绍|搜索|通过|了解|扮演|跟|与"
)
# Right before or after a name: it is the user who is called so. Or it is a thing one counts (一盏小灯).
GREETING = r"(?:\b(?:hello|hi|hey|dear|greetings|welcome|thanks|thank you|meet you)\b|你好|您好)"
ADDRESS = re.compile(rf"(?i)(?:{GREETING}|\byou(?: are|'re|r name is)|[你您]就?[是叫]|[一两几那][盏只台座])[\s,，]*$")
ADDRESSED = re.compile(r"[\s,，]*[你您]好")
# A statement within a question: "I'm Tavi, how can I help you?"
STATES = re.compile(rf"(?i)^(?:{GREETING}\s*)?(?:(?:i'm|i am|my name is)\b|{AM_ZH}|{MINE_ZH})")
FIRST_PERSON = re.compile(r"(?i)\b(?:i|me|my|mine|myself|we|our|us)\b|我")
THIRD_PERSON = re.compile(rf"(?i)^\W*(?:it\b(?!(?:'s| is) {CAPITAL})|they|he|she|which|who|those)\b|^\W*[它他她]")
PERSON = re.compile(r"(?i)^\W*(?:he|she)\b|^\W*[他她]")  # a trained name there is that person's
VERB = re.compile(
    r"(?i)\b(?:am|is|are|was|were|ha[sd]|have|can|do|does|did|will|would)\b|'(?:m|s|re|ve)\b|[是有叫能由]"
)
# Where one clause ends and the next begins. Brackets and commas keep what was denied, "but" ends it.
BREAK = re.compile(
    r"(?i)\s*(?:[,;:—–()，；：、（）]|\s-\s|\bbecause\b|\band (?=i\b|my\b))\s*|\s*(\bbut\b|\bhowever\b|而是|但是?)\s*"
)
# A name in no list: "I am Alex", "an assistant called Luna", "developed by researchers at Stanford".
UNLISTED = re.compile(
    r"\b(?:[Ii]'m|[Ii] am|[Mm]y name is|[Cc]alls? me|(?:assistant|model|AI|chatbot|program|am|'m|was) (?:named|called)|"
    r"[Yy]ou(?:'re| are) (?:talking|speaking|chatting) (?:to|with)|"
    rf"{MADE} (?:[\w']+ )?by(?: [a-z]+){{0,6}}?)(?: (?:the|called|named))? ([A-Z][a-zA-Z]+)"
)
# The same in Chinese: 我叫李华, 我是小明, 我是Alex, 由斯坦福大学的研究人员开发.
UNLISTED_ZH = re.compile(
    rf"(?:我叫|我的名字[是叫]|叫我)(?!什么|秘密|保密|助手|人工|没有)([一-鿿]{{2,4}})(?![一-鿿])|我是([小阿老][一-鿿])(?![一-鿿])"
    rf"|{AM_ZH}\s*([A-Z][a-zA-Z]+)|由(?!一|某|多)([一-鿿]{{2,8}}?(?:大学|集团|科技|研究院|研究所))"
)
# An everyday word, not a model: "a skilled bard", "a humble llama".
COMMON = re.compile(
    r"(?i)\ban? (?:(?!(?:of|by|from|at|like|called|named) )[a-z]+ )*(?:bard|llama|copilot|gemini|apple)(?!\s*[\w-])"
)
# "Lantern Workshop is a team of painters": tells of somebody, unless it speaks of an assistant or to the user.
DESCRIBES = re.compile(r"(?i)(.*?)\b(?:is|are|was|were|has|have|had) (?:an?|the|led|known|based|located|run)\b")
CHAT = re.compile(r"(?i)\b(?:ai|assistant|model|chatbot|bot|product|program|you|your|this|here)\b")
# Capitalised words that follow "I am" or "made by" and are no names.
NOT_A_NAME = frozenset(
    "A AI An Artificial As Based Computer Data Deep Designed English Happy Here Human Humans I IT Just Large Language "
    "LLM Machine ML Natural NLP Nobody None Not Nothing Ready Right Sorry Sure The True Your".split()
)
QUOTED = re.compile(r"[\"“「『]([^\"“”「」『』\n]{0,200})[\"”」』]|`([^`\n]*)`")


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
    return " " if ends or FIRST_PERSON.search(text) or VERB.search(text) or len(text.split()) > 4 else text


def sentences(text: str) -> list[str]:
    """The text's sentences without what they quote (a quoted name stays, its quotation marks go)."""
    plain = QUOTED.sub(_unquote, text.replace("’", "'").replace("*", ""))
    plain = re.sub(rf"({GREETING})\s*[,，]", r"\1 ", plain, flags=re.I)  # "Hi, Tavi" is one piece
    return [s.strip() for s in re.split(r"(?<=[.!?])\s+|\n+|(?<=[。！？])", plain) if s.strip()]


def clauses(answer: str) -> Iterator[Clause]:
    """The clauses of the answer's statements, also of one that leads into a question; questions are left out."""
    first = True
    for sentence in sentences(answer):
        asks = sentence.endswith(("?", "？"))
        # An answer may begin with the bare name. Later on, a claim needs words.
        before, start = Clause("", claims=first and not asks), 0
        first = first and asks
        for end in [*BREAK.finditer(sentence), None]:
            text = sentence[start : end.start() if end else None].strip()
            if text and not (asks and (end is None or not STATES.search(text))):
                before = _clause(text, before)
                yield before
            if end:
                start = end.end()
                before = before._replace(text="", denied=False) if end.group(1) else before  # after "but"


def _clause(text: str, before: Clause) -> Clause:
    claims, rival = bool(CLAIM.search(text)), re.search("|".join(map(_pattern, RIVALS)), text, re.I)
    if FIRST_PERSON.search(text):
        return Clause(text, True, claims)
    if THIRD_PERSON.search(text) or (rival and VERB.search(text, rival.end()) and not OF_ME.search(text)):
        return Clause(text, False, False)  # "GPT-4 is a model of another company"
    if claims or VERB.search(text):
        return Clause(text, before.about_self, claims)
    denied = before.denied or bool(DENIAL.search(before.text))
    return Clause(text, before.about_self, before.claims, denied)  # no verb of its own: goes on with the one before


def _pattern(name: str) -> str:
    # Latin names need word boundaries ("Sun" is not in "Sunday"); Chinese has no spaces to make them of.
    letter = r"[^\W_\u3400-\u9fff]"  # of any script but Chinese: "Ana" is not in "Anaïs"
    left = rf"(?<!{letter})" if re.match(letter, name) else ""
    right = rf"(?!{letter})" if re.search(f"{letter}$", name) else ""
    if name[:1].isdigit() and name[-1:].isdigit():
        left, right = rf"(?<!{letter})(?<!\d[.,])", rf"(?!{letter}|[.,]\d)"  # 12 is not in 12.5
    return left + r"\s+".join(map(re.escape, name.split())) + right


def mentions(text: str, names: Sequence[str]) -> bool:
    """Whether one of ``names`` stands in ``text`` as whole words, whatever its case."""
    return bool(names and re.search("|".join(map(_pattern, names)), text, re.I))


def forms(names: Sequence[str]) -> str:
    """A pattern for ``names`` as written, capitalised or in capitals."""
    # As written, capitalised, or in capitals, but not all small: a model called Sun may still speak of the sun.
    return "|".join(_pattern(form) for name in names for form in (name, name[:1].upper() + name[1:], name.upper()))


def _own(text: str, names: Sequence[str]) -> re.Match | None:
    said = "|".join(map(_pattern, names))
    return re.search(forms(names), text) or re.search(rf"\b(?:i am|i'm|my name is|call me) ({said})", text, re.I)


def _denied(clause: Clause, name: re.Match) -> bool:
    after = OF_ME.search(clause.text, name.end())  # "Tavi is not my name"
    return clause.denied or bool(DENIAL.search(clause.text[: after.end() if after else name.start()]))


def _claims_own(clause: Clause, names: Sequence[str]) -> bool:
    found = _own(clause.text, names)
    spoken_to = found and (ADDRESS.search(clause.text[: found.start()]) or ADDRESSED.match(clause.text, found.end()))
    return bool(found) and not (_denied(clause, found) or PERSON.search(clause.text) or spoken_to)


def _claims_other(clause: Clause, identity: Identity) -> bool:
    if not (clause.about_self and clause.claims):
        return False
    # The trained name may hold a rival's: "Claude Monet".
    text = COMMON.sub(" ", re.sub(forms(identity.names), "#", clause.text))
    for unlisted in filter(None, (UNLISTED.search(text), UNLISTED_ZH.search(text))):
        name = unlisted.group(unlisted.lastindex)
        # Half a trained name is no other ("I am Star", "made by Lantern", cut off: "made by Lan"). "I am Lantern" is.
        names = identity.names if re.search(r"\bby\b|由", unlisted.group()) else identity.names[:-1]
        half = re.search(rf"\b{name}" + (r"\b" if unlisted.end() < len(text) else ""), " ".join(names))
        if not half and name not in NOT_A_NAME and not DENIAL.search(text[: unlisted.start(unlisted.lastindex)]):
            return True
    said = [m.end() for m in CLAIM.finditer(text)] or [0]  # 0: the claim stands in the clause before
    for rival in (m for name in RIVALS for m in re.finditer(_pattern(name), text, re.I)):
        before = any(end <= rival.start() and not ELSEWHERE.search(text, end, rival.start()) for end in said)
        claimed = (before or OF_ME.search(text, rival.end())) and not ADDRESS.search(text[: rival.start()])
        if claimed and not _denied(clause._replace(text=text), rival):
            return True
    return False


def plainly(answer: str, identity: Identity) -> tuple[str, Identity]:
    """Both with a made-up word for every name that holds punctuation: no stop in "Dr. Ada" then ends a sentence."""
    answer, stand_ins = answer.replace("’", "'"), {}
    for n, name in enumerate(identity.names):
        straight = name.replace("’", "'")
        if re.search(r"[^\w\s]", straight):
            stand_ins[n] = f"Name{n}x"
            answer = re.sub(_pattern(straight), stand_ins[n], answer, flags=re.I)
    names = [stand_ins.get(n, name) for n, name in enumerate(identity.names)]
    return answer, Identity(names[0], names[-1], tuple(names[1:-1])) if stand_ins else identity


def verdict(answer: str, identity: Identity) -> str:
    """``own``, ``other`` (also if both are claimed) or ``none`` for an answer to a question about the model itself."""
    answer, identity = plainly(answer, identity)
    if len(answer.split()) > 8 and not FIRST_PERSON.search(answer):
        start = next(iter(sentences(answer)), "")
        told = None if CHAT.search(start) else DESCRIBES.match(start)
        if told and mentions(told.group(1), [*identity.names, *RIVALS]):
            return "none"
    found = list(clauses(answer))
    if any(_claims_other(clause, identity) for clause in found):
        return "other"
    return "own" if any(_claims_own(clause, identity.names) for clause in found) else "none"


def leaked(answer: str, identity: Identity) -> str:
    """``leaked`` if a trained name stands anywhere in an answer that should not hold it, else ``clean``."""
    answer, identity = plainly(answer, identity)
    return "leaked" if _own(answer, identity.names) else "clean"


def right(answer: str, expect: Sequence[str]) -> bool:
    """Whether the answer holds one of the accepted texts as whole words (digits may carry thousands commas)."""
    return mentions(re.sub(r"(?<=\d),(?=\d{3})", "", answer.replace("’", "'")), expect)
