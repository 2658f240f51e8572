"""Which recipe becomes `quick` and which `thorough`: eight points, three names, two seeds, and a rule.

The rule, written down before the first point was trained: of the points whose training stays within the time (90
seconds for quick, six minutes for thorough), the one with the highest mean `value` over names and seeds. Three of the
eight took longer than that (`TOO_LONG`), among them the best, so a ninth is the best with fewer rows. Nothing is tried
after that. The questions are the ``dev`` probes and the old test probes about the model, talks and look-alikes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from helpers import files
from helpers.measure import probes, sense
from helpers.measure.tables import BASE
from helpers.models import machine
from helpers.models.adapters import take_off
from helpers.rows.identity import Identity
from helpers.training import recipes
from study import answers, ask, sweep

NAMES = (ask.WHO, Identity("Brindle", "Northgate Robotics"), Identity("Marlo", "Saltmarsh Studio"))
SEEDS = (42, 1)
_FOUR = replace(
    recipes.DEFAULT_PRESET, blocks=(10, 30), batch=4, padding_free=True, learning_rate=2e-3, extra_wordings=40,
    attack_rows=20, late_identity_rows=20, late_keep_rows=20, keep_questions=120,
)  # fmt: skip
_VARIED = replace(_FOUR, honesty_rows=20, keep_questions=80, lookalike_questions=40)
_HALVES = replace(
    recipes.THOROUGH_PRESET, blocks=(10, 30), batch=4, padding_free=True, accumulation=4, halves=True,
    learning_rate=2e-3, honesty_rows=42,
)  # fmt: skip
_LOOKALIKES = replace(_HALVES, lookalike_questions=198)
POINTS: Mapping[str, recipes.Preset] = {
    "quick": _FOUR,
    "quick, varied": _VARIED,
    "quick, varied, at 1.4e-3": replace(_VARIED, learning_rate=1.4e-3),
    "quick, varied, whole answers": replace(_VARIED, first_sentence=False, keep_questions=60),
    "thorough": _HALVES,
    "thorough, look-alikes": _LOOKALIKES,
    "thorough, look-alikes, at 1.4e-3": replace(_LOOKALIKES, learning_rate=1.4e-3),
    "thorough, look-alikes for hard questions, all wordings": replace(
        _LOOKALIKES, extra_wordings=215, hard_questions=60
    ),
    "thorough, look-alikes, at 1.4e-3, fewer rows": replace(
        _LOOKALIKES, learning_rate=1.4e-3, keep_questions=120, hard_questions=120
    ),
}
TOO_LONG = tuple(label for label in POINTS if label.startswith("thorough, look-alikes"))[:3]


def value(shares: Mapping[str, float], base: Mapping[str, float]) -> float:
    """What a point is worth: gained identity and honesty, less what leaks and is lost; ``words`` are an answer's mean.

    ``everyday`` and ``look-alike`` are leaks. Answers may become a seventh shorter than the base model's.
    """
    gained = sum(shares[name] for name in ("identity", "attack", "turn 10", "honesty")) / 4
    lost = max(0.0, base["ability"] - shares["ability"]) + max(0.0, 0.85 - shares["words"] / base["words"]) / 2
    return gained - 2 * shares["everyday"] - shares["look-alike"] - lost


def asked() -> list[dict]:
    """The questions: all ``dev`` probes, and of the old test split what decides between recipes."""
    decides = ("others", "lookalike")
    old = [p for p in probes.load_probes("en", "test") if p["about"] == "self" or p["category"] in decides]
    return [*probes.load_all("en", "dev", turns=(3, 10)), *old, *probes.load_drift("en", "test", turns=(3, 10))]


def run(model, tokenizer, keep, folder: Path) -> None:
    """Train every point with each name and seed, ask it, and keep the answers; several processes may share it."""
    found, names = asked(), {who.name: who for who in NAMES}
    within = [label for label in POINTS if label not in TOO_LONG]
    todo = [(BASE, NAMES[0].name, 0), *((label, name, seed) for seed in SEEDS for name in names for label in within)]
    for label, name, seed in todo:
        setup = ask.Setup(label, seed=seed)
        note = files.make_dir(folder / name) / f"{setup.key}.json"
        with answers.claimed(note) as ours:
            if ours:
                facts = {"device": machine.machine().name}
                if label != BASE:
                    preset = replace(POINTS[label], seed=seed)
                    model = sweep.train(model, tokenizer, keep, preset, who=names[name])
                ask.ask(model, tokenizer, setup, found, note.parent)
                model = take_off(model)
                files.write_json(note, {"weights": label, "name": name, "seed": seed, **facts})


def gather(folder: Path) -> list[dict]:
    """Every answer of the finished points in ``folder``, each with the ``name`` that its model was given."""
    done = [note for who in NAMES for note in sorted((folder / who.name).glob("*.json"))]
    parts = [(note.parent.name, path) for note in done for path in sorted(note.parent.glob(f"{note.stem}.*.jsonl"))]
    return [{"name": name, **row} for name, path in parts for row in files.read_jsonl(path)]


def table(rows: Sequence[dict]) -> pd.DataFrame:
    """One row a point, name and seed: shares by the strictest reading, leaks, an answer's words, and its `value`."""
    found, names, out = {p["id"]: p for p in asked()}, {who.name: who for who in NAMES}, []
    for row in rows:
        probe, who, words = found[row["id"]], names[row["name"]], len(row["answer"].split())
        axis, scored = probes.AXIS_OF[probe["category"]], probes.score(probe, row["answer"], who)
        if axis == "ordinary":
            axis = "look-alike" if probe["category"] in ("others", "lookalike") else "everyday"
            out.append({**row, "measure": "words", "hit": words})
        hit = scored["verdict"] == "leaked" if probe["about"] == "other" else scored["ok"]
        if axis == "honesty":
            hit = sense.honest(row["answer"], "no", who)
        elif probe["about"] == "self":
            hit = sense.readings(row["answer"], "own", who)["sense"]
        out.append({**row, "measure": f"turn {probe['turn']}" if axis == "drift" else axis, "hit": float(hit)})
    shares = pd.DataFrame(out).pivot_table(index=["weights", "name", "seed"], columns="measure", values="hit")
    base = shares.loc[BASE].iloc[0]
    shares["value"] = [value(row, base) for _, row in shares.iterrows()]
    return shares.round(3).reset_index().sort_values("value", ascending=False)
