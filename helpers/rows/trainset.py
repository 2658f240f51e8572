"""From rows to what TRL trains on: the examples of the training set, how many steps they make, and whether they fit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, cycle, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import IdentityError
from helpers.rows.read import MAX_ROWS, Row, question_of

if TYPE_CHECKING:
    from datasets import Dataset

    from helpers.training import recipes

Example = dict[str, list[dict[str, str]]]


def example(row: Row, system: str | None = None, before: Sequence[Row] = ()) -> Example:
    """One training example in TRL's conversational prompt/completion form: loss falls on the completion alone.

    The exchanges ``before`` belong to the prompt.
    """
    turns = [] if system is None else [{"role": "system", "content": system}]
    for one in (*before, row):
        turns += [{"role": "user", "content": question_of(one)}, {"role": "assistant", "content": one["output"]}]
    return {"prompt": turns[:-1], "completion": turns[-1:]}


def _layout(own: int, keep: int, preset: "recipes.Preset", further: int) -> list[tuple[int, str | None, list[int]]]:
    # (row, system text, rows before it) for every example, the rows numbered as own, further and keep rows in turn.
    about = own + further
    made = [(n, system, []) for system in preset.own_systems for n in range(own)]
    made += [(n, system, []) for n, system in zip(range(own, about), cycle(preset.systems))]
    made += [(n, None, []) for n in range(about, about + keep)]
    if about and keep:
        for n in range(min(preset.late_identity_rows, about)):
            before = [about + (7 * n + k) % keep for k in range(1 + n % 3)]
            made.append((n, preset.systems[n % len(preset.systems)], before))
        made += [(about + keep - 1 - n, None, [5 * n % about]) for n in range(min(preset.late_keep_rows, keep))]
    return made


def to_dataset(
    rows: Sequence[Row], keep: Sequence[Row], preset: "recipes.Preset", further: Sequence[Row] = ()
) -> "Dataset":
    """The training set: own rows under each of their system texts, further rows under theirs in turn, and keep rows.

    With keep rows, ``preset.late_identity_rows`` identity rows are repeated after one to three ordinary exchanges, and
    ``preset.late_keep_rows`` keep rows after an exchange about identity: the model should know its name late in a
    conversation, and stop naming itself when the topic changes.
    """
    from datasets import Dataset  # takes two seconds, and checking rows is to stay quick

    every = [*rows, *further, *keep]
    layout = _layout(len(rows), len(keep), preset, len(further))
    return Dataset.from_list([example(every[n], system, [every[b] for b in before]) for n, system, before in layout])


@dataclass(frozen=True)
class Plan:
    """What settings amount to."""

    rows: int  # examples in the dataset
    about: int  # those of them that end in an answer about identity
    steps: int  # optimiser steps
    exposures: int  # how often each row of your own is seen by itself, under one system text or another


def plan(identity_rows: int, keep: int, preset: "recipes.Preset", further: int = 0) -> Plan:
    """Work out a `Plan` before training; a last, incomplete accumulation of an epoch still makes a step."""
    layout = _layout(identity_rows, keep, preset, further)
    about = sum(n < identity_rows + further for n, _, _ in layout)
    steps = math.ceil(math.ceil(len(layout) / preset.batch) / preset.accumulation) * preset.epochs
    return Plan(len(layout), about, steps, len(preset.own_systems) * preset.epochs)


@lru_cache(2 * MAX_ROWS)  # the row editor asks again for every row at each key pressed
def _count(text: str, tokenizer) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _fitting(one: Example, tokenizer, context: int, path: Path | str | None = None, row: int | None = None) -> int:
    text = tokenizer.apply_chat_template([*one["prompt"], *one["completion"]], tokenize=False)
    if (tokens := _count(text, tokenizer)) <= context:
        return tokens
    what = f"in the conversation that ends with {one['prompt'][-1]['content'][:50]!r}"
    cure = f"shorten the longest of your rows and keep rows, to about {context // 2} characters each"
    if row:
        what, cure = "with the chat template", f"shorten the row to about {3 * context} characters, or split it in two"
    raise IdentityError(f"{tokens} tokens {what}, but only {context} fit", cure, path, row)


def check_lengths(rows: Sequence[Row], tokenizer, context: int, path: Path | str | None = None) -> int:
    """The longest row in tokens, template included; raises `IdentityError` for a row longer than ``context``."""
    return max((_fitting(example(row), tokenizer, context, path, n) for n, row in enumerate(rows, 1)), default=0)


def check_fit(data: "Dataset", tokenizer, context: int) -> int:
    """The longest example in tokens; raises `IdentityError` for one longer than ``context`` tokens as a whole."""
    return max((_fitting(one, tokenizer, context) for one in data), default=0)


def trained_pieces(row: Row, tokenizer) -> list[tuple[str, bool]]:
    """(text, whether it is trained) for every token of the row as the model reads it, template and all.

    As with TRL's prompt and completion columns: the loss falls on the answer and its end token alone. A character that
    several tokens share stands whole in the first of them, and the others are empty. Joined, the texts are the whole.
    """
    one = example(row)
    prompt = tokenizer.apply_chat_template(one["prompt"], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*one["prompt"], *one["completion"]], tokenize=False)
    read = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    places = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    ends = [*accumulate((end for _, end in places[:-1]), max, initial=0), len(whole)]
    return [(whole[start:end], i >= read) for i, (start, end) in enumerate(pairwise(ends))]
