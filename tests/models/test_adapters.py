"""Adapters go on, come off and are refused where they do not belong; one thread at a time uses a model."""

import json
import os
import threading

import pytest
import torch

from helpers import files
from helpers.chat import generate
from helpers.errors import AdapterError, BusyError, DiskError
from helpers.models import catalog
from helpers.models.adapters import BASE_RECORD, adapter_scaled, load_adapter, model_lock, save_adapter, take_off
from helpers.models.load import fingerprint
from tests.fixtures import TINY, bare, tells, tiny_model, wrap

QUESTIONS = ["Who are you?", "Who wrote Hamlet?"]


def ask(model, tokenizer, **how):
    return generate.answers(model, tokenizer, QUESTIONS, max_new_tokens=6, **how)


def test_an_untrained_adapter_answers_as_the_base_model(tiny):
    model, tokenizer = tiny
    before = ask(model, tokenizer)
    assert ask(wrap(model), tokenizer) == before


def test_switched_off_an_adapter_leaves_the_base_model_and_back_on_it_is_there(tiny):
    model, tokenizer = tiny
    before = ask(model, tokenizer)
    tuned = wrap(model, strength=0.5)
    changed = ask(tuned, tokenizer)
    assert changed != before, "the adapter of this test does nothing"
    assert ask(tuned, tokenizer, adapter=False) == before
    with adapter_scaled(tuned, 0):
        assert ask(tuned, tokenizer) == before
    assert ask(tuned, tokenizer) == changed
    assert bare(take_off(tuned)) and ask(model, tokenizer) == before


def test_the_base_model_answers_as_itself_also_through_the_layers_that_a_training_left_in_it(tiny):
    """Keep rows are the base model's answers: made after a training, they must not be the tuned model's."""
    model, tokenizer = tiny
    asked = ["Who are you?", "What is two and two?"]
    before = generate.answers(model, tokenizer, asked, max_new_tokens=8)
    tuned = wrap(model, strength=0.5)
    trained = [weight.requires_grad for weight in tuned.parameters()]
    after = generate.answers(model, tokenizer, asked, max_new_tokens=8)
    assert after != before, "the adapter changes nothing, so this shows nothing"
    assert generate.answers(model, tokenizer, asked, max_new_tokens=8, adapter=False) == before
    assert generate.answers(model, tokenizer, asked, max_new_tokens=8) == after
    assert [weight.requires_grad for weight in tuned.parameters()] == trained


def test_a_saved_adapter_answers_the_same_and_names_its_base_model_not_a_path(tiny, tmp_path):
    model, tokenizer = tiny
    tuned = wrap(model, strength=0.5)
    said = ask(tuned, tokenizer)
    saved = save_adapter(tuned, tmp_path / "run" / "adapter")
    expected = {"adapter_config.json", "adapter_model.safetensors", BASE_RECORD}
    assert {p.name for p in saved.iterdir()} == expected, "safetensors and JSON only"
    assert json.loads((saved / "adapter_config.json").read_text())["base_model_name_or_path"] == TINY.key
    fresh = tiny_model(tokenizer)
    for path in (saved, saved.parent):  # the adapter folder or its run; and a second time in the same notebook
        again = load_adapter(fresh, path)
        assert ask(again, tokenizer) == said and not again.training
    assert str(tmp_path) not in (saved / "adapter_config.json").read_text()


def test_an_adapter_can_be_stored_in_half_the_bytes(tiny, tmp_path):
    tuned = wrap(tiny[0], strength=0.5)
    whole = save_adapter(tuned, tmp_path / "a") / "adapter_model.safetensors"
    half = save_adapter(tuned, tmp_path / "b", dtype=torch.bfloat16) / "adapter_model.safetensors"
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    load_adapter(tiny_model(tiny[1]), tmp_path / "b")


@pytest.mark.parametrize("record", [True, False], ids=["by its record", "by its shapes"])
def test_an_adapter_of_another_base_model_is_refused_and_the_model_stays_clean(base, tmp_path, record):
    model, tokenizer = base
    folder = save_adapter(wrap(tiny_model(tokenizer), strength=0.5), tmp_path / "adapter")
    if not record:
        (folder / BASE_RECORD).unlink()
    before = fingerprint(model)
    with pytest.raises(AdapterError) as caught:
        load_adapter(model, folder)
    tells(caught.value, str(folder), catalog.EMBEDDED.key, *([TINY.key] if record else []))
    assert f"the folder of {TINY.key} as MODEL" in caught.value.cure or not record
    assert bare(model) and fingerprint(model) == before and not hasattr(model, "peft_config")


