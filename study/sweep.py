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

from helpers import files
from helpers.measure import probes, tables
from helpers.measure.prompts import Prompt
from helpers.models import machine
from helpers.models.adapters import take_off
from helpers.rows import identity, keep_rows
from helpers.rows.identity import Identity, Row
from helpers.training import recipes
from helpers.training.train import run_facts, train_identity
from study import ask

GENERIC = "You are a helpful assistant."
OTHER = recipes.RIVAL_SYSTEM
# Four rows a step, no adapter below block 10, and keep rows for questions that tuned models took for their own.
FOUR_A_STEP = replace(
    recipes.DEFAULT_PRESET,
    blocks=(10, 30),
    batch=4,
    learning_rate=1.4e-3,
    extra_wordings=93,
    attack_rows=45,
    hard_questions=60,
)

FEWER_KEPT = {"keep_questions": 100}
AROUND_THOROUGH = {
    "100 keep questions and 200 hard ones": FEWER_KEPT,
    "the same, 93 further wordings": {**FEWER_KEPT, "extra_wordings": 93},
    "the same, rate 1e-3": {**FEWER_KEPT, "learning_rate": 1e-3},
    "the same, 120 hard ones": {**FEWER_KEPT, "hard_questions": 120},
    "the same, four rows a step at 1.6e-3": {**FEWER_KEPT, "batch": 4, "learning_rate": 1.6e-3},
    "180 keep questions, 120 hard ones, own rows six times": {
        "keep_questions": 180, "hard_questions": 120, "own_systems": (None, "", OTHER, None, "", None),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One recipe on a curve.

    Attributes:
        curve, x: which curve, and the value on it.
        preset: how it is trained, on what.
        rows: how many of the eight identity rows.
    """

    curve: str
    x: str
    preset: recipes.Preset = field(default_factory=recipes.Preset)
    rows: int = 8

    @property
    def key(self) -> str:
        """A file name for the recipe: points of several curves that are one recipe share it."""
        recipe = {k: v for k, v in asdict(self).items() if k not in ("curve", "x")}
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def points(base: Point, seeds: Sequence[int] = (42,)) -> list[Point]:
    """The published curves around the recipe ``base``: one setting changed at a time; also the eight rows alone."""
    return [replace(p, preset=replace(p.preset, seed=seed)) for seed in seeds for p in _one_by_one(base)]


def _one_by_one(base: Point) -> Iterator[Point]:
    alone, four = Point("", "", recipes.ROWS_ONLY_PRESET), Point("", "", FOUR_A_STEP)
    thorough = Point("", "", recipes.THOROUGH_PRESET)

    def point(curve: str, x: object, start: Point = base, rows: int = 8, **changes) -> Point:
        return replace(start, curve=curve, x=str(x), rows=rows, preset=replace(start.preset, **changes))

    yield point("default", "default")
    yield point("rows alone", "rows alone", alone)
    for n in (1, 2, 4, 8, 16, 32, 64):
        yield point("identity rows", n, rows=min(n, 8), extra_wordings=max(0, n - 8), attack_rows=0)
        yield point("identity rows alone", n, alone, rows=min(n, 8), extra_wordings=max(0, n - 8))
    for n in (0, 4, 8, 16, 32, 64, 128, 268):
        yield point("keep rows, first sentence", n, keep_questions=n, first_sentence=True)
        yield point("keep rows, whole answer", n, keep_questions=n, first_sentence=False)
    yield point("four rows a step", "60 hard keep questions", four)
    for n in (60, 120, 200):
        yield point("hard keep questions", n, four, hard_questions=n)
    yield point("thorough", "thorough", thorough)
    for name, changes in AROUND_THOROUGH.items():
        yield point("around the thorough recipe", name, thorough, **changes)
    for blocks in ((0, 20), (5, 25), (10, 30), (15, 30), (0, 30)):
        yield point("blocks adapted, two rows a step", f"{blocks[0]} to {blocks[1]}", batch=2, blocks=blocks)
    for batch, rate in ((1, 7e-4), (2, 1e-3), (4, 1.4e-3)):
        step = {"batch": batch, "learning_rate": rate, "blocks": (10, 30)}
        yield point("rows a step, blocks 10 to 30", f"{batch}, rate {rate:g}", **step)
    fewer = {
        "keep_questions": 120,
        "extra_wordings": 33,
        "attack_rows": 15,
        "late_identity_rows": 16,
        "late_keep_rows": 24,
        "own_systems": (None, ""),
    }
    for rate in (1e-3, 1.5e-3, 2e-3):
        step = {"batch": 2, "learning_rate": rate, "blocks": (10, 30)}
        yield point("fewer rows of every kind, blocks 10 to 30", f"rate {rate:g}", **fewer, **step)
    for n in (0, 8, 29):
        yield point("steadfast rows", n, attack_rows=n)
    for n in (0, 20, 40, 80):
        yield point("rows in talks", n, late_identity_rows=n, late_keep_rows=3 * n // 2)
    for rate in (1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3):
        yield point("learning rate", f"{rate:g}", learning_rate=rate)
        yield point("learning rate, rows alone", f"{rate:g}", alone, learning_rate=rate)
    for n in (1, 2, 3, 5):
        yield point("epochs", n, epochs=n)
    for n in (1, 2, 4, 8, 16, 32):
        yield point("rank", n, rank=n, alpha=4 * n)
    attention = ("q_proj", "k_proj", "v_proj", "o_proj")
    mlp = recipes.Preset().target_modules
    for name, targets in (("MLP", mlp), ("attention", attention), ("all linear", "all-linear")):
        yield point("layers", name, target_modules=targets)
    texts = {"default": (None, None), "none": ("", ""), "generic": (GENERIC, GENERIC), "default and none": (None, ""),
             "default and rival": (None, OTHER)}  # fmt: skip
    for name, chosen in texts.items():
        yield point("system text in training", name, own_systems=chosen * 2, systems=chosen)


def kept(keep: Sequence[Row], preset: recipes.Preset) -> list[Row]:
    """The keep rows of a recipe, from whole answers: those to its questions, cut as it says."""
    wanted = set(keep_rows.questions("en", preset.keep_questions, preset.hard_questions))
    return keep_rows.cut([row for row in keep if row["instruction"] in wanted], preset.first_sentence)


def run(
    model, tokenizer, who: Identity, keep: Sequence[Row], todo: Sequence[Point], folder: Path, split: str = "dev",
    **how,
) -> None:  # fmt: skip
    """Train every point that ``folder`` does not hold yet, ask it the probes, keep the answers.

    ``keep`` holds whole answers to every shipped question (`keep_rows.make` with ``first=False``). An adapter on
    ``model`` is taken off first, and it is left without one. Each recipe leaves ``<key>.json`` (what it was and where
    it ran), written last, and its answers in ``<key>/``. Several processes may work on one folder: each takes points
    that no other has.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    for point in todo:
        note = Path(folder) / f"{point.key}.json"
        with files.claimed(note) as ours:
            if ours and not note.exists():
                _measure(model, tokenizer, who, keep, point, note, split, how)


def _measure(model, tokenizer, who: Identity, keep, point: Point, note: Path, split: str, how: dict) -> None:
    found = probes.load_all("en", split, turns=(3, 10))
    rows = identity.read_rows(identity.shipped_rows("en"), who)[: point.rows]
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        tuned = train_identity(
            model, tokenizer, rows, kept(keep, point.preset), Path(scratch), point.preset, identity=who,
            save_strategy="no", logging_strategy="no",
        )  # fmt: skip
        seconds = round(time.perf_counter() - began, 2)
        facts = run_facts(tuned, point.preset, who, tokenizer)
    answers, seed = note.with_suffix(""), point.preset.seed
    ask.ask(tuned, tokenizer, ask.Arm("point", seed=seed), found, answers, **how)
    if point.curve == "system text in training":
        own = [p for p in found if probes.AXIS_OF[p["category"]] in ("identity", "attack")]
        for label, text in (("none", ""), ("generic", GENERIC), ("foreign", ask.FOREIGN)):
            ask.ask(tuned, tokenizer, ask.Arm("point", label, Prompt(text), seed), own, answers, **how)
    take_off(tuned)
    files.write_json(note, {"point": asdict(point), "seconds": seconds, **facts, "device": machine.machine().name})


def table(folder: Path, done: Sequence[Point], who: Identity, split: str = "dev") -> pd.DataFrame:
    """The curves: one row a point and system text in use, with the share of every measure; judged now."""
    found, out = probes.load_all("en", split, turns=(3, 10)), []
    for point in done:
        note = Path(folder) / f"{point.key}.json"
        if not note.exists():
            continue
        told = json.loads(note.read_text(encoding="utf-8"))
        judged = tables.with_facts(tables.judge_answers(ask.kept(note.with_suffix("")), found, who), found)
        for system, part in judged.groupby("system", sort=False):
            shares = {name: round(float(rows["hit"].mean()), 4) for name, rows in tables.measures(part).items()}
            where = {"curve": point.curve, "x": point.x, "system in use": system, "seed": point.preset.seed}
            out.append({**where, **shares, "seconds": told["seconds"], "device": told["device"], **told["versions"]})
    return pd.DataFrame(out)
