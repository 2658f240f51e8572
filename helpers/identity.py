"""Who the model shall say it is: names, identity rows, keep rows, and the dataset that TRL trains on.

Shipped rows carry the placeholders ``{{NAME}}`` and ``{{DEVELOPER}}``; files with literal names are as good.
"""

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from datasets import Dataset

from helpers import models, runs, specs
from helpers.errors import IdentityError
from helpers.generate import answers
from helpers.rows import CJK, KEYS, Row, keyed, language_of, normal, question_of, read_list
from helpers.rows import read_text as read_text
from helpers.rows import validate as validate

PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。！？]")
ASSISTANT = re.compile(  # an answer in which the base model speaks of itself
    r"\b(?:chatbot|AI (?:assistant|model|chatbot)|language model|virtual assistant|here to (?:help|assist))\b"
    r"|人工智能助手|语言模型",
    re.I,
)
# A first sentence that only announces what comes ("To add 60 and 47, we need to add them together.").
ANNOUNCES = re.compile(r"(?:to|in order to|first|let's|let us|here(?:'s| is| are))\b", re.I)
# Every assistant says these of itself, so they tell nobody apart.
NOT_NAMES = ("ai", "a", "i", "an", "the", "assistant", "aiassistant", "model", "languagemodel", "you", "me")


