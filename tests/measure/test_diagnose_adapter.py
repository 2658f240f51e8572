"""The diagnosis of an adapter: not active, not this run's, merged, rounded, or no numbers any more."""

import shutil

import torch
from safetensors.torch import load_file, save_file

from helpers import runs
from helpers.measure import diagnose
from helpers.models.adapters import BASE_RECORD, load_adapter, save_adapter, take_off
from tests.fixtures import tiny_model, wrap
from tests.runs_to_break import causes, quick_to_learn, reference, sealed, trained, whole


def with_weights(run, value):
    path = run / "adapter" / "adapter_model.safetensors"
    weights = {k: torch.full_like(w, value) if "lora_B" in k else w for k, w in load_file(path).items()}
    save_file(weights, path)
    return sealed(run)


def test_weights_that_are_no_numbers_mean_a_rate_too_high(tmp_path):
    assert causes(with_weights(reference(tmp_path), float("nan"))) == [diagnose.HIGH_RATE]


def test_an_adapter_that_is_all_zero_is_not_active(tmp_path):
    (found,) = diagnose.diagnose(with_weights(reference(tmp_path), 0.0))
    assert found.cause == diagnose.INACTIVE and "B weights 0 (" in found.evidence and "zero" in found.cure
    whole(found)


def inactive(run, model, *words):
    (found,) = diagnose.diagnose(run, model)
    assert found.cause == diagnose.INACTIVE
    assert all(word in found.evidence for word in words), found.evidence
    whole(found)


def test_every_way_of_an_adapter_not_to_be_active(tiny, sound, tmp_path):
    (model, tokenizer), run = tiny, sound
    other = trained(tiny, tmp_path / "other", seed=7)
    inactive(run, model, "no adapter layer")
    tuned = load_adapter(model, run)
    assert causes(run, tuned) == []
    with tuned.disable_adapter():
        inactive(run, tuned, "switched off")
    assert causes(run, tuned) == []
    inactive(run, load_adapter(model, other), "other weights")
    inactive(run, wrap(take_off(model)), "zero", "untrained")
    inactive(run, wrap(take_off(model), strength=0.5), "other weights")
    inactive(run, load_adapter(tiny_model(tokenizer, seed=1), bare_of_base(run)), "not the tiny-llama")


def bare_of_base(run):
    copied = run.parent / "elsewhere"
    shutil.copytree(run / "adapter", copied)
    (copied / BASE_RECORD).unlink()  # `load_adapter` would refuse it
    return copied


def test_an_adapter_rounded_for_storage_is_still_the_same(base, tmp_path):
    model, _ = base
    tuned = load_adapter(model, runs.reference_run())
    run = reference(tmp_path)
    save_adapter(tuned, run / "adapter", dtype=torch.float16)
    assert causes(sealed(run), tuned) == []


def test_a_merged_model_counts_by_what_it_says(embedded, by_heart):
    model, tokenizer = quick_to_learn(embedded[1]), embedded[1]
    before = diagnose.diagnose(by_heart, model, tokenizer)
    assert any(f.cause == diagnose.INACTIVE and "0 of 2 trained answers" in f.evidence for f in before)
    merged = load_adapter(model, by_heart).merge_and_unload()
    assert diagnose.INACTIVE not in causes(by_heart, merged, tokenizer)
