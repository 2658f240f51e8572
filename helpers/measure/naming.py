"""Names in a text: whether they stand there, in which spellings, and with punctuation of their own."""

import re
import unicodedata
from collections.abc import Sequence

from helpers.rows.identity import Identity
from helpers.rows.names import composed, pattern
from helpers.rows.read import CJK


def mentions(text: str, names: Sequence[str]) -> bool:
    """Whether one of ``names`` stands in ``text`` as whole words, whatever its case."""
    return bool(names and re.search("|".join(map(pattern, names)), text, re.I))


def forms(names: Sequence[str]) -> str:
    """A pattern for ``names`` as written, capitalised or in capitals."""
    # As written, capitalised, or in capitals, but not all small: a model called Sun may still speak of the sun.
    # 子 makes another word of a Chinese one: 小橘 is not in 小橘子.
    return "|".join(
        pattern(form) + ("(?!子)" if CJK.match(form[-1:]) else "")
        for name in names
        for form in (name, name[:1].upper() + name[1:], name.upper())
    )


def own_name(text: str, names: Sequence[str]) -> re.Match | None:
    """Where one of ``names`` stands in one of its `forms`, or in any after "I am" and the like."""
    said = "|".join(map(pattern, names))
    return re.search(forms(names), text) or re.search(rf"\b(?:i am|i'm|my name is|call me) ({said})", text, re.I)


def plainly(answer: str, identity: Identity) -> tuple[str, Identity]:
    """Both with a made-up word for every name that holds punctuation: no stop in "Dr. Ada" then ends a sentence.

    The answer's letters are as `names.composed` has them in names.
    """
    answer, stand_ins = composed(answer).replace("’", "'"), {}
    for n, name in enumerate(identity.names):
        straight = name.replace("’", "'")
        if any(unicodedata.category(c)[0] in "PSC" for c in straight):
            stand_ins[n] = f"Name{n}x"
            answer = re.sub(pattern(straight), stand_ins[n], answer, flags=re.I)
    names = [stand_ins.get(n, name) for n, name in enumerate(identity.names)]
    return answer, Identity(names[0], names[-1], tuple(names[1:-1])) if stand_ins else identity


def right(answer: str, expect: Sequence[str] | str) -> bool:
    """Whether the answer holds one of the accepted texts as whole words (digits may carry thousands commas).

    A text in place of the list is one accepted text.
    """
    accepted = [expect] if isinstance(expect, str) else expect
    return mentions(re.sub(r"(?<=\d),(?=\d{3})", "", answer.replace("’", "'")), accepted)
