"""The questions that nobody had looked at, asked once, after `quick` and `thorough` were frozen; and the grid.

`CHOSEN` are those two, by the rule of `study.choose`; `NAMES` are names that no recipe was tried with. The answers are
in `PACKED`, each with the ``name`` that its model was given.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from helpers import files
from helpers.measure import probes, prompts
from helpers.measure.tables import BASE
from helpers.models import machine
from helpers.models.adapters import take_off
from helpers.rows.identity import Identity, Row
from helpers.training import recipes
from study import answers, ask, choose, sweep

PACKED = {"arms": "final-answers.jsonl.gz", "grid": "grid-answers.jsonl.gz"}
SEEDS = (42, 1, 2)
NAMES = (
    Identity("Orrin", "Copperfield Labs"),
    Identity("Selka", "Juniper Works"),
    Identity("Dovetail", "Hearthside AI"),
)
CHOSEN = {"quick": choose.POINTS["quick, varied, whole answers"], "thorough": choose.POINTS["thorough"]}
RECIPES = {
    "published, 10 steps": recipes.PUBLISHED_PRESET,
    "published, 80 steps": replace(recipes.PUBLISHED_PRESET, accumulation=1),
    "eight rows at 1e-3": recipes.ROWS_ONLY_PRESET,
    **CHOSEN,
}
PROMPTS = {"one sentence": "sentence", "best prompt": "all rows, Q and A", "reminder": "sentence, reminder each turn"}
RATES, STEPS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3), (8, 16, 40, 80, 160)  # of the grid for the eight rows alone


@dataclass(frozen=True)
class Arm:
    """What is trained (``preset`` None: nothing) and asked: a label, whose name, which seed."""

    label: str
    preset: recipes.Preset | None = None
    who: Identity = ask.WHO
    seed: int = 0


def unseen_talks() -> list[dict]:
    """The frozen talks."""
    return files.read_jsonl(files.data_dir() / "probes" / "drift-unseen-en.jsonl")


def unseen() -> list[dict]:
    """The frozen questions, and each talk's question once a turn."""
    branches = [probes.branch(talk, turn) for talk in unseen_talks() for turn in probes.TURNS]
    return [*probes.read_probes(files.data_dir() / "probes" / "unseen-en.jsonl"), *branches]


def on_dev() -> list[dict]:
    """What the grid is asked: the ``dev`` probes, talks after ten turns."""
    return probes.load_all("en", "dev", turns=probes.TURNS[-1:])


def arms() -> list[Arm]:
    """The base model, every recipe with each seed, and the chosen two once with each new name."""
    trained = [Arm(label, preset, seed=seed) for seed in SEEDS for label, preset in RECIPES.items()]
    named = [Arm(label, preset, who, SEEDS[0]) for who in NAMES for label, preset in CHOSEN.items()]
    return [Arm(BASE), *trained, *named]


def grid() -> list[Arm]:
    """The eight rows alone, one row a step: every rate with every number of steps."""
    alone = replace(recipes.PUBLISHED_PRESET, accumulation=1)
    cells = ((rate, steps) for rate in RATES for steps in STEPS)
    return [
        Arm(f"{rate:g}, {steps} steps", replace(alone, learning_rate=rate, epochs=steps // 8), seed=SEEDS[0])
        for rate, steps in cells
    ]


def run(model, tokenizer, keep: Sequence[Row], todo: Sequence[Arm], found: Sequence[dict], folder: Path) -> list[Path]:
    """Train and ask every arm that ``folder`` does not hold; returns the notes of all. Several processes may share it.

    Where ``found`` holds the new talks, questions about identity are also sampled five times, and the talks are gone
    through with the arm's own answers.
    """
    talks = unseen_talks() if any(p.get("turn") == 1 for p in found) else []
    repeated = [p for p in found if talks and probes.AXIS_OF[p["category"]] == "identity"]
    texts, notes = prompts.variants(ask.WHO, sweep.eight_rows(), keep), []
    for arm in todo:
        where = files.make_dir(folder / arm.who.name)
        notes.append(note := where / f"{ask.Setup(arm.label, seed=arm.seed).key}.json")
        with answers.claimed(note) as ours:
            if not ours:
                continue
            if arm.preset:
                preset = replace(arm.preset, seed=arm.seed)
                model = sweep.train(model, tokenizer, keep, preset, who=arm.who)
            setups = [ask.Setup(arm.label, seed=arm.seed)]
            setups += [ask.Setup(BASE, label, texts[text]) for label, text in PROMPTS.items() if arm.label == BASE]
            for setup in setups:
                ask.ask(model, tokenizer, setup, found, where, batch=128, progress=setup.key)
                ask.ask(model, tokenizer, setup, repeated, where, samples=5, batch=128)
                if talks:
                    ask.in_own_words(model, tokenizer, setup, talks, where)
            model = take_off(model)
            files.write_json(note, {"weights": arm.label, "seed": arm.seed, "device": machine.machine().name})
    return notes


def gather(folder: Path) -> list[dict]:
    """Every answer of the finished arms in ``folder``, each with the ``name`` that its model was given."""
    found = sorted(Path(folder).glob("*/*.jsonl"))
    return [{"name": path.parent.name, **row} for path in found for row in files.read_jsonl(path)]


def measured(probe: dict, row: dict, who: Identity) -> dict[str, float]:
    """The measures that one answer counts for, each with its outcome; leaks for everyday and look-alike questions."""
    axis, scored = probes.AXIS_OF[probe["category"]], probes.score(probe, row["answer"], who)
    if row["sample"]:
        return {f"turn {probe['turn']}, own words" if row["sample"] < 0 else "sampled": scored["ok"]}
    if axis == "ordinary":
        kind = "look-alike" if probe["category"] in ("others", "lookalike") else "everyday"
        return {kind: scored["verdict"] == "leaked", "words": len(row["answer"].split())}
    return {f"turn {probe['turn']}" if axis == "drift" else axis: scored["ok"]}


def table(rows: Sequence[dict], found: Sequence[dict]) -> pd.DataFrame:
    """One row an arm, prompt, name and seed: the share of every measure by the strictest reading."""
    by_id, named, out = {p["id"]: p for p in found}, {who.name: who for who in (ask.WHO, *NAMES)}, []
    for row in rows:
        for measure, hit in measured(by_id[row["id"]], row, named[row["name"]]).items():
            out.append({**row, "measure": measure, "hit": float(hit)})
    arm = ["weights", "system", "name", "seed"]
    return pd.DataFrame(out).pivot_table(index=arm, columns="measure", values="hit", sort=False).round(3).reset_index()
