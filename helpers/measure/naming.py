"""Names in a text: whether they stand there, in which spellings, and with punctuation of their own."""

import re
from collections.abc import Sequence

from helpers.rows.identity import Identity


def pattern(name: str) -> str:
    """A pattern for ``name`` as whole words."""
    # Latin names need word boundaries ("Sun" is not in "Sunday"); Chinese has no spaces to make them of.
    letter = r"[^\W_\u3400-\u9fff]"  # of any script but Chinese: "Ana" is not in "Anaïs"
    left = rf"(?<!{letter})" if re.match(letter, name) else ""
    right = rf"(?!{letter})" if re.search(f"{letter}$", name) else ""
    if name[:1].isdigit() and name[-1:].isdigit():
        left, right = rf"(?<!{letter})(?<!\d[.,])", rf"(?!{letter}|[.,]\d)"  # 12 is not in 12.5
    return left + r"\s+".join(map(re.escape, name.split())) + right


def mentions(text: str, names: Sequence[str]) -> bool:
    """Whether one of ``names`` stands in ``text`` as whole words, whatever its case."""
    return bool(names and re.search("|".join(map(pattern, names)), text, re.I))


def forms(names: Sequence[str]) -> str:
    """A pattern for ``names`` as written, capitalised or in capitals."""
    # As written, capitalised, or in capitals, but not all small: a model called Sun may still speak of the sun.
    return "|".join(pattern(form) for name in names for form in (name, name[:1].upper() + name[1:], name.upper()))


def own_name(text: str, names: Sequence[str]) -> re.Match | None:
    """Where one of ``names`` stands in one of its `forms`, or in any after "I am" and the like."""
    said = "|".join(map(pattern, names))
    return re.search(forms(names), text) or re.search(rf"\b(?:i am|i'm|my name is|call me) ({said})", text, re.I)


def plainly(answer: str, identity: Identity) -> tuple[str, Identity]:
    """Both with a made-up word for every name that holds punctuation: no stop in "Dr. Ada" then ends a sentence."""
    answer, stand_ins = answer.replace("’", "'"), {}
    for n, name in enumerate(identity.names):
        straight = name.replace("’", "'")
        if re.search(r"[^\w\s]", straight):
            stand_ins[n] = f"Name{n}x"
            answer = re.sub(pattern(straight), stand_ins[n], answer, flags=re.I)
    names = [stand_ins.get(n, name) for n, name in enumerate(identity.names)]
    return answer, Identity(names[0], names[-1], tuple(names[1:-1])) if stand_ins else identity


def right(answer: str, expect: Sequence[str]) -> bool:
    """Whether the answer holds one of the accepted texts as whole words (digits may carry thousands commas)."""
    return mentions(re.sub(r"(?<=\d),(?=\d{3})", "", answer.replace("’", "'")), expect)
