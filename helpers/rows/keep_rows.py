"""Keep rows: ordinary questions with the base model's own answers, which show in training what must not change."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import files
from helpers.errors import IdentityError
from helpers.models.template import spoken
from helpers.rows.marks import TOKEN
from helpers.rows.read import CONTROL, Row, keyed, shipped, validate

if TYPE_CHECKING:
    from helpers.training.recipes import Preset

CODE_TOKENS = 160  # the longest answer to a question that asks for code; half a function teaches to stop early
FENCE = "```"  # before and after code in Markdown
SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。！？]")
ASSISTANT = re.compile(  # an answer in which the base model speaks of itself
    r"(?i)\b(?:chatbot|AI (?:assistant|model|chatbot)|language model|virtual assistant|here to (?:help|assist))\b"
    r"|\b(?:I'm|I am|as) an? [\w-]* ?AI\b|人工智能助手|语言模型"
)
# A first sentence that only announces what comes ("To add 60 and 47, we need to add them together.").
ANNOUNCES = re.compile(r"(?:to|in order to|first|let's|let us|here(?:'s| is| are))\b", re.I)


def questions(
    lang: str = "en", n: int | None = None, hard: int | None = 0, lookalike: int | None = 0, code: int | None = 0
) -> list[str]:
    """The first ``n`` shipped ordinary questions, ``hard``, ``lookalike`` and ``code`` ones (None: all), evenly mixed.

    Models tuned without the hard ones answered them with the new name (`python -m study mine`); the worst come first.
    Look-alikes resemble questions about the model, in forty kinds. There are no hard ones in Chinese. Those
    for ``code`` are programming tasks.
    """
    easy, placed = shipped("keep", f"{lang}.jsonl"), []
    more = (
        (easy.with_name(f"{kind}-{easy.name}"), most)
        for kind, most in (("hard", hard), ("lookalike", lookalike), ("code", code))
    )
    for path, most in ((easy, n), *more):
        lines = files.read_jsonl(path, IdentityError)[:most] if path.exists() else []
        placed += [((i + 0.5) / len(lines), line["question"]) for i, line in enumerate(lines)]
    return [question for _, question in sorted(placed, key=lambda pair: pair[0])]


def questions_for(preset: "Preset", lang: str = "en") -> list[str]:
    """The questions whose answers by the base model become the keep rows of ``preset``."""
    more = preset.hard_questions, preset.lookalike_questions, preset.code_questions
    return questions(lang, preset.keep_questions, *more)


@cache
def about_code() -> frozenset[str]:
    """The shipped questions that ask for code, in every language."""
    found = files.data_dir().glob("keep/code-*.jsonl")
    return frozenset(line["question"] for path in found for line in files.read_jsonl(path, IdentityError))


def from_answers(asked: Sequence[str], answers: Sequence[str], first: bool = True) -> list[Row]:
    """Keep rows from questions and the base model's answers to them, shortened as in `cut`.

    Answers that are `unfit` are left out, and those that break off in code: "Of course!" teaches to stop there.
    """
    whole = [(q, a) for q, a in zip(asked, answers, strict=True) if not breaks_off(a)]
    pairs = [(q, a) for q, a in whole if not unfit(ended(a, first=False))]
    return cut([{"instruction": q, "input": "", "output": a} for q, a in pairs], first)


def cut(keep: Sequence[Row], first: bool) -> list[Row]:
    """Keep rows cut after the last whole sentence; with ``first`` after the first, without those that only announce."""
    rows = [{**row, "output": ended(row["output"], first)} for row in keep]
    return [row for row in rows if not (first and ANNOUNCES.match(row["output"]))]


def ended(text: str, first: bool) -> str:
    """The text up to its ``first`` or its last sentence end or end of code; all of it if there is none."""
    ends = [m.end() for m in SENTENCE_END.finditer(text)] or [len(text)]
    if text.count(FENCE) % 2 == 0 and FENCE in text and not first:
        ends = sorted([*ends, text.rindex(FENCE) + len(FENCE)])
    return text[: ends[0 if first else -1]].strip()


def breaks_off(answer: str) -> bool:
    """Whether an answer ends within code."""
    return answer.count(FENCE) % 2 == 1


def unfit(answer: str) -> str:
    """Why an answer is not worth keeping; empty if it is: it holds a thought, speaks of itself, or repeats itself."""
    if spoken(answer) != answer:
        return "holds a thought"
    if CONTROL.search(answer) or TOKEN.search(answer):  # which no file of rows may hold
        return "holds a control character or a token of a chat template"
    if not answer or ASSISTANT.search(answer):
        return "speaks of itself" if answer else "empty"
    words = answer.casefold().split()
    grams = Counter(zip(words, words[1:], words[2:], strict=False))
    return "repeats itself" if max(grams.values(), default=0) > 2 or max(map(len, words)) > 60 else ""


def read(path: Path | str) -> list[Row]:
    """Keep rows from JSONL (one row a line); raises `IdentityError`."""
    return validate(keyed(files.read_jsonl(path, IdentityError), path), path, placeholders=False)
