"""Models of the known shapes with random weights, for measuring time and memory: never for answers."""

import torch
from transformers import BitsAndBytesConfig, Qwen2Config, Qwen2ForCausalLM
from transformers.quantizers import AutoHfQuantizer

from bench.common import settle
from helpers.models import catalog, estimate, machine

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "4-bit": torch.bfloat16}


def random_model(spec: catalog.ModelSpec, method: estimate.Method):
    """A model of ``spec``'s shape with random weights on this device, in ``method``'s number format."""
    s = spec.shape
    config = Qwen2Config(
        hidden_size=s.hidden, num_hidden_layers=s.layers, num_attention_heads=s.heads, num_key_value_heads=s.kv_heads,
        intermediate_size=s.intermediate, vocab_size=s.vocab, tie_word_embeddings=s.tied, max_position_embeddings=32768,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(DTYPES[method.weights])
    try:
        with torch.device(machine.device()):
            model = Qwen2ForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)
    model.identity_spec = spec
    assert sum(p.numel() for p in model.parameters()) == spec.parameters
    return (in_four_bits(model) if method.weights == "4-bit" else model).eval()


def in_four_bits(model):
    """``model`` with bitsandbytes' NF4 in place of its linear layers, as transformers does when it loads one."""
    import bitsandbytes as bnb

    named = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "lm_head" not in n]
    for name, old in named:
        options = {"compute_dtype": torch.bfloat16, "quant_type": "nf4", "compress_statistics": True}
        new = bnb.nn.Linear4bit(old.in_features, old.out_features, bias=old.bias is not None, device="meta", **options)
        kept = {"requires_grad": False, "quant_type": "nf4", "compress_statistics": True}
        new.weight = bnb.nn.Params4bit(old.weight.data, **kept).to(old.weight.device)
        if old.bias is not None:
            new.bias = old.bias
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, new)
        old.weight = None
    kept = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": torch.bfloat16}
    settings = BitsAndBytesConfig(load_in_4bit=True, **kept)
    model.is_loaded_in_4bit = model.is_quantized = True
    model.hf_quantizer, model.quantization_method = AutoHfQuantizer.from_config(settings), settings.quant_method
    settle()
    return model