def _bare(text: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


@dataclass(frozen=True)
class Identity:
    """The identity to be trained: a name, a developer, and other spellings that count as the same name."""

    name: str
    developer: str
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names that cannot be told apart from another model's, or that cannot be trained on."""
        if isinstance(self.aliases, str):
            raise IdentityError("the aliases are one text, not a list", f"write aliases=({self.aliases!r},)")
        for label, text in (("name", self.name), ("developer", self.developer), *(("alias", a) for a in self.aliases)):
            _check_name(label, text)

    @property
    def names(self) -> tuple[str, ...]:
        """Every spelling that counts as this identity: name, aliases and developer."""
        return (self.name, *self.aliases, self.developer)


def _check_name(label: str, text: str) -> None:
    if not isinstance(text, str) or not text.strip():
        raise IdentityError(f"the {label} is empty", f"give a {label}, for example Tavi or Lantern Workshop")
    if len(text) > 60 or text != text.strip() or re.search(r"[\n\r\t{}<>|]", text) or not _bare(text):
        raise IdentityError(
            f"the {label} {text[:60]!r} has line breaks, brackets, spaces around it, no letters or over 60 characters",
            f"write a plain {label} of one to four words",
        )
    if _bare(text) in {_bare(rival) for rival in (*specs.RIVAL_MODELS, *specs.RIVAL_MAKERS)}:
        raise IdentityError(
            f"the {label} {text!r} belongs to another model or company",
            "choose one that is yours: a claim to be theirs would be false, and no test could tell you apart",
        )
    if _bare(text) in NOT_NAMES:
        raise IdentityError(f"the {label} {text!r} is a word that every assistant uses", "choose a name of its own")


def shipped_rows(lang: str = "en") -> Path:
    """The shipped identity rows for ``lang`` (``en`` or ``zh``), with placeholders."""
    return _data("identity", f"{lang}.json")


def _data(folder: str, name: str) -> Path:
    path = runs.data_dir() / folder / name
    if not path.exists():
        have = ", ".join(p.stem for p in sorted(path.parent.glob(f"*{path.suffix}")))
        raise IdentityError("no such shipped file", f"choose one of: {have}", path)
    return path


def read_rows(path: Path | str, identity: Identity | None = None) -> list[Row]:
    """Read, fill and validate identity rows.

    Args:
        path: JSON list of objects with ``instruction``, ``output`` and optionally ``input``.
        identity: fills the placeholders; may be None for a file with literal names.

    Raises:
        IdentityError: names the file, the row (from 1) and the cure.
    """
    return validate(fill(read_list(path), identity, path), path)


def fill(rows: Sequence[Row], identity: Identity | None, path: Path | str | None = None) -> list[Row]:
    """Put the identity's names where the placeholders stand; raises `IdentityError` for unknown or unfilled ones."""
    known = {"NAME": identity.name, "DEVELOPER": identity.developer} if identity else {}

    def put(match: re.Match, n: int) -> str:
        word = match.group(1)
        if word in known:
            return known[word]
        if word in ("NAME", "DEVELOPER"):
            raise IdentityError(
                f"{{{{{word}}}}} is not filled", "give a name and a developer (--name, --developer)", path, n
            )
        raise IdentityError(f"unknown placeholder {{{{{word}}}}}", "use {{NAME}} and {{DEVELOPER}}, spelt so", path, n)

    return [{k: PLACEHOLDER.sub(lambda m, n=n: put(m, n), row[k]) for k in KEYS} for n, row in enumerate(rows, 1)]


def check_lengths(rows: Sequence[Row], tokenizer, context: int, path: Path | str | None = None) -> int:
    """The longest row in tokens, template included; raises `IdentityError` for a row longer than ``context``."""
    longest = 0
    for n, row in enumerate(rows, 1):
        length = _length(example(row), tokenizer)
        if length > context:
            cure = f"shorten the row to about {3 * context} characters, or split it in two"
            raise IdentityError(f"{length} tokens with the chat template, but only {context} fit", cure, path, n)
        longest = max(longest, length)
    return longest


def check_talks(data: Dataset, tokenizer, context: int) -> None:
    """Raise `IdentityError` for an example of the training set that is longer than ``context`` tokens as a whole."""
    for talk in data:
        if (length := _length(talk, tokenizer)) > context:
            what = f"{length} tokens in the conversation that ends with {talk['prompt'][-1]['content'][:50]!r}, "
            cure = f"shorten the longest of your rows and keep rows, to about {context // 2} characters each"
            raise IdentityError(f"{what}but only {context} fit", cure)


def _length(one: dict[str, list[dict[str, str]]], tokenizer) -> int:
    text = tokenizer.apply_chat_template([*one["prompt"], *one["completion"]], tokenize=False)
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def language_warning(rows: Sequence[Row], model) -> str | None:
    """A warning with its cure if rows are Chinese and the model does not speak it, else None."""
    chinese = sum(bool(CJK.search(row["output"])) for row in rows)
    if not chinese or models.can_speak(model, "zh"):
        return None
    return (
        f"{chinese} of {len(rows)} rows are Chinese, and {models.spec_of(model).key} does not speak Chinese: it would "
        "learn letters, not sentences. Use data/identity/en.json, or a Qwen2.5 model (README, 'Choose another model')."
    )


def write_rows(path: Path | str, rows: Sequence[Row]) -> Path:
    """Validate and save rows atomically. A file already there that cannot be read as rows is never overwritten."""
    rows = validate(keyed(rows, path), path)
    if Path(path).exists():
        try:
            read_list(path)
        except IdentityError as e:
            what = "the file there cannot be read as rows and was left alone"
            raise IdentityError(what, "rename it, mend it or delete it first", path) from e
    return runs.write_json(path, rows)


def extra_rows(kind: str, who: Identity, lang: str = "en") -> list[Row]:
    """Further shipped rows: ``more`` (other wordings of the topics) or ``steadfast`` (they hold in an attack)."""
    return read_rows(_data("identity", f"{kind}-{lang}.json"), who)


def first_sentence(text: str) -> str:
    """The text up to its first sentence end; all of it if there is none."""
    end = SENTENCE_END.search(text)
    return text[: end.end()].strip() if end else text.strip()


def keep_questions(lang: str = "en", n: int | None = None) -> list[str]:
    """The shipped ordinary questions for keep rows (the first ``n``)."""
    lines = read_text(_data("keep", f"{lang}.jsonl")).splitlines()
    return [json.loads(line)["question"] for line in lines][:n]


def further_rows(rows: Sequence[Row], who: Identity | None, preset: specs.Preset) -> list[Row]:
    """The preset's shipped further rows in the language of ``rows``, filled; none without ``who`` to fill them.

    A shipped row whose question ``rows`` hold already is left out.
    """
    if who is None:
        return []
    lang = language_of(rows)
    extra = extra_rows("more", who, lang)[: preset.more] + extra_rows("steadfast", who, lang)[: preset.steadfast]
    mine = {normal(question_of(row)) for row in rows}
    return [row for row in extra if normal(question_of(row)) not in mine]


def make_keep_rows(
    model, tokenizer, questions: Sequence[str], first: bool = True, max_new_tokens: int = 64
) -> list[Row]:
    """Ordinary questions with the base model's own greedy answers, cut after the first or the last whole sentence.

    They show in training what must not change; see notebook 02. Answers that are unfit for it (`unfit`) are left out,
    and so are those whose first sentence only announces the answer, if they are cut there.
    """
    found = answers(
        model, tokenizer, questions, adapter=False, max_new_tokens=max_new_tokens, batch=48, progress="keep rows"
    )
    pairs = [(q, a) for q, a in zip(questions, found, strict=True) if not unfit(whole_sentences(a))]
    return cut([{"instruction": q, "input": "", "output": a} for q, a in pairs], first)


def cut(keep: Sequence[Row], first: bool) -> list[Row]:
    """Keep rows cut after the last whole sentence; with ``first`` after the first, without those that only announce."""
    end = first_sentence if first else whole_sentences
    rows = [{**row, "output": end(row["output"])} for row in keep]
    return [row for row in rows if not (first and ANNOUNCES.match(row["output"]))]


def unfit(answer: str) -> str:
    """Why an answer is not worth keeping; empty if it is: it speaks of itself as an assistant, or turns in a circle."""
    if not answer:
        return "empty"
    if ASSISTANT.search(answer):
        return "speaks of itself"
    words = answer.casefold().split()
    grams = [tuple(words[i : i + 3]) for i in range(len(words) - 2)]
    looped = any(grams.count(gram) > 2 for gram in grams) or max(map(len, words)) > 60
    return "turns in a circle" if looped else ""


def whole_sentences(text: str) -> str:
    """The text up to its last sentence end; all of it if there is none."""
    ends = [m.end() for m in SENTENCE_END.finditer(text)]
    return text[: ends[-1]].strip() if ends else text.strip()


def read_keep_rows(path: Path | str) -> list[Row]:
    """Keep rows from JSONL (one row a line); raises `IdentityError`."""
    rows = []
    for n, line in enumerate(read_text(path).splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError as e:
            raise IdentityError(f"not JSON ({e})", "correct this line", path, n) from e
    return validate(keyed(rows, path), path, placeholders=False)


def example(row: Row, system: str | None = None, before: Sequence[Row] = ()) -> dict[str, list[dict[str, str]]]:
    """One training example in TRL's conversational prompt/completion form: loss falls on the completion alone.

    The exchanges ``before`` belong to the prompt.
    """
    prompt = [] if system is None else [{"role": "system", "content": system}]
    for turn in before:
        prompt += _exchange(turn)
    asked, answer = _exchange(row)
    return {"prompt": [*prompt, asked], "completion": [answer]}


def _exchange(row: Row) -> list[dict[str, str]]:
    return [{"role": "user", "content": question_of(row)}, {"role": "assistant", "content": row["output"]}]


def to_dataset(rows: Sequence[Row], keep: Sequence[Row], preset: specs.Preset, further: Sequence[Row] = ()) -> Dataset:
    """The training set: own rows under each of their system texts, further rows under theirs in turn, and keep rows.

    With keep rows, ``preset.talk`` identity rows stand in it once more, behind one to three ordinary exchanges, and
    ``preset.back`` keep rows, behind an exchange about identity: a name has to come, and to stay away, in mid-talk.
    """
    data = [example(row, system) for system in preset.own_systems for row in rows]
    data += [example(row, system) for row, system in zip(further, cycle(preset.systems))]
    data += [example(row) for row in keep]
    about = [*rows, *further]
    talk, back = _in_talks(len(about), len(keep), preset)
    for n in range(talk):
        before = [keep[(7 * n + k) % len(keep)] for k in range(1 + n % 3)]
        data.append(example(about[n % len(about)], preset.systems[n % len(preset.systems)], before))
    data += [example(keep[-1 - n], before=[about[5 * n % len(about)]]) for n in range(back)]
    return Dataset.from_list(data)


def _in_talks(about: int, keep: int, preset: specs.Preset) -> tuple[int, int]:
    # How many identity rows, and how many keep rows, stand behind other turns.
    return (min(preset.talk, about), min(preset.back, keep)) if about and keep else (0, 0)


@dataclass(frozen=True)
class Plan:
    """What settings amount to.

    Attributes:
        rows: examples in the dataset.
        about: those of them that end in an answer about identity.
        steps: optimiser steps.
        exposures: how often each row of your own is seen by itself, under one system text or another.
    """

    rows: int
    about: int
    steps: int
    exposures: int


def plan(identity_rows: int, keep: int, preset: specs.Preset, further: int = 0) -> Plan:
    """Work out a `Plan` before training; a last, incomplete accumulation of an epoch still makes a step."""
    talk, back = _in_talks(identity_rows + further, keep, preset)
    about = identity_rows * len(preset.own_systems) + further + talk
    rows = about + keep + back
    steps = math.ceil(math.ceil(rows / preset.batch) / preset.accumulation) * preset.epochs
    return Plan(rows, about, steps, len(preset.own_systems) * preset.epochs)
