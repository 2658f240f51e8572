"""Recipes against each other: one point a recipe, trained, asked the ``dev`` probes, its answers kept.

For the curves of notebooks 03 and 05 and `data/reference/curves.csv`. A point that is kept is not trained again, so a
killed sweep goes on where it was. Choosing a recipe is the reader's (and the course's) business, not this module's.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from peft import PeftModel

from helpers import files
from helpers.measure import probes
from helpers.measure.prompts import Prompt
from helpers.models.adapters import take_off
from helpers.rows import identity, keep_rows
from helpers.rows.identity import Identity, Row
from helpers.training import recipes
from helpers.training.train import run_facts, train_identity
from study import answers, ask

GENERIC = "You are a helpful assistant."
OTHER = recipes.RIVAL_SYSTEM
DEFAULT, ALONE, THOROUGH = recipes.Preset(), recipes.ROWS_ONLY_PRESET, recipes.THOROUGH_PRESET
# Four rows a step, no adapter below block 10, and keep rows for questions that tuned models took for their own.
FOUR_A_STEP = replace(
    recipes.DEFAULT_PRESET, blocks=(10, 30), batch=4, learning_rate=1.4e-3, extra_wordings=93, attack_rows=45,
    hard_questions=60,
)  # fmt: skip
FEWER_KEPT = {"keep_questions": 100}
FEWER_ROWS = {
    "keep_questions": 120, "extra_wordings": 33, "attack_rows": 15, "late_identity_rows": 16, "late_keep_rows": 24,
    "own_systems": (None, ""), "batch": 2, "blocks": (10, 30),
}  # fmt: skip
IDENTITY_ROWS = {n: {"rows": min(n, 8), "extra_wordings": max(0, n - 8)} for n in (1, 2, 4, 8, 16, 32, 64)}
KEEP_QUESTIONS = (0, 4, 8, 16, 32, 64, 128, 268)
RATES = {f"{rate:g}": {"learning_rate": rate} for rate in (1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3)}
SYSTEM_CURVE = "system text in training"
OTHER_SYSTEMS = {"none": "", "generic": GENERIC, "foreign": ask.FOREIGN}  # asked under, on that curve
SYSTEMS = {"default": (None, None), "none": ("", ""), "generic": (GENERIC, GENERIC), "default and none": (None, ""),
           "default and rival": (None, OTHER)}  # fmt: skip
# Curve, recipe that it starts from, and what changes at each x (``rows``: how many of the eight identity rows).
CURVES: tuple[tuple[str, recipes.Preset, dict], ...] = (
    ("default", DEFAULT, {"default": {}}),
    ("rows alone", ALONE, {"rows alone": {}}),
    ("identity rows", DEFAULT, {n: {**changes, "attack_rows": 0} for n, changes in IDENTITY_ROWS.items()}),
    ("identity rows alone", ALONE, IDENTITY_ROWS),
    ("keep rows, first sentence", DEFAULT, {n: {"keep_questions": n, "first_sentence": True} for n in KEEP_QUESTIONS}),
    ("keep rows, whole answer", DEFAULT, {n: {"keep_questions": n, "first_sentence": False} for n in KEEP_QUESTIONS}),
    ("four rows a step", FOUR_A_STEP, {"60 hard keep questions": {}}),
    ("hard keep questions", FOUR_A_STEP, {n: {"hard_questions": n} for n in (60, 120, 200)}),
    ("thorough", THOROUGH, {"thorough": {}}),
    ("around the thorough recipe", THOROUGH, {
        "100 keep questions and 200 hard ones": FEWER_KEPT,
        "the same, 93 further wordings": {**FEWER_KEPT, "extra_wordings": 93},
        "the same, rate 1e-3": {**FEWER_KEPT, "learning_rate": 1e-3},
        "the same, 120 hard ones": {**FEWER_KEPT, "hard_questions": 120},
        "the same, four rows a step at 1.6e-3": {**FEWER_KEPT, "batch": 4, "learning_rate": 1.6e-3},
        "180 keep questions, 120 hard ones, own rows six times": {
            "keep_questions": 180, "hard_questions": 120, "own_systems": (None, "", OTHER, None, "", None),
        },
    }),
    ("blocks adapted, two rows a step", DEFAULT, {
        f"{first} to {last}": {"batch": 2, "blocks": (first, last)}
        for first, last in ((0, 20), (5, 25), (10, 30), (15, 30), (0, 30))
    }),
    ("rows a step, blocks 10 to 30", DEFAULT, {
        f"{batch}, rate {rate:g}": {"batch": batch, "learning_rate": rate, "blocks": (10, 30)}
        for batch, rate in ((1, 7e-4), (2, 1e-3), (4, 1.4e-3))
    }),
    ("fewer rows of every kind, blocks 10 to 30", DEFAULT, {
        f"rate {rate:g}": {**FEWER_ROWS, "learning_rate": rate} for rate in (1e-3, 1.5e-3, 2e-3)
    }),
    ("steadfast rows", DEFAULT, {n: {"attack_rows": n} for n in (0, 8, 29)}),
    ("rows in talks", DEFAULT, {n: {"late_identity_rows": n, "late_keep_rows": 3 * n // 2} for n in (0, 20, 40, 80)}),
    ("learning rate", DEFAULT, RATES),
    ("learning rate, rows alone", ALONE, RATES),
    ("epochs", DEFAULT, {n: {"epochs": n} for n in (1, 2, 3, 5)}),
    ("rank", DEFAULT, {n: {"rank": n, "alpha": 4 * n} for n in (1, 2, 4, 8, 16, 32)}),
    ("layers", DEFAULT, {
        "MLP": {},
        "attention": {"target_modules": ("q_proj", "k_proj", "v_proj", "o_proj")},
        "all linear": {"target_modules": "all-linear"},
    }),
    (SYSTEM_CURVE, DEFAULT, {x: {"own_systems": texts * 2, "systems": texts} for x, texts in SYSTEMS.items()}),
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One recipe, the value ``x`` on a ``curve``: how it is trained, and on how many of the eight identity ``rows``."""

    curve: str
    x: str
    preset: recipes.Preset
    rows: int = 8

    @property
    def key(self) -> str:
        """A file name for the recipe: points of several curves that are one recipe share it."""
        recipe = {k: v for k, v in asdict(self).items() if k not in ("curve", "x")}
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def points(seeds: Sequence[int] = (42,)) -> list[Point]:
    """The published curves, each seed in turn: one setting changed at a time."""
    found = []
    for seed in seeds:
        for curve, start, values in CURVES:
            for x, changes in values.items():
                preset = replace(start, **{"seed": seed, **{k: v for k, v in changes.items() if k != "rows"}})
                found.append(Point(curve, str(x), preset, changes.get("rows", 8)))
    return found


