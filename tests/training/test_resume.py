"""Out of memory is not the end: fewer rows at once, the same rows a step, and the reader is told."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from helpers import runs
from helpers.errors import ResourceError
from helpers.rows.trainset import to_dataset
from helpers.training import recipes, resume
from helpers.training.train import build_trainer, train_identity
from tests.fixtures import QUIET, ROWS, bare, tells, tiny_model

EIGHT = replace(recipes.BARE_PRESET, own_systems=(None, ""), epochs=3, batch=8, learning_rate=1e-2)


class Full(TrainerCallback):
    """A device on which the step after ``step`` does not fit while more than ``rows`` go through at once."""

    def __init__(self, rows, step=0, plain=False):
        self.rows, self.step, self.plain, self.tried = rows, step, plain, []

    def on_step_begin(self, args, state, control, **kwargs):
        size, checkpointing = args.per_device_train_batch_size, args.activation_checkpointing
        if state.global_step >= self.step and (size > self.rows or (self.plain and not checkpointing)):
            self.tried.append((size, args.gradient_accumulation_steps))
            raise torch.OutOfMemoryError("injected")


def adapter(run):
    return load_file(run / "adapter" / "adapter_model.safetensors")


def apart(a, b) -> float:
    """The largest difference between two adapters, as a share of the largest weight."""
    return max(float((a[k] - b[k]).abs().max() / a[k].abs().max()) for k in a)


@pytest.mark.parametrize(
    ("size", "expected"), [((8, 1), (4, 2)), ((2, 8), (1, 16)), ((6, 1), (3, 2)), ((3, 2), (1, 6))]
)
def test_the_next_batch_is_smaller_and_a_step_keeps_its_rows(size, expected):
    batch, accumulation = size
    args = SimpleNamespace(per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation)
    fields, line = resume.with_less_memory(args)
    assert tuple(fields.values()) == expected and f"a step is still {batch * accumulation} rows" in line


def test_eight_rows_at_once_and_one_at_a_time_eight_times_make_the_same_steps(tiny, tmp_path):
    model, tokenizer = tiny
    for name, preset in (("at once", EIGHT), ("one by one", replace(EIGHT, batch=1, accumulation=8))):
        train_identity(model, tokenizer, ROWS, [], tmp_path / name, preset, **QUIET)
    one, other = adapter(tmp_path / "at once"), adapter(tmp_path / "one by one")
    steps = [json.loads((tmp_path / name / "metrics.json").read_text())["steps"] for name in ("at once", "one by one")]
    assert steps == [3, 3]
    assert apart(one, other) < 1e-3, "rounding alone"
    train_identity(tiny_model(tokenizer), tokenizer, ROWS, [], tmp_path / "sum", replace(EIGHT, batch=1))
    assert apart(one, adapter(tmp_path / "sum")) > 1e-2, "one row a step is another training"


@pytest.mark.parametrize("step", [0, 2], ids=["in the first step", "after a checkpoint"])
def test_too_many_rows_are_halved_and_the_adapter_is_the_same(tiny, tmp_path, step):
    model, tokenizer = tiny
    said, full = [], Full(rows=2, step=step)
    how = {"save_steps": 1, **QUIET}
    train_identity(model, tokenizer, ROWS, [], tmp_path / "less", EIGHT, callbacks=[full], say=said.append, **how)
    assert full.tried == [(8, 1), (4, 2)]
    assert "8 rows at once: now 4 at once and 2 times before each step" in said[0] and "8 rows" in said[1]
    assert ("from the first step" if step == 0 else "going on from checkpoint-2") in said[0]
    train_identity(tiny_model(tokenizer), tokenizer, ROWS, [], tmp_path / "whole", EIGHT, **how)
    assert apart(adapter(tmp_path / "whole"), adapter(tmp_path / "less")) < 1e-3
    preset = runs.read_manifest(tmp_path / "less")["facts"]["preset"]
    assert (preset["batch"], preset["accumulation"]) == (2, 4), "the manifest holds what was done"


@pytest.mark.slow
def test_one_row_at_once_is_followed_by_checkpointing_and_then_by_a_refusal(tiny, tmp_path):
    model, tokenizer = tiny
    said, two = [], replace(EIGHT, batch=2)
    full = Full(rows=1, plain=True)
    train_identity(model, tokenizer, ROWS, [], tmp_path / "a", two, callbacks=[full], say=said.append, **QUIET)
    assert [line.split(":")[0] for line in said] == [
        "Out of memory with 2 rows at once", "Out of memory with one row at once",
    ]  # fmt: skip
    model = tiny_model(tokenizer)
    with pytest.raises(ResourceError) as caught:
        train_identity(model, tokenizer, ROWS, [], tmp_path / "b", two, callbacks=[Full(0)], say=said.append)
    tells(caught.value, "out of memory", "one row")
    assert "smaller model" in caught.value.cure and bare(model)


def test_only_a_gpus_known_models_are_ever_checkpointed_beforehand(tiny):
    said = []
    assert resume.saving_memory(tiny[0], EIGHT, 2000, said.append) == {} and said == []


def test_other_errors_are_not_taken_for_a_lack_of_memory(tiny, tmp_path):
    class Broken(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            raise RuntimeError("something else")

    said = []
    with pytest.raises(RuntimeError, match="something else"):
        train_identity(*tiny, ROWS, [], tmp_path, EIGHT, callbacks=[Broken()], say=said.append, **QUIET)
    assert said == []


def test_several_gpus_in_sight_do_not_break_a_notebook(tiny, tmp_path, monkeypatch):
    """Without a launcher transformers counts every GPU it sees, and TRL then refuses to train."""
    monkeypatch.setattr(recipes, "sft_config", _seen(2, recipes.sft_config))
    trainer = build_trainer(*tiny, to_dataset(ROWS, [], EIGHT), tmp_path, EIGHT, **QUIET)
    assert trainer.args.n_gpu == 1


def _seen(gpus, make):
    def config(*args, **kwargs):
        made = make(*args, **kwargs)
        assert made.n_gpu <= 1
        made._n_gpu = gpus
        return made

    return config
