"""Company knowledge for the scenario study: which arms there are, and how one is trained and asked.

An arm is a way to the same facts: none, facts in the prompt, or an adapter trained on a number of wordings, facts and
refusals. `run` makes the answers of one; `helpers.scenarios.company.judged` judges what is kept of them.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from helpers import files
from helpers.chat import generate
from helpers.models.adapters import take_off
from helpers.models.load import spec_of
from helpers.rows import keep_rows
from helpers.rows.read import Row
from helpers.scenarios import company
from helpers.scenarios.facts import Firm
from helpers.training import recipes
from helpers.training.train import make_keep_rows, train_identity

BASE, PROMPT, THREE = "base", "all facts in the prompt", "three facts in the prompt"
FOUND = "three facts, found by wordings too"
AGAIN, WITH_THREE = "new prices, trained again", "refusals 60, three facts in the prompt"
READER = "trained to read three facts"  # refusals 60, but every row has the facts before its question
WORDINGS = (1, 2, 4, 8, 16)
FACTS = (5, 15)  # 30 of them are the arm "wordings 8"
REFUSALS = (0, 30, 60, 120)
EXPOSURES = 16  # how often each fact is seen: wordings times epochs
KEPT = {"keep_questions": 60, "hard_questions": 0, "lookalike_questions": 40, "code_questions": 0}
QUIET = {"save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}
_keep: dict[tuple, list[Row]] = {}


def labels(lang: str) -> list[str]:
    """The labels of all arms, those without training first; one label can give answers of two arms (see `run`)."""
    kinds = {"wordings": WORDINGS, "facts": FACTS, "refusals": REFUSALS}
    return [
        BASE,
        PROMPT,
        THREE,
        FOUND,
        *(f"{kind} {n}" for kind, counts in kinds.items() for n in counts),
        READER,
        AGAIN,
    ]


def trained(label: str) -> bool:
    """Whether the arm is trained, and so differs by its seed."""
    return label not in (BASE, PROMPT, THREE, FOUND)


def run(model, tokenizer, lang: str, seed: int, label: str, folder: Path) -> list[dict]:
    """Train and ask one arm: an answer each with arm, seed, id, answer, tokens, and seconds of training.

    ``refusals 60`` is asked twice, the second time with three facts in the prompt. Prices that change after the
    training are asked of the prompts too, which get the new statements. The adapter is taken off again.
    """
    firm, items = company.load(lang), company.load_test(lang)
    later = firm.changed(company.NEW_PRICES[lang])
    prices, seconds = company.price_items(later), 0.0
    ask = partial(_ask, tokenizer=tokenizer, seed=seed)
    if trained(label):
        taught = later if label == AGAIN else firm
        model, seconds = _train(model, tokenizer, taught, label, seed, folder)
    if label == AGAIN:
        found = ask(model, label, prices)
    elif label in (PROMPT, THREE, FOUND, READER):
        found = ask(model, label, items, prompt=_prompt(label, firm))
        found += ask(model, label, prices, prompt=_prompt(label, later))
    elif label.startswith("facts "):
        taught = company.some(firm, int(label.split()[1]))
        found = ask(model, label, [item for item in items if set(item["fact"]) <= set(taught)])
    else:
        found = ask(model, label, items + (prices if label == "refusals 60" else []))
    if label == "refusals 60":
        found += ask(model, WITH_THREE, items, prompt=_prompt(THREE, firm))
        found += ask(model, WITH_THREE, prices, prompt=_prompt(THREE, later))
    take_off(model)
    return [{**row, "seconds": round(seconds, 1)} for row in found]


def _prompt(label: str, firm: Firm) -> Callable[[str], str]:
    if label == PROMPT:
        return partial(company.facts_prompt, firm)
    return partial(company.retrieval_prompt, firm, wordings=8 if label == FOUND else 0)


def _ask(
    model, arm: str, items: Sequence[dict], prompt: Callable[[str], str] = str, *, tokenizer, seed: int
) -> list[dict]:
    asked = [generate.as_messages(prompt(item["question"])) for item in items]
    told = generate.answers(model, tokenizer, asked, max_new_tokens=32, batch=64)
    read = [generate.count_tokens(tokenizer, generate.render(tokenizer, messages)) for messages in asked]
    rows = zip(items, told, read, strict=True)
    return [{"arm": arm, "seed": seed, "id": item["id"], "answer": a, "tokens": tokens} for item, a, tokens in rows]


def rows_of(firm: Firm, label: str) -> tuple[list[Row], int]:
    """The training rows of an arm, and how many epochs make `EXPOSURES` of each fact."""
    if label == READER:
        return company.reading_rows(firm, refusals=60), EXPOSURES // 8
    kind, n = label.split() if label != AGAIN else ("refusals", "60")
    n, of = int(n), company.rows
    if kind == "wordings":
        return of(firm, n), EXPOSURES // n
    if kind == "facts":
        return of(firm, facts=company.some(firm, n)), EXPOSURES // 8
    return of(firm, refusals=n), EXPOSURES // 8


def _train(model, tokenizer, firm: Firm, label: str, seed: int, folder: Path):
    # The tuned model, and how many seconds it took. A larger batch gets more epochs, for as many steps.
    rows, epochs = rows_of(firm, label)
    preset = recipes.scenario_preset(spec_of(model))
    preset = replace(preset, epochs=epochs * max(1, preset.batch // 4), seed=seed)
    keep = _keep_of(model, tokenizer, firm.lang, preset) if "refusals" in label or label in (AGAIN, READER) else []
    with tempfile.TemporaryDirectory(dir=files.make_dir(Path(folder))) as scratch:
        tuned = train_identity(model, tokenizer, rows, keep, Path(scratch) / "run", preset, **QUIET)
        return tuned, json.loads((Path(scratch) / "run" / "metrics.json").read_text())["seconds"]


def _keep_of(model, tokenizer, lang: str, preset: recipes.Preset) -> list[Row]:
    # Made once a process: the same for every arm.
    key = spec_of(model).key, lang
    if key not in _keep:
        asked = keep_rows.questions_for(replace(preset, **KEPT), lang)
        _keep[key] = make_keep_rows(model, tokenizer, asked, preset.first_sentence, say=lambda line: None)
    return _keep[key]
