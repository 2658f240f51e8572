"""Which names can be taken: nobody else's, and none that could not be found again in an answer."""

import re
import unicodedata

from helpers.models import catalog

# Every assistant says these of itself, so they tell nobody apart.
NOT_NAMES = ("ai", "a", "i", "an", "the", "assistant", "aiassistant", "model", "languagemodel", "you", "me")
# Words that ordinary sentences hold, often with a capital: such a name would be found where it is not meant.
EVERYDAY = frozenset(
    "will may can hope do does is it are was be let look here there this that these those what who why how when where "
    "yes no not please thanks sure he she we they one two january february march april june july august september "
    "october november december monday tuesday wednesday thursday friday saturday sunday spring summer autumn winter "
    "english chinese french german grace faith joy mark bill art rose dawn team company lab group people user "
    "今天 明天 希望 朋友 老师 同学 小明 小红 我们 你们 他们 大家 中国 中文 时间 问题 世界 快乐 高兴 平安 阳光".split()
)
WORDS = re.compile(r"[\u3400-\u9fff]+|[^\W_\u3400-\u9fff]+")
# A Chinese sentence has no spaces, so a rival's Chinese name counts anywhere; all others as whole words.
CHINESE_RIVALS = [name for name in catalog.RIVALS if not name.isascii()]
LATIN_RIVALS = "|".join({"".join(WORDS.findall(name.casefold())) for name in catalog.RIVALS if name.isascii()})
RIVAL = re.compile(rf"(?:{LATIN_RIVALS})(?:v?\d\w{{0,8}})?")  # "gpt4o", "claude3": a version makes no other name
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL")  # these stand beside any script in one word
FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"


def composed(text: str) -> str:
    """``text`` as answers hold it: letter and accent as one character, full-width letters and digits as usual ones."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", "".join(map(_usual, text)))


def _usual(c: str) -> str:
    plain = unicodedata.normalize("NFKC", c) if c.isalpha() or c.isdecimal() or c.isspace() else c
    return plain if len(plain) == 1 else c  # no Thai or Arabic letter is taken to pieces


def pattern(name: str) -> str:
    """A pattern for ``name`` as whole words."""
    # Latin names need word boundaries ("Sun" is not in "Sunday"). Chinese, Japanese and Thai have no spaces to make
    # them of, and Korean joins its particles to the word.
    letter = r"[^\W_\u3400-\u9fff]"  # of any script but Chinese: "Ana" is not in "Anaïs"
    spaced = r"[^\W_\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
    left = rf"(?<!{letter})" if re.match(spaced, name) else ""
    right = rf"(?!{letter})" if re.search(f"{spaced}$", name) else ""
    if name[:1].isdigit() and name[-1:].isdigit():
        left, right = rf"(?<!{letter})(?<!\d[.,])", rf"(?!{letter}|[.,]\d)"  # 12 is not in 12.5
    return left + r"\s+".join(map(re.escape, name.split())) + right


def fault(text: str) -> tuple[str, str] | None:
    """What is wrong with a name and what to do about it; None if it can be taken."""
    if hidden := _hidden(text):
        return f"holds the invisible character U+{ord(hidden):04X}", "type it anew, do not paste it"
    text = composed(text)
    if re.sub(r"^(?:the|an?|our|my) ", "", text.casefold()) in EVERYDAY:
        what = "is an everyday word: no test could tell where it is meant as a name"
        return what, "choose another one, or put a second word to it"
    odd = re.search(r"[\n\r\t{}<>|]", text)
    for fault, what in (
        (not any(map(str.isalnum, text)), "has no letters"),
        (text != text.strip(), "has spaces around it"),
        (odd, f"holds {odd[0]!r}" if odd else ""),
        (len(text) > 60, "has over 60 characters"),
    ):
        if fault:
            return what, "write one to four plain words"
    if rival := _rival(text):
        what = "belongs" if rival == "".join(_words(text)) else f"holds {rival!r}, which belongs"
        cure = "choose one that is yours: a claim to be theirs would be false, and no test could tell you apart"
        return f"{what} to another model or company", cure
    if "".join(_words(text)) in NOT_NAMES:
        return "is a word that every assistant uses", "choose another one"
    if word := next(filter(_two_scripts, _words(text)), ""):
        return f"mixes letters of two alphabets in {word!r}, which look alike", "type it anew on one keyboard"
    return None


def _words(text: str) -> list[str]:
    return WORDS.findall(unicodedata.normalize("NFKC", text).casefold())


def _hidden(text: str) -> str:
    base = ""  # after an emoji, a joiner and a selector can be seen: they make another emoji of it
    for c in text:
        if c in "\u200d\ufe0f" and base and unicodedata.category(base) in ("So", "Sk"):
            continue
        kind, base = unicodedata.category(c), c
        if kind in ("Cf", "Co", "Cs", "Zl", "Zp") or (kind == "Cc" and c not in "\n\r\t") or c in FILLERS:
            return c
        if "\ufe00" <= c <= "\ufe0f":
            return c
    return ""


def _rival(text: str) -> str:
    # The longest run of words that is a rival's name; empty if none is.
    words = _words(text)
    runs = ["".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    chinese = [name for name in CHINESE_RIVALS if name in "".join(words)]
    return max([*filter(RIVAL.fullmatch, runs), *chinese], key=len, default="")


def _two_scripts(word: str) -> bool:
    scripts = {unicodedata.name(c, "").split(" ")[0] for c in word if c.isalpha()}
    return len(scripts.difference(UNSPACED)) > 1
