"""GGUF, the file format of llama.cpp: a model or a LoRA adapter written with the `gguf` package and read back.

Llama and Qwen2 with a byte-level BPE tokenizer, no more: any other is a matter for llama.cpp's own converter. The
format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors import safe_open

from helpers.errors import ExportError
from helpers.files import check_output, disk_errors, make_dir, read_json
from helpers.models.adapters import find_adapter
from helpers.models.load import base_of, spec_of
from helpers.models.template import end_of_turn

F16, F32, Q8_0 = (gguf.GGMLQuantizationType[name] for name in ("F16", "F32", "Q8_0"))
TYPES = {name: gguf.GGMLQuantizationType[name.upper()] for name in ("f16", "q8_0", "q4_0", "q4_1")}
ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2}
BITS = {"f16": 16, "q8_0": 8.5, "q4_0": 4.5, "q4_1": 5}  # a weight, the scales of its block included
CONVERTER = "merge it (--to merged), and convert that folder with llama.cpp's own: python convert_hf_to_gguf.py FOLDER"


@dataclass(frozen=True)
class Contents:
    """What was read back from a GGUF file: bytes, tensors by type, all tensor names, and its chat template."""

    size: int
    types: dict[str, int]
    names: tuple[str, ...]
    template: str


def check_type(quant: str) -> str:
    """``quant`` if it is one of `TYPES`; raises `ExportError`."""
    if quant not in TYPES:
        raise ExportError(f"{quant!r} is not a type that is written here", f"choose one of {', '.join(TYPES)}")
    return quant


def write_model(model, tokenizer, path: Path | str, quant: str = "q8_0", name: str = "") -> Contents:
    """Write a model in memory (without its adapter, if it carries one) as ``path``, whole or not at all.

    Matrices become ``quant`` (`TYPES`); in the 4-bit types the embeddings stay Q8_0 as in llama.cpp's files, and what
    is no matrix stays float32. ``name`` goes into the file, by default the base model's. A file that is there is
    replaced. Raises `ExportError` for a model that is not known here.
    """
    check_type(quant)
    base, path = base_of(model), Path(path)
    config, names = base.config, _names(base.config)
    tensors = {}
    for key, weight in base.state_dict().items():
        key = key.replace(".base_layer.", ".")
        if "lora_" in key or (key == "lm_head.weight" and config.tie_word_embeddings):
            continue
        if (there := names.get_name(key, try_suffixes=(".weight", ".bias"))) is None:
            raise ExportError(f"{key} has no place in a GGUF file of this architecture", CONVERTER)
        tensors[there] = (_type(there, weight, quant), _heads(key, weight, config))
    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[ARCHITECTURES[config.model_type]])
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name or spec_of(base).key)
    _add_keys(writer, base, quant)
    _add_tokenizer(writer, tokenizer, config)
    _write(writer, tensors, path)
    return _checked(path, tensors, tokenizer.chat_template)


def write_adapter(adapter: Path | str, model, path: Path | str) -> Contents:
    """Write the LoRA adapter in a run or adapter folder, trained on ``model``, as float32 in ``path``.

    Nothing is rounded. Raises `ExportError` for an adapter with more than plain LoRA matrices in it.
    """
    folder, path, config = find_adapter(adapter), Path(path), base_of(model).config
    told = read_json(folder / "adapter_config.json")
    more = [k for k in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias") if told.get(k)]
    if more:
        raise ExportError(f"{folder} is more than plain LoRA ({', '.join(more)})", "merge it: --to merged or --to gguf")
    names, tensors = _names(config), {}
    with safe_open(folder / "adapter_model.safetensors", "pt") as source:
        for key in source.keys():  # noqa: SIM118 (not a dict)
            module, _, side = key.removeprefix("base_model.model.").partition(".lora_")
            there = names.get_name(f"{module}.weight", try_suffixes=(".weight",))
            if there is None or side not in ("A.weight", "B.weight"):
                raise ExportError(f"{key} has no place in a GGUF adapter", "merge it: --to merged or --to gguf")
            weight = source.get_tensor(key).float()
            weight = _heads(f"{module}.weight", weight, config) if side[0] == "B" else weight
            tensors[f"{there}.lora_{side[0].lower()}"] = (F32, weight)
    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[ARCHITECTURES[config.model_type]])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    scale = told["r"] ** 0.5 if told.get("use_rslora") else 1.0  # the runner divides by the rank, not by its root
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(told["lora_alpha"]) * scale)
    _write(writer, tensors, path)
    return _checked(path, tensors, "")


def read_back(path: Path | str) -> Contents:
    """What stands in a GGUF file."""
    reader = gguf.GGUFReader(path)
    template = reader.get_field(gguf.Keys.Tokenizer.CHAT_TEMPLATE)
    types = dict(Counter(tensor.tensor_type.name for tensor in reader.tensors))
    names = tuple(tensor.name for tensor in reader.tensors)
    return Contents(Path(path).stat().st_size, types, names, template.contents() if template else "")


def _names(config) -> gguf.TensorNameMap:
    kind, rope = config.model_type, getattr(config, "rope_parameters", None) or {}
    plain = rope.get("rope_type", "default") == "default" and not getattr(config, "use_sliding_window", False)
    if kind not in ARCHITECTURES or not plain:
        raise ExportError(f"a model of the kind {kind!r}{'' if plain else ' with these positions'}", CONVERTER)
    return gguf.get_tensor_name_map(ARCHITECTURES[kind], config.num_hidden_layers)


def _type(name: str, weight: torch.Tensor, quant: str) -> gguf.GGMLQuantizationType:
    if weight.dim() < 2:
        return F32
    if quant != "f16" and weight.shape[-1] % 32:  # a block has 32 weights
        return F16
    return Q8_0 if quant[:2] == "q4" and name in ("token_embd.weight", "output.weight") else TYPES[quant]


def _heads(name: str, weight: torch.Tensor, config) -> torch.Tensor:
    # llama.cpp turns neighbouring pairs of a Llama's head, transformers its first half with its second.
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads is None or config.model_type != "llama":
        return weight
    split = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return split.swapaxes(1, 2).reshape(weight.shape)


def _add_keys(writer: gguf.GGUFWriter, base, quant: str) -> None:
    config, spec = base.config, spec_of(base)
    keys = {
        "license": spec.licence.lower(), "languages": list(spec.languages), "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings, "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size, "head_count": config.num_attention_heads,
        "head_count_kv": config.num_key_value_heads, "rope_freq_base": config.rope_parameters["rope_theta"],
        "rope_dimension_count": config.hidden_size // config.num_attention_heads,
        "layer_norm_rms_eps": config.rms_norm_eps, "vocab_size": config.vocab_size,
        "file_type": gguf.LlamaFileType[f"MOSTLY_{quant.upper()}"], "quantization_version": gguf.GGML_QUANT_VERSION,
    }  # fmt: skip
    for key, value in keys.items():
        getattr(writer, f"add_{key}")(value)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer, config) -> None:
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    splits = told["pre_tokenizer"] or {}
    kinds = {splits.get("type"), *(part["type"] for part in splits.get("pretokenizers", []))}
    known = config.model_type == "qwen2" or kinds <= {"Sequence", "ByteLevel", "Digits"}
    if told["model"]["type"] != "BPE" or "ByteLevel" not in kinds or not known:
        raise ExportError("a tokenizer that splits text in a way not known here", CONVERTER)
    tokens = [f"[PAD{i}]" for i in range(config.vocab_size)]
    types = [gguf.TokenType.UNUSED] * config.vocab_size
    for token, i in told["model"]["vocab"].items():
        tokens[i], types[i] = token, gguf.TokenType.NORMAL
    for added in told["added_tokens"]:
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], kind
    split = "qwen2" if config.model_type == "qwen2" else "smollm" if "Digits" in kinds else "gpt-2"
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in told["model"]["merges"]])
    for name in ("bos", "eos", "unk", "pad"):
        if (number := getattr(tokenizer, f"{name}_token_id")) is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    if (end := end_of_turn(tokenizer)) != tokenizer.eos_token_id:
        writer.add_eot_token_id(end)
    writer.add_add_bos_token(False)  # the chat template writes whatever stands at the beginning
    writer.add_add_space_prefix(False)
    writer.add_chat_template(tokenizer.chat_template)


def _write(writer: gguf.GGUFWriter, tensors: dict, path: Path) -> None:
    # A tensor at a time: only one of them is in memory twice.
    for name, (kind, weight) in tensors.items():
        shape, plain = tuple(weight.shape), {F16: np.float16, F32: np.float32}.get(kind, np.uint8)
        shape = shape if plain is not np.uint8 else gguf.quant_shape_to_byte_shape(shape, kind)
        writer.add_tensor_info(name, shape, np.dtype(plain), int(np.prod(shape)) * np.dtype(plain).itemsize, kind)
    make_dir(check_output(path).parent)
    with disk_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        new = Path(scratch, "new")
        writer.write_header_to_file(new)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for kind, weight in tensors.values():
            writer.write_tensor_data(gguf.quants.quantize(weight.detach().float().cpu().numpy(), kind))
        writer.close()
        new.replace(path)


def _checked(path: Path, tensors: dict, template: str) -> Contents:
    found = read_back(path)
    if found.names != tuple(tensors) or found.template != template:
        path.unlink()
        raise ExportError(f"{path} did not read back as it was written", "write it again, on another disk if you can")
    return found