@pytest.mark.parametrize(
    ("name", "size"),
    [("adapter_model.safetensors", 0.5), ("adapter_model.safetensors", 0.0), ("adapter_config.json", 0.5)],
)
def test_an_adapter_that_was_cut_off_is_named_and_the_model_stays_clean(tiny, tmp_path, name, size):
    model, tokenizer = tiny
    folder = save_adapter(wrap(tiny_model(tokenizer)), tmp_path / "adapter")
    os.truncate(folder / name, int((folder / name).stat().st_size * size))
    with pytest.raises(AdapterError) as caught:
        load_adapter(model, folder)
    tells(caught.value, str(folder))
    assert bare(model)


def test_an_adapter_made_by_ms_swift_loads_and_its_pickles_are_not_read(tiny, tmp_path):
    """What ms-swift 4.6 leaves: PEFT's two files among its own and torch's, with another PEFT and a dropout."""
    model, tokenizer = tiny
    tuned = wrap(tiny_model(tokenizer), strength=0.2)
    folder = tmp_path / "output" / "v0-20260101-000000" / "checkpoint-80"
    tuned.save_pretrained(str(folder))
    config = json.loads((folder / "adapter_config.json").read_text())
    names = ["k_proj", "o_proj", "q_proj", "gate_proj", "v_proj", "up_proj", "down_proj"]
    config |= {"peft_version": "0.20.0", "lora_dropout": 0.05, "lora_alpha": 64.0, "modules_to_save": []}
    config |= {"base_model_name_or_path": "/somebody/elses/folder", "target_modules": names, "velora_config": None}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    for name in ("args.json", "additional_config.json", "trainer_state.json"):
        (folder / name).write_text('{"lora_dtype": null}')
    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (folder / name).write_bytes(b"not a pickle: reading it would fail")
    loaded = load_adapter(model, folder)
    assert ask(loaded, tokenizer) == ask(tuned, tokenizer) != ask(take_off(loaded), tokenizer)


def test_a_folder_without_an_adapter_is_refused(tiny, tmp_path):
    for path, word in ((tmp_path / "nowhere", "no such folder"), (tmp_path, "adapter_config.json")):
        with pytest.raises(AdapterError) as caught:
            load_adapter(tiny[0], path)
        tells(caught.value, str(path), word)


def test_a_full_disk_keeps_the_adapter_that_was_there(tiny, tmp_path, full_disk):
    model, tokenizer = tiny
    tuned = wrap(model, strength=0.5)
    saved = save_adapter(tuned, tmp_path / "adapter")
    before = files.sha256(saved / "adapter_model.safetensors")
    other = wrap(tiny_model(tokenizer), seed=1, strength=0.5)
    with full_disk("fsync"), pytest.raises(DiskError) as caught:
        save_adapter(other, saved)
    tells(caught.value, str(tmp_path), "disk is full")
    assert files.sha256(saved / "adapter_model.safetensors") == before
    assert [p.name for p in tmp_path.iterdir() if "adapter" in p.name] == ["adapter"]


def test_a_really_full_disk_leaves_no_half_adapter(tiny, small_disk):
    folder = small_disk(8192)
    with pytest.raises(DiskError) as caught:
        save_adapter(wrap(tiny[0]), folder / "adapter")
    tells(caught.value, str(folder), "disk is full")
    assert list(folder.iterdir()) == []


def test_a_second_thread_is_told_what_the_model_is_doing(tiny):
    model, found = tiny[0], []

    def second():
        try:
            with model_lock(model, wait=False):
                found.append("got it")
        except BusyError as e:
            found.append(e)

    def run():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    with model_lock(model, "training"), model_lock(model, "an answer inside it"):
        run()
    tells(found[0], "busy", "an answer inside it")
    run()
    assert found[1] == "got it"


def test_an_adapter_and_its_base_model_share_one_lock(tiny):
    model, found = tiny[0], []
    tuned = wrap(model)

    def second():
        with pytest.raises(BusyError), model_lock(model, wait=False):
            pass
        found.append(True)

    with model_lock(tuned, "training"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert found == [True]


def test_the_lock_is_free_after_a_failure(tiny):
    with pytest.raises(ValueError), model_lock(tiny[0], "failing"):
        raise ValueError
    done = []
    thread = threading.Thread(target=lambda: done.append(model_lock(tiny[0], wait=False).__enter__()))
    thread.start()
    thread.join()
    assert done == [None]
