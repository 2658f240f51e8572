"""From rows to what TRL trains on: the examples of the training set, what they amount to, and whether they fit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import IdentityError
from helpers.rows.read import Row, question_of

if TYPE_CHECKING:
    from datasets import Dataset

    from helpers.training import recipes


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


def to_dataset(
    rows: Sequence[Row], keep: Sequence[Row], preset: "recipes.Preset", further: Sequence[Row] = ()
) -> "Dataset":
    """The training set: own rows under each of their system texts, further rows under theirs in turn, and keep rows.

    With keep rows, ``preset.late_identity_rows`` identity rows stand in it once more, behind one to three ordinary exchanges, and
    ``preset.late_keep_rows`` keep rows, behind an exchange about identity: a name has to come, and to stay away, in mid-talk.
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
    from datasets import Dataset  # takes two seconds, and checking rows is to stay quick

    return Dataset.from_list(data)


def _in_talks(about: int, keep: int, preset: "recipes.Preset") -> tuple[int, int]:
    # How many identity rows, and how many keep rows, stand behind other turns.
    return (min(preset.late_identity_rows, about), min(preset.late_keep_rows, keep)) if about and keep else (0, 0)


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


def plan(identity_rows: int, keep: int, preset: "recipes.Preset", further: int = 0) -> Plan:
    """Work out a `Plan` before training; a last, incomplete accumulation of an epoch still makes a step."""
    talk, back = _in_talks(identity_rows + further, keep, preset)
    about = identity_rows * len(preset.own_systems) + further + talk
    rows = about + keep + back
    steps = math.ceil(math.ceil(rows / preset.batch) / preset.accumulation) * preset.epochs
    return Plan(rows, about, steps, len(preset.own_systems) * preset.epochs)


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


def check_fit(data: "Dataset", tokenizer, context: int) -> int:
    """The longest example in tokens; raises `IdentityError` for one longer than ``context`` tokens as a whole."""
    longest = 0
    for talk in data:
        longest = max(longest, length := _length(talk, tokenizer))
        if length > context:
            what = f"{length} tokens in the conversation that ends with {talk['prompt'][-1]['content'][:50]!r}, "
            cure = f"shorten the longest of your rows and keep rows, to about {context // 2} characters each"
            raise IdentityError(f"{what}but only {context} fit", cure)
    return longest


def _length(one: dict[str, list[dict[str, str]]], tokenizer) -> int:
    text = tokenizer.apply_chat_template([*one["prompt"], *one["completion"]], tokenize=False)
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def trained_pieces(row: Row, tokenizer) -> list[tuple[str, bool]]:
    """(text, whether it is trained) for every token of the row as the model reads it, template and all.

    As with TRL's prompt and completion columns: the loss falls on the answer and its end token alone.
    """
    asked = [{"role": "user", "content": question_of(row)}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    both = [*asked, {"role": "assistant", "content": row["output"]}]
    whole = tokenizer.apply_chat_template(both, tokenize=False)
    read = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    every = tokenizer(whole, add_special_tokens=False)["input_ids"]
    return [(tokenizer.decode([token]), i >= len(read)) for i, token in enumerate(every)]
