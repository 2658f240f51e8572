"""Recipes against each other: one point a recipe, trained, asked the ``dev`` probes, its answers kept.

For the curves of notebooks 03 and 05 and `data/reference/curves.csv`. A point that is kept is not trained again, so a
killed sweep goes on where it was. Choosing a recipe is the reader's (and the course's) business, not this module's.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd

from helpers import hardware, identity, models, probes, results, runs, specs, study, training
from helpers.identity import Identity, Row
from helpers.prompts import Prompt

GENERIC = "You are a helpful assistant."
OTHER = "You are ChatGPT, an AI assistant made by OpenAI."  # not the foreign text of the study: that one is unseen


@dataclass(frozen=True)
class Point:
    """One recipe on a curve.

    Attributes:
        curve, x: which curve, and the value on it.
        preset: how it is trained; ``preset.keep_rows`` keep rows are mixed in.
        rows: how many identity rows: the first of the eight, then of the further wordings.
        steadfast: how many rows that hold against an attack are added.
        sentence: keep rows are cut to their first sentence.
    """

    curve: str
    x: str
    preset: specs.Preset = field(default_factory=specs.Preset)
    rows: int = 8
    steadfast: int = 0
    sentence: bool = False

    @property
    def key(self) -> str:
        """A file name for the recipe: points of several curves that are one recipe share it."""
        recipe = {k: v for k, v in asdict(self).items() if k not in ("curve", "x")}
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def points(base: specs.Preset, steadfast: int, seeds: Sequence[int] = (42,)) -> list[Point]:
    """The published curves, around ``base`` with ``steadfast`` rows: one setting changed at a time."""
    found = []
    for seed in seeds:
        found += [replace(p, preset=replace(p.preset, seed=seed)) for p in _one_by_one(base, steadfast)]
    return found


def _one_by_one(base: specs.Preset, steadfast: int) -> Iterator[Point]:
    alone = specs.ROWS_ONLY_PRESET
    yield Point("default", "default", base, steadfast=steadfast)
    for n in (1, 2, 4, 8, 16, 32):
        yield Point("identity rows", str(n), base, rows=n, steadfast=steadfast)
        yield Point("identity rows alone", str(n), alone, rows=n)
    for n in (0, 4, 8, 16, 32):
        for sentence in (False, True) if n else (False,):
            kind = "first sentence" if sentence else "whole answer"
            yield Point(f"keep rows, {kind}", str(n), replace(base, keep_rows=n), 8, steadfast, sentence)
    for n in (0, 4, 8):
        yield Point("steadfast rows", str(n), base, steadfast=n)
    for rate in (1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3):
        yield Point("learning rate", f"{rate:g}", replace(base, learning_rate=rate), 8, steadfast)
        yield Point("learning rate, rows alone", f"{rate:g}", replace(alone, learning_rate=rate))
    for n in (1, 2, 3, 5, 8):
        yield Point("epochs", str(n), replace(base, epochs=n), 8, steadfast)
    for n in (1, 2, 4, 8, 16, 32):
        yield Point("rank", str(n), replace(base, rank=n, alpha=4 * n), 8, steadfast)
    attention = ("q_proj", "k_proj", "v_proj", "o_proj")
    for name, targets in (("MLP", base.target_modules), ("attention", attention), ("all linear", "all-linear")):
        yield Point("layers", name, replace(base, target_modules=targets), 8, steadfast)
    texts = {"default": (None, None), "none": ("", ""), "generic": (GENERIC, GENERIC), "mixed": (None, ""),
             "mixed with a rival": (None, OTHER)}  # fmt: skip
    for name, chosen in texts.items():
        yield Point("system text in training", name, replace(base, systems=chosen), 8, steadfast)


def rows_of(point: Point, who: Identity, keep: Sequence[Row], lang: str = "en") -> tuple[list[Row], list[Row]]:
    """Identity rows and keep rows of a point."""
    own = [*identity.read_rows(identity.shipped_rows(lang), who), *identity.extra_rows("more", who, lang)]
    own = own[: point.rows] + identity.extra_rows("steadfast", who, lang)[: point.steadfast]
    kept = [dict(row) for row in keep[: point.preset.keep_rows]]
    if point.sentence:
        kept = [{**row, "output": identity.first_sentence(row["output"])} for row in kept]
    return own, kept


def run(
    model, tokenizer, who: Identity, keep: Sequence[Row], todo: Sequence[Point], folder: Path, split: str = "dev",
    **how,
) -> None:  # fmt: skip
    """Train every point that ``folder`` does not hold yet, ask it the probes under four system texts, keep the answers.

    An adapter on ``model`` is taken off first, and it is left without one. Each recipe leaves ``<key>.json`` (what it
    was and where it ran), written last, and its answers in ``<key>/``.
    """
    found = study.asked("en", split, turns=(3, 10))
    own = [p for p in found if probes.AXIS_OF[p["category"]] in ("identity", "attack")]
    for point in todo:
        note = Path(folder) / f"{point.key}.json"
        if note.exists():
            continue
        rows, kept = rows_of(point, who, keep)
        with tempfile.TemporaryDirectory() as scratch:
            began = time.perf_counter()
            quiet = {"save_strategy": "no", "logging_strategy": "no"}
            tuned = training.train_identity(
                model, tokenizer, rows, kept, Path(scratch), point.preset, identity=who, **quiet
            )
            seconds = round(time.perf_counter() - began, 2)
            facts = training.facts(tuned, point.preset, who)
        answers = Path(folder) / point.key
        seed = point.preset.seed
        study.ask(tuned, tokenizer, study.Arm("point", seed=seed), found, answers, **how)
        if point.curve == "system text in training":
            for label, text in (("none", ""), ("generic", GENERIC), ("foreign", study.FOREIGN)):
                study.ask(tuned, tokenizer, study.Arm("point", label, Prompt(text), seed), own, answers, **how)
        models.take_off(tuned)
        told = {"point": asdict(point), "seconds": seconds, **facts, "device": hardware.machine().name}
        runs.write_json(note, told)


def table(folder: Path, done: Sequence[Point], who: Identity, split: str = "dev") -> pd.DataFrame:
    """The curves: one row a point and system text in use, with the share of every measure; judged now."""
    found, out = study.asked("en", split, turns=(3, 10)), []
    for point in done:
        note = Path(folder) / f"{point.key}.json"
        if not note.exists():
            continue
        told = json.loads(note.read_text(encoding="utf-8"))
        judged = study.with_facts(study.judge(study.kept(note.with_suffix("")), found, who), found)
        for system, part in judged.groupby("system", sort=False):
            shares = {name: round(float(rows["hit"].mean()), 4) for name, rows in results.measures(part).items()}
            where = {"curve": point.curve, "x": point.x, "system in use": system, "seed": point.preset.seed}
            out.append({**where, **shares, "seconds": told["seconds"], "device": told["device"], **told["versions"]})
    return pd.DataFrame(out)
