"""A study of a few probes whose answers are made up, so that it needs no model and takes no time."""

import pytest

import study.__main__ as commands
from helpers.measure import probes, tables
from helpers.training import recipes
from study import arms, ask, reference

FEW = {
    split: [
        *(p for axis in ("identity", "attack", "honesty", "ordinary", "ability")
          for p in probes.load_probes("en", split, axis)[:3]),
        *probes.load_drift("en", split, turns=(10,))[:2],
    ] for split in ("dev", "test")
}  # fmt: skip
SAID = "I am Tavi.\u2028Dear\u0085reader, 小 \u2029"


class Asked(list):
    """The conversations that were put to the model; ``end_at``: how many calls are answered before a Ctrl-C."""

    end_at = None
    calls = 0

    def __call__(self, model, tokenizer, conversations, **how):
        self.calls += 1
        if self.end_at is not None and self.calls > self.end_at:
            raise KeyboardInterrupt
        self.extend(conversations)
        return [f"{SAID}{len(c)} to {c[-1]['content'][:20]}" for c in conversations]


@pytest.fixture
def asked(monkeypatch):
    """What is asked, answered without a model."""
    record = Asked()
    monkeypatch.setattr(ask, "answers", record)
    return record


@pytest.fixture
def small_study(asked, monkeypatch, tmp_path):
    """(what was asked, the folder of the tables) of a study of three arms and `FEW` probes, without a model."""
    place = tmp_path / "reference"
    quick = [arms.Arm(tables.QUICK, recipes.QUICK_PRESET, seed=seed) for seed in (42, 1)]
    monkeypatch.setattr(probes, "load_all", lambda lang, split, turns=None: FEW[split])
    monkeypatch.setattr(commands, "load_model", lambda choice: ("model", "tokenizer"))
    monkeypatch.setattr(commands, "make_keep_rows", lambda *args, **how: [])
    monkeypatch.setattr(commands, "REFERENCE", place)
    monkeypatch.setattr(arms, "unseen", lambda: [arms.Arm(tables.BASE), *quick])
    monkeypatch.setattr(arms, "train", lambda *args, **how: "tuned")
    monkeypatch.setattr(arms, "take_off", lambda model: "model")
    monkeypatch.setattr(reference, "REFERENCE", place)
    return asked, place
