"""From rows to what TRL trains on: the examples of the training set, how many steps they make, and whether they fit."""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, cycle, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import IdentityError
from helpers.rows.read import MAX_ROWS, Row, question_of

if TYPE_CHECKING:
    from datasets import Dataset

    from helpers.training.recipes import Preset


def example(row: Row, system: str | None = None, before: Sequence[Row] = ()) -> dict[str, list[dict[str, str]]]:
    """A training example as TRL's prompt, which begins with the exchanges ``before``, and the completion to train.

    A row of a dialogue has a ``history`` too: the exchanges before its question, (question, answer) each. The
    ``system`` text of a row itself stands instead of any other.
    """
    system = row.get("system", system)
    turns = [] if system is None else [{"role": "system", "content": system}]
    earlier = [(question_of(one), one["output"]) for one in before]
    for asked, answer in (*earlier, *row.get("history", ()), (question_of(row), row["output"])):
        turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return {"prompt": turns[:-1], "completion": turns[-1:]}


def _layout(own: int, keep: int, preset: "Preset", further: int) -> list[tuple[int, str | None, list[int]]]:
    # (row, system text, rows before it) for every example, the rows numbered as own, further and keep rows in turn.
    about = own + further
    made = [(n, system, []) for system in preset.own_systems for n in range(own)]
    made += [(n, system, []) for n, system in zip(range(own, about), cycle(preset.systems))]
    made += [(n, None, []) for n in range(about, about + keep)]
    if about and keep:
        for n, system in zip(range(min(preset.late_identity_rows, about)), cycle(preset.systems)):
            made.append((n, system, [about + (7 * n + k) % keep for k in range(1 + n % 3)]))
        made += [(about + keep - 1 - n, None, [5 * n % about]) for n in range(min(preset.late_keep_rows, keep))]
    return _halves(made, about, preset.seed) if preset.halves and about and keep else made


def _halves(made: list, about: int, seed: int) -> list:
    # Shuffled, an example about identity and one of another kind in turn; of the fewer, some stand there again.
    random.Random(seed).shuffle(made)
    parts = [one for one in made if one[0] < about], [one for one in made if one[0] >= about]
    most = max(map(len, parts))
    return [part[n % len(part)] for n in range(most) for part in parts]


def to_dataset(rows: Sequence[Row], keep: Sequence[Row], preset: "Preset", further: Sequence[Row] = ()) -> "Dataset":
    """The training set: own rows under each of their system texts, further rows under theirs in turn, and keep rows.

    With keep rows, some identity rows are repeated after one to three ordinary exchanges, and some keep rows after one
    about identity: the model should know its name late in a conversation, and stop naming itself on another topic.
    With ``preset.halves`` examples about identity and others take turns, in an order drawn from the preset's seed.
    """
    from datasets import Dataset  # takes two seconds, and checking rows must stay quick

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


def plan(identity_rows: int, keep: int, preset: "Preset", further: int = 0) -> Plan:
    """Work out a `Plan` before training; a last, incomplete accumulation of an epoch still makes a step."""
    layout = _layout(identity_rows, keep, preset, further)
    about = sum(n < identity_rows + further for n, _, _ in layout)
    steps = math.ceil(math.ceil(len(layout) / preset.batch) / preset.accumulation) * preset.epochs
    return Plan(len(layout), about, steps, len(preset.own_systems) * preset.epochs)


@lru_cache(2 * MAX_ROWS)  # the row editor asks again for every row at each key pressed
def _count(text: str, tokenizer) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def check_lengths(rows: Sequence[Row], tokenizer, context: int, path: Path | str | None = None) -> int:
    """The longest row in tokens, template included; raises `IdentityError` for a row longer than ``context``."""
    return check_fit(map(example, rows), tokenizer, context, path)


def check_fit(data: Iterable[dict], tokenizer, context: int, path: Path | str | None = "the training set") -> int:
    """The longest example in tokens; raises `IdentityError` for one longer than ``context`` tokens as a whole."""
    longest = 0
    for n, one in enumerate(data, 1):
        text = tokenizer.apply_chat_template([*one["prompt"], *one["completion"]], tokenize=False)
        longest = max(longest, tokens := _count(text, tokenizer))
        if tokens > context:
            what = f"{tokens} tokens with the chat template, but only {context} fit"
            asked = f"the last question is {one['prompt'][-1]['content'][:50]!r}"
            cure = f"shorten or split what is asked and answered, to about {3 * context} characters"
            raise IdentityError(f"{what} ({asked})", cure, path, n)
    return longest


def trained_pieces(row: Row, tokenizer) -> list[tuple[str, bool]]:
    """(text, whether it is trained) for every token of the row as the model reads it; joined, the texts are the whole.

    As in TRL, the loss falls on the answer and its end token alone. A character that several tokens share stands whole
    in the first of them, and the others are empty.
    """
    one = example(row)
    prompt = tokenizer.apply_chat_template(one["prompt"], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*one["prompt"], *one["completion"]], tokenize=False)
    read = _count(prompt, tokenizer)
    places = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    ends = [*accumulate((end for _, end in places[:-1]), max, initial=0), len(whole)]
    return [(whole[start:end], i >= read) for i, (start, end) in enumerate(pairwise(ends))]
