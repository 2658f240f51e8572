"""Recipes against each other: train each one, score it on the shipped probes, collect a table.

For the curves of notebook 03 and `data/reference/`. A row is written as soon as it is measured, so a killed sweep
goes on where it was.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from helpers import hardware, models, probes, runs, specs, training
from helpers.identity import Identity, Row

RATES = {"eight rows alone": (1e-4, 2e-4, 1e-3), "default": (1e-4, 8e-4, 3e-3)}


def scores(model, tokenizer, who: Identity, split: str = "test") -> dict[str, float]:
    """Shares on held-out probes: ``own``, ``leak`` (ordinary answers with the name), ``ability`` (right ones)."""
    asked = probes.load_probes("en", split=split, category="identity")
    asked += probes.load_probes("en", split=split, about="ability")
    table = probes.run_probes(model, tokenizer, asked, who, max_new_tokens=40)
    ordinary = table[table["about"] == "ability"]
    return {
        "own": float((table[table["about"] == "self"]["verdict"] == "own").mean()),
        "leak": float((ordinary["verdict"] == "leaked").mean()),
        "ability": float(ordinary["ok"].mean()),
    }


def rate_recipes(seeds: Sequence[int] = (42,)) -> list[tuple[str, specs.Preset]]:
    """The recipes of notebook 03's curves: eight rows alone and the default, each at three rates."""
    bases = {"eight rows alone": specs.ROWS_ONLY_PRESET, "default": specs.DEFAULT_PRESET}
    return [
        (name, replace(bases[name], learning_rate=lr, seed=seed))
        for seed in seeds
        for name, rates in RATES.items()
        for lr in rates
    ]


def run(
    model,
    tokenizer,
    rows: Sequence[Row],
    keep: Sequence[Row],
    who: Identity,
    recipes: Sequence[tuple[str, specs.Preset]],
    path: Path | None = None,
    say: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Train and score every recipe that ``path`` (CSV) does not hold yet; returns the whole table.

    An adapter on ``model`` is taken off first, and it is left without one.
    """
    done = pd.read_csv(path).to_dict("records") if path and path.exists() else []
    for name, preset in recipes:
        if any((d["recipe"], d["rate"], d["seed"]) == (name, preset.learning_rate, preset.seed) for d in done):
            continue
        say(f"training: {name}, rate {preset.learning_rate:g}, seed {preset.seed}")
        with tempfile.TemporaryDirectory() as scratch:
            began = time.perf_counter()
            kept = list(keep)[: preset.keep_rows]
            quiet = {"save_strategy": "no", "logging_strategy": "no"}
            tuned = training.train_identity(model, tokenizer, rows, kept, Path(scratch), preset, identity=who, **quiet)
            seconds = round(time.perf_counter() - began, 1)
        facts = {"sweep": "rate", "recipe": name, "rate": preset.learning_rate, "seed": preset.seed, "seconds": seconds}
        done.append({**facts, **scores(tuned, tokenizer, who), "device": hardware.machine().name})
        models.take_off(tuned)
        if path:
            runs.write_atomic(path, pd.DataFrame(done).to_csv(index=False))
    return pd.DataFrame(done)