def eight_rows(who: Identity = ask.WHO) -> list[Row]:
    """The shipped identity rows, filled."""
    return identity.read_rows(identity.shipped_rows("en"), who)


def train(
    model, tokenizer, keep: Sequence[Row], preset: recipes.Preset, rows: int = 8, who: Identity = ask.WHO
) -> PeftModel:
    """``model`` with an adapter trained by ``preset`` on so many of the shipped ``rows``; no run folder is left.

    The base model's whole answers in ``keep`` become keep rows: those to the preset's questions, cut as it says.
    """
    wanted = set(keep_rows.questions_for(preset))
    kept = keep_rows.cut([row for row in keep if row["instruction"] in wanted], preset.first_sentence)
    quiet = {"save_strategy": "no", "logging_strategy": "no"}
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        return train_identity(model, tokenizer, eight_rows(who)[:rows], kept, run, preset, identity=who, **quiet)


def run(model, tokenizer, keep: Sequence[Row], todo: Sequence[Point], folder: Path) -> None:
    """Train every point that ``folder`` does not hold yet, ask it the ``dev`` probes, keep the answers.

    ``keep`` holds whole answers to every shipped question. An adapter on ``model`` is taken off first, and it is left
    without one. Each recipe leaves ``<key>.json`` (what it was and where it ran), written last, and its answers in
    ``<key>/``. Several processes may work on one folder: each takes points that no other has.
    """
    found = probes.load_all("en", "dev", turns=(3, 10))
    about_itself = [p for p in found if probes.AXIS_OF[p["category"]] in ("identity", "attack")]
    for point in todo:
        note, seed = files.make_dir(Path(folder)) / f"{point.key}.json", point.preset.seed
        with answers.claimed(note) as ours:
            if not ours:
                continue
            began = time.perf_counter()
            tuned = train(model, tokenizer, keep, point.preset, point.rows)
            seconds = round(time.perf_counter() - began, 2)
            facts = run_facts(tuned, point.preset, ask.WHO, tokenizer)
            ask.ask(tuned, tokenizer, ask.Setup(point.key, seed=seed), found, note.with_suffix(""))
            for label, text in OTHER_SYSTEMS.items() if point.curve == SYSTEM_CURVE else ():
                setup = ask.Setup(point.key, label, Prompt(text), seed)
                ask.ask(tuned, tokenizer, setup, about_itself, note.with_suffix(""))
            take_off(tuned)
            files.write_json(note, {"point": asdict(point), "seconds": seconds, **facts})


def gather(folder: Path, todo: Sequence[Point]) -> list[dict]:
    """Every kept answer of the points ``todo``, with their places on the curves and what training their recipe took."""
    places: dict[str, list] = {}
    for n, point in enumerate(todo):
        places.setdefault(point.key, []).append([n, point.curve, point.x])
    rows = []
    for key, its_points in places.items():
        note = json.loads((Path(folder) / f"{key}.json").read_text(encoding="utf-8"))
        trained = {"points": its_points, "seconds": note["seconds"], "versions": note["versions"]}
        rows += [{**row, **trained} for row in answers.kept(Path(folder) / key)]
    return rows
