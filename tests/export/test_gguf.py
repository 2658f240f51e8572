"""What is written as GGUF reads back as it was, and what cannot be written says so and leaves nothing behind."""

import gguf as package
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import files
from helpers.errors import DiskError, ExportError
from helpers.export import gguf
from helpers.models.adapters import save_adapter
from tests.fixtures import TINY, tells, wrap


def tensors(path) -> dict[str, np.ndarray]:
    """Every tensor of a file, dequantised, in the shape that PyTorch gives it."""
    reader = package.GGUFReader(path)
    return {t.name: package.quants.dequantize(t.data, t.tensor_type).reshape(t.shape[::-1]) for t in reader.tensors}


@pytest.fixture
def tiny_qwen(embedded):
    """A random two-layer Qwen2, with a tokenizer that is not its own."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2Config(vocab_size=len(embedded[1]), num_key_value_heads=2, tie_word_embeddings=False, **sizes)
    model = Qwen2ForCausalLM(config)
    for name, weight in model.named_parameters():
        torch.nn.init.normal_(weight) if name.endswith("bias") else None
    model.identity_spec = TINY
    return model.eval(), embedded[1]


@pytest.mark.slow
def test_the_embedded_models_weights_survive_q4_1_to_the_bit_since_they_came_on_that_grid(embedded, tmp_path):
    model, tokenizer = embedded
    found = gguf.write_model(model, tokenizer, tmp_path / "base.gguf", "q4_1")
    assert found.types == {"Q8_0": 1, "Q4_1": 210, "F32": 61}
    assert found.template == tokenizer.chat_template and found.size == (tmp_path / "base.gguf").stat().st_size
    back, state = tensors(tmp_path / "base.gguf"), model.state_dict()
    for there, here in (
        ("token_embd", "embed_tokens"), ("blk.3.ffn_down", "layers.3.mlp.down_proj"), ("output_norm", "norm"),
    ):  # fmt: skip
        assert np.array_equal(back[f"{there}.weight"], state[f"model.{here}.weight"].numpy())


@pytest.mark.parametrize(("quant", "error"), [("f16", 1e-3), ("q8_0", 0.01), ("q4_0", 0.2), ("q4_1", 0.2)])
def test_a_qwen_reads_back_within_the_rounding_of_its_type(tiny_qwen, tmp_path, quant, error):
    model, tokenizer = tiny_qwen
    found = gguf.write_model(model, tokenizer, tmp_path / "q.gguf", quant, name="Tavi")
    back, state = tensors(tmp_path / "q.gguf"), model.state_dict()
    assert len(found.names) == len(state) == 27
    assert np.array_equal(back["blk.1.attn_q.bias"], state["model.layers.1.self_attn.q_proj.bias"].numpy())
    for there, here in (("blk.0.attn_q", "model.layers.0.self_attn.q_proj"), ("output", "lm_head")):
        weight = state[f"{here}.weight"].numpy()
        assert np.abs(back[f"{there}.weight"] - weight).max() <= error * np.abs(weight).max()
    reader = package.GGUFReader(tmp_path / "q.gguf")
    told = {name: reader.get_field(name).contents() for name in reader.fields}
    assert told["general.architecture"] == "qwen2" and told["general.name"] == "Tavi"
    assert told["qwen2.attention.head_count_kv"] == 2 and told["tokenizer.ggml.pre"] == "qwen2"
    assert told["tokenizer.ggml.tokens"][tokenizer.eos_token_id] == tokenizer.eos_token
    assert told["tokenizer.ggml.token_type"][tokenizer.eos_token_id] == package.TokenType.CONTROL


def test_a_base_is_written_without_the_adapter_that_lies_on_it(tiny, tmp_path):
    model, tokenizer = tiny
    gguf.write_model(model, tokenizer, tmp_path / "bare.gguf", "f16")
    gguf.write_model(wrap(model, strength=1.0), tokenizer, tmp_path / "under.gguf", "f16")
    assert files.sha256(tmp_path / "bare.gguf") == files.sha256(tmp_path / "under.gguf")


def test_an_adapter_keeps_every_bit_and_its_scale(tiny, tmp_path):
    model = wrap(tiny[0], strength=0.5)
    folder = save_adapter(model, tmp_path / "adapter")
    found = gguf.write_adapter(folder, model, tmp_path / "a.gguf")
    back, weights = tensors(tmp_path / "a.gguf"), load_file(folder / "adapter_model.safetensors")
    assert found.types == {"F32": len(weights)}
    key = "base_model.model.model.layers.1.mlp.up_proj.lora_{}.weight"
    for side in "AB":
        assert np.array_equal(back[f"blk.1.ffn_up.weight.lora_{side.lower()}"], weights[key.format(side)].numpy())
    alpha = package.GGUFReader(tmp_path / "a.gguf").get_field("adapter.lora.alpha").contents()
    assert alpha == model.peft_config["default"].lora_alpha


@pytest.mark.parametrize("entry", ["use_dora", "modules_to_save", "alpha_pattern"])
def test_an_adapter_that_is_more_than_plain_lora_is_refused(tiny, tmp_path, entry):
    import json

    model = wrap(tiny[0])
    folder = save_adapter(model, tmp_path / "adapter")
    config = folder / "adapter_config.json"
    files.write_json(config, json.loads(config.read_text()) | {entry: {"lm_head": 1}})
    with pytest.raises(ExportError) as caught:
        gguf.write_adapter(folder, model, tmp_path / "a.gguf")
    tells(caught.value, entry)
    assert not (tmp_path / "a.gguf").exists()


def test_a_tensor_without_a_place_is_refused(tiny, tmp_path):
    model = wrap(tiny[0])
    folder = save_adapter(model, tmp_path / "adapter")
    path = folder / "adapter_model.safetensors"
    save_file(load_file(path) | {"base_model.model.score.lora_A.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(ExportError) as caught:
        gguf.write_adapter(folder, model, tmp_path / "a.gguf")
    tells(caught.value, "score")


def test_another_architecture_is_left_to_llama_cpps_own_converter(tiny, tmp_path):
    model, tokenizer = tiny
    model.config.model_type = "gpt_neox"
    with pytest.raises(ExportError) as caught:
        gguf.write_model(model, tokenizer, tmp_path / "m.gguf")
    tells(caught.value, "gpt_neox")
    assert "convert_hf_to_gguf.py" in caught.value.cure and not list(tmp_path.glob("*.gguf"))


def test_an_unknown_type_is_refused_and_a_file_that_is_there_stays(tiny, tmp_path):
    (tmp_path / "m.gguf").write_text("mine")
    with pytest.raises(ExportError) as caught:
        gguf.write_model(*tiny, tmp_path / "m.gguf", "q3_k")
    tells(caught.value, "'q3_k'")
    assert (tmp_path / "m.gguf").read_text() == "mine"


@pytest.mark.parametrize("end", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_conversion_that_is_cut_off_leaves_nothing_half_written(tiny, tmp_path, monkeypatch, end):
    real, calls = package.quants.quantize, []

    def breaks(*args):
        calls.append(1)
        if len(calls) > 5:
            raise end
        return real(*args)

    monkeypatch.setattr(package.quants, "quantize", breaks)
    with pytest.raises(KeyboardInterrupt if end is KeyboardInterrupt else DiskError):
        gguf.write_model(*tiny, tmp_path / "out" / "m.gguf", "f16")
    assert list((tmp_path / "out").iterdir()) == []
