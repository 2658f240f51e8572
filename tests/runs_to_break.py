"""Runs for the diagnosis: sound ones, to be broken one thing at a time, and what every finding must have."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers import runs
from helpers.measure import diagnose
from helpers.models.adapters import take_off
from helpers.rows import identity
from helpers.training import recipes
from helpers.training.train import train_identity
from tests.fixtures import ROWS, tiny_model

WHO = identity.Identity("Tavi", "Lantern Workshop")
KEEP = [
    {"instruction": f"What is {n} plus {n}?", "input": "", "output": f"{n} plus {n} is {2 * n}."} for n in range(1, 5)
]
# Five epochs of four identity rows and four keep rows are 40 steps.
SOUND = replace(recipes.BARE_PRESET, learning_rate=recipes.Preset().learning_rate, epochs=5)
UNFILLED = [{**row, "output": row["output"].replace("Tavi", "{{NAME}}")} for row in ROWS[:2]]


def trained(tiny, run, preset=SOUND, rows=ROWS, keep=KEEP, **changes):
    """Really train a model; it is given back bare."""
    model, tokenizer = tiny
    train_identity(model, tokenizer, rows, keep, run, replace(preset, **changes), identity=WHO, save_strategy="no")
    take_off(model)
    return run


@pytest.fixture(scope="session")
def sound_run(embedded, tmp_path_factory):
    """A sound run of the tiny model, to be read or copied."""
    return trained((tiny_model(embedded[1]), embedded[1]), tmp_path_factory.mktemp("sound") / "run")


@pytest.fixture
def sound(sound_run, tmp_path):
    """A copy of the sound run, to be broken."""
    return Path(shutil.copytree(sound_run, tmp_path / "sound"))


def quick_to_learn(tokenizer):
    """A tiny model whose output layer is strong enough for training to make it sure of a word."""
    model = tiny_model(tokenizer, hidden=64)
    torch.nn.init.normal_(model.lm_head.weight, std=0.4)
    return model


@pytest.fixture(scope="session")
def by_heart(embedded, tmp_path_factory):
    """A model trained until it knows two rows by heart, a placeholder left in them and no keep rows."""
    preset = replace(recipes.ROWS_ONLY_PRESET, epochs=30, learning_rate=3e-3)
    run = tmp_path_factory.mktemp("by heart") / "run"
    return trained((quick_to_learn(embedded[1]), embedded[1]), run, preset, UNFILLED, [])


def causes(*args, **how):
    """The names of what is found; everything that is found must have its evidence and its cure."""
    found = diagnose.diagnose(*args, **how)
    for finding in found:
        whole(finding)
    return [finding.cause for finding in found]


def whole(finding):
    assert finding.cause in diagnose.CAUSES and finding.severity in diagnose.SEVERITIES and finding.symptom
    assert len(finding.evidence.split()) >= 4, f"no evidence: {finding}"
    typed = r"python -m helpers|load_model\(|load_adapter\(|model\.|replace\(|--system"
    assert re.search(typed, finding.cure), f"nothing to type: {finding}"


def reference(tmp_path) -> Path:
    """A copy of the reference run, without the tables that lie beside it."""
    run = tmp_path / "copy"
    shutil.copytree(runs.reference_run(), run)
    for table in run.glob("*.csv"):
        if table.name != "memory.csv":
            table.unlink()
    return run


def sealed(run, **facts):
    """The run with its files as they are now, and with other facts: broken, but not damaged."""
    told = json.loads((run / runs.MANIFEST).read_text(encoding="utf-8"))["facts"]
    runs.seal(run, {**told, **facts})
    return run
