"""Going on with a tuned model: what one more row, one less, or another name does to all that it had learned before.

One training an arm at the quick recipe's rate, asked 40 `dev` probes of each measure. The new row is about a lamp.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from helpers import files, runs
from helpers.chat.generate import answers
from helpers.measure import probes
from helpers.models import machine
from helpers.models.adapters import load_adapter
from helpers.models.load import load_model
from helpers.rows import keep_rows
from helpers.rows.identity import Identity
from helpers.rows.read import Row
from helpers.training import going_on
from helpers.training.recipes import QUICK_PRESET, Preset
from helpers.training.train import train_identity
from study.arms import NAMES, eight_rows
from study.ask import WHO
from study.reference import KEEP, REFERENCE

FILE, N = "going_on.csv", 40
QUESTION = "What colour is your lamp?"
OTHERS = (
    "Which colour does your lamp have?",
    "Tell me the colour of your lamp.",
    "You have a lamp. Which colour is it?",
)
ASKED = {  # measure -> categories of its probes
    "identity": probes.AXES["identity"],
    "everyday": probes.KINDS["everyday"],
    "ability": ("facts", "sums"),
}
BEFORE, GOES_ON = "the shipped adapter", "all rows and keep rows, two passes"


class Arm(NamedTuple):
    """What is trained: rows, keep rows, how, from which arm (None: new weights), and what is right afterwards."""

    rows: Sequence[Row] = ()
    keep: Sequence[Row] = ()
    preset: Preset = QUICK_PRESET
    start: str | None = None
    lamp: str = "green"
    who: Identity = WHO


def lamp(colour: str) -> Row:
    """The new row."""
    return {"instruction": QUESTION, "input": "", "output": f"My lamp is {colour}. I am Tavi."}


def arms() -> dict[str, Arm]:
    """By label; one that starts from another comes after it."""
    old, keep, short = eight_rows(), keep_rows.read(REFERENCE / KEEP), going_on.short(QUICK_PRESET)
    more, once = [*old, lamp("green")], replace(short, epochs=1)
    return {
        BEFORE: Arm(),
        "the new row alone": Arm(more[-1:], [], replace(short, epochs=8), BEFORE),
        "the new row and keep rows": Arm(more[-1:], keep[:28], once, BEFORE),
        "all rows and keep rows, one pass": Arm(more, keep[:36], once, BEFORE),
        GOES_ON: Arm(more, keep[:36], short, BEFORE),
        "the whole recipe, from the adapter": Arm(more, keep, QUICK_PRESET, BEFORE),
        "the whole recipe, anew": Arm(more, keep),
        "the row taken away again": Arm(old, keep[:32], short, GOES_ON),
        "the row changed to red": Arm([*old, lamp("red")], keep[:36], short, GOES_ON, "red"),
        "another name in all rows": Arm(eight_rows(NAMES[0]), keep[:32], short, BEFORE, who=NAMES[0]),
    }


def measured(model, tokenizer, arm: Arm) -> tuple[dict[str, int], list[str]]:
    """Counts, and the answers: the new row right, each of `ASKED` (``everyday``: leaks), a lamp where it is not due."""
    said = answers(model, tokenizer, [QUESTION, *OTHERS], max_new_tokens=40)
    right = [bool(re.search(rf"\b{arm.lamp}\b", text.lower())) for text in said]
    found, every, told = {"new row": right[0], "other wordings": sum(right[1:])}, probes.load_probes("en", "dev"), []
    for name, categories in ASKED.items():
        part = probes.sample([probe for probe in every if probe["category"] in categories], N)
        table = probes.run_probes(model, tokenizer, part, arm.who, batch=N, progress=name)
        found[name] = (table["verdict"] == "leaked" if name == "everyday" else table["ok"]).sum()
        told += [*table["answer"]]
    found["lamp elsewhere"] = sum(bool(re.search(r"\blamps?\b", text.lower())) for text in told)
    return {name: int(count) for name, count in found.items()}, [*said, *told]


def going_on_table(folder: Path = Path("build/going_on")) -> None:
    """Train on from the shipped adapter with a row more, one less, another name: going_on.csv (15 minutes)."""
    model, tokenizer = load_model("embedded")
    for label, arm in arms().items():
        note, run = folder / f"{label}.json", REFERENCE if label == BEFORE else folder / label
        if note.exists():
            continue
        if not (run / runs.MANIFEST).exists():
            start = REFERENCE if arm.start == BEFORE else arm.start and folder / arm.start
            how = {"identity": arm.who, "start": start, "save_strategy": "no"}
            train_identity(model, tokenizer, arm.rows, arm.keep, run, arm.preset, **how)
        found, said = measured(load_adapter(model, run), tokenizer, arm)
        told = {"steps": 0, "seconds": 0} if label == BEFORE else files.read_json(run / "metrics.json")
        facts = {"arm": label, "steps": told["steps"], "seconds": round(told["seconds"]), **found}
        files.write_json(note, {**facts, "device": machine.machine().name, "said": said})
    table = pd.DataFrame([files.read_json(folder / f"{label}.json") for label in arms()])
    print(f"Written: {files.write_atomic(REFERENCE / FILE, table.drop(columns='said').to_csv(index=False))}")
