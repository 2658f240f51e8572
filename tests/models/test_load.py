"""Models load or say why not; adapters go on, come off and are refused where they do not belong."""

import json
import os

import pytest
import torch

from helpers import files
from helpers.chat import generate
from helpers.errors import AdapterError, DiskError, ModelError
from helpers.models import catalog
from helpers.models.adapters import BASE_RECORD, adapter_off, load_adapter, save_adapter, take_off
from helpers.models.load import context_length, fingerprint, load_model, spec_of
from tests.fixtures import TINY, bare, tells, tiny_model, wrap

QUESTIONS = ["Who are you?", "Who wrote Hamlet?"]


def ask(model, tokenizer, **how):
    return generate.answers(model, tokenizer, QUESTIONS, max_new_tokens=6, **how)


@pytest.fixture
def folder(tiny, tmp_path):
    """A model folder on disk."""
    model, tokenizer = tiny
    model.save_pretrained(tmp_path / "mine")
    tokenizer.save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


# Loading


def test_a_model_folder_loads_and_keeps_its_name(folder):
    model, tokenizer = load_model(str(folder))
    assert spec_of(model).key == "mine" and model.dtype is torch.float32 and not model.training
    assert tokenizer.pad_token and context_length(model) == 2048


def test_a_model_without_a_chat_template_is_refused(folder):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError) as caught:
        load_model(str(folder))
    tells(caught.value, str(folder), "chat template")
    assert "instruct model" in caught.value.cure


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError) as caught:
        load_model(str(tmp_path))
    tells(caught.value, str(tmp_path), "config.json")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_damaged_model_folder_is_named(folder, name):
    os.truncate(folder / name, (folder / name).stat().st_size // 2)
    with pytest.raises(ModelError) as caught:
        load_model(str(folder))
    tells(caught.value, str(folder), "could not be loaded")


def test_pickled_weights_and_code_from_the_folder_are_never_loaded(folder):
    state = load_model(str(folder))[0].state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ModelError) as caught:
        load_model(str(folder))
    tells(caught.value, str(folder))
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "unknown", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w').write('x')")
    with pytest.raises(ModelError):
        load_model(str(folder))
    assert not (folder / "ran").exists()


# Adapters


def test_an_untrained_adapter_answers_as_the_base_model(base):
    model, tokenizer = base
    before = ask(model, tokenizer)
    assert ask(wrap(model), tokenizer) == before


def test_switched_off_an_adapter_leaves_the_base_model_and_back_on_it_is_there(base):
    model, tokenizer = base
    before = ask(model, tokenizer)
    tuned = wrap(model, strength=0.1)
    changed = ask(tuned, tokenizer)
    assert changed != before, "the adapter of this test does nothing"
    assert ask(tuned, tokenizer, adapter=False) == before
    with adapter_off(tuned):
        assert ask(tuned, tokenizer) == before
    assert ask(tuned, tokenizer) == changed
    assert bare(take_off(tuned)) and ask(model, tokenizer) == before


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
    assert f"MODEL='{TINY.key}'" in caught.value.cure or not record
    assert bare(model) and fingerprint(model) == before and not hasattr(model, "peft_config")


def test_models_of_one_shape_are_told_apart_and_one_model_in_two_number_formats_is_not(tiny):
    model, tokenizer = tiny
    assert fingerprint(model) == fingerprint(wrap(tiny_model(tokenizer)))
    assert fingerprint(model) == fingerprint(tiny_model(tokenizer).to(torch.bfloat16))
    assert fingerprint(model) != fingerprint(tiny_model(tokenizer, seed=1))


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
