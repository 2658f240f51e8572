"""Models load, each in the number format of its device, or say why not before anything is lost."""

import json
import os
import sys
from dataclasses import replace

import pytest
import torch
import transformers

from helpers.__main__ import main
from helpers.errors import ModelError, ResourceError
from helpers.models import catalog, estimate, load, machine, template
from helpers.models.load import context_length, load_model, spec_of
from tests.fixtures import tells

QWEN = catalog.HUB_MODELS[0]
OUTSIDE = catalog.outside("mine")


@pytest.fixture
def folder(tiny, tmp_path):
    """A model folder on disk."""
    model, tokenizer = tiny
    model.save_pretrained(tmp_path / "mine")
    tokenizer.save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


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


def test_a_template_that_takes_no_system_text_is_adapted_when_loaded_and_a_broken_one_refused(folder):
    path = folder / "chat_template.jinja"
    path.write_text(
        "{{ bos_token if messages[0].role == 'user' else raise_exception('no') }}" + path.read_text("utf-8")
    )
    _, tokenizer = load_model(str(folder))
    assert "system text" in template.note(tokenizer)
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert "Be brief.\n\nHi" in tokenizer.apply_chat_template(talk, tokenize=False)
    path.write_text("{% for %}")
    with pytest.raises(ModelError) as caught:
        load_model(str(folder))
    tells(caught.value, str(folder), "chat template fails")


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


def test_a_folder_that_is_called_after_a_larger_model_is_measured_by_what_is_in_it(folder, monkeypatch):
    small = replace(machine.machine(), memory_free=10**8)  # less than any model of the table takes
    monkeypatch.setattr(machine, "machine", lambda: small)
    named = folder.rename(folder.with_name(QWEN.key))
    spec = spec_of(load_model(str(named))[0])
    assert spec.parameters < 10**7 and spec.shape is None and spec.maker != QWEN.maker
    assert spec.key not in {known.key for known in catalog.TABLE}, "recipes, licences and exports go by the name"


@pytest.fixture
def card(monkeypatch):
    """Make torch believe in a GPU of this compute capability, with this much free memory (GiB)."""

    def put(capability: tuple[int, int], free: float = 80.0):
        here = machine.Machine("cuda", "Tesla T4", int(free * catalog.GIB), capability[0] >= 8)
        monkeypatch.setattr(machine, "device", lambda: "cuda")
        monkeypatch.setattr(machine, "machine", lambda: here)

    return put


def test_a_gpu_takes_bfloat16_where_it_is_native_and_float16_before(card):
    card((9, 0))
    assert load.dtype_for(QWEN) is torch.bfloat16 and load.dtype_for(OUTSIDE) is torch.bfloat16
    card((7, 5))
    assert load.dtype_for(QWEN) is torch.float16
    assert load.dtype_for(catalog.EMBEDDED) is torch.float32


def test_a_cpu_repeats_the_embedded_model_in_float32_and_takes_bfloat16_for_larger_ones_where_it_has_it(monkeypatch):
    for native, larger in ((True, torch.bfloat16), (False, torch.float32)):
        here = machine.Machine("cpu", "a CPU", 2**34, native)
        monkeypatch.setattr(machine, "machine", lambda here=here: here)
        assert load.dtype_for(catalog.EMBEDDED) is torch.float32
        assert load.dtype_for(OUTSIDE) is torch.float32
        assert load.dtype_for(QWEN) is larger
    assert load.dtype_for(QWEN, torch.float32) is torch.float32


def test_a_format_that_the_device_does_not_have_is_refused(card):
    with pytest.raises(ResourceError) as caught:
        load.dtype_for(QWEN, torch.float16)
    tells(caught.value, "float16", "CPU")
    assert "torch.float32" in caught.value.cure
    card((7, 5))
    with pytest.raises(ResourceError) as caught:
        load.dtype_for(QWEN, torch.bfloat16)
    tells(caught.value, "bfloat16", "Tesla T4", "8.0")
    assert "torch.float16" in caught.value.cure


def test_four_bits_need_a_gpu_and_their_package(card, monkeypatch):
    with pytest.raises(ResourceError) as caught:
        load.four_bit_config(torch.bfloat16)
    tells(caught.value, "NVIDIA GPU")
    assert "--four-bit" in caught.value.cure
    card((9, 0))
    monkeypatch.setattr(transformers.utils, "is_bitsandbytes_available", lambda: False)
    with pytest.raises(ResourceError) as caught:
        load.four_bit_config(torch.bfloat16)
    tells(caught.value, "bitsandbytes")
    assert caught.value.cure == 'pip install -c constraints.txt -e ".[4bit]"'


def test_four_bits_are_nf4_with_double_quantisation(card, monkeypatch):
    card((9, 0))
    monkeypatch.setattr(transformers.utils, "is_bitsandbytes_available", lambda: True)
    monkeypatch.setitem(sys.modules, "bitsandbytes", sys)  # transformers looks only whether there is one
    try:
        found = load.four_bit_config(torch.float16)
    except ImportError:
        pytest.skip("this transformers wants to see bitsandbytes itself")
    assert (found.bnb_4bit_quant_type, found.bnb_4bit_use_double_quant) == ("nf4", True)
    assert found.load_in_4bit and found.bnb_4bit_compute_dtype is torch.float16


def test_too_little_memory_is_told_before_loading_and_what_would_fit(card):
    card((8, 0), free=10)
    with pytest.raises(ResourceError) as caught:
        load.check_memory(QWEN, torch.bfloat16)
    tells(caught.value, QWEN.key, "14.2 GiB", "10.0 GiB", "bfloat16")
    assert "MODEL='Qwen/Qwen2.5-3B-Instruct'" in caught.value.cure and "helpers check" in caught.value.cure
    load.check_memory(QWEN, torch.bfloat16, in_four_bit=True)
    load.check_memory(OUTSIDE, torch.bfloat16)
    card((8, 0), free=0.3)
    with pytest.raises(ResourceError) as caught:
        load.check_memory(QWEN, torch.bfloat16, in_four_bit=True)
    assert "4-bit" in caught.value.what and "MODEL='embedded'" in caught.value.cure
    card((8, 0), free=0.01)
    with pytest.raises(ResourceError) as caught:
        load.check_memory(QWEN, torch.bfloat16)
    assert caught.value.cure.startswith("close other programs") and "MODEL" not in caught.value.cure


def test_loading_refuses_before_it_reads_and_the_command_line_says_it_in_one_line(capsys, monkeypatch):
    small = replace(machine.machine(), memory_free=10**8)
    monkeypatch.setattr(machine, "machine", lambda: small)
    with pytest.raises(ResourceError) as caught:
        load_model("embedded")
    tells(caught.value, catalog.EMBEDDED.key, "0.5 GiB", "0.1 GiB")
    with pytest.raises(SystemExit) as ended:
        main(["ask", "Who are you?", "--four-bit", "--model", "embedded"])
    told = capsys.readouterr().err
    assert ended.value.code == 1 and told.count("\n") == 1 and "NVIDIA GPU" in told


def test_weights_are_counted_in_every_format():
    shape, count = QWEN.shape, QWEN.parameters
    assert estimate.weights_bytes(shape, "float32") == 2 * estimate.weights_bytes(shape, "bfloat16") == 4 * count
    assert estimate.weights_bytes(shape, "4-bit") < 0.4 * estimate.weights_bytes(shape, "float16")
