"""Base models in memory: load one, and what there is to know of a loaded one. Adapters are in `adapters`.

Which model a choice means is settled in `locate`. No pickles and no remote code are ever loaded.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from peft import PeftModel

from helpers.errors import ModelError, ResourceError
from helpers.models import catalog, estimate, locate, machine, template

AGAIN = "copy the model's folder again, whole; one in the Hub's cache: delete it and load the model again"
SAMPLE = 1024  # weights of every tensor that a fingerprint is made of, at most


def load_model(
    choice: str | None = "auto", dtype: torch.dtype | None = None, four_bit: bool = False
) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]:
    """Load a base model and its tokenizer onto this machine's device, in eval mode. `spec_of` tells which model it is.

    `locate.resolve` says what ``choice`` may be; a Hub id that is not in the cache is downloaded. ``dtype`` replaces
    the device's own number format (`dtype_for`), ``four_bit`` holds the weights in 4 bits (`four_bit_config`).
    Raises `ModelError` if the model is missing, not loadable, not whole (`_check_weights`), has no safetensors or no
    chat template that works (`template.adapt`), and `ResourceError` for a format or an amount of memory that this
    device does not have.
    """
    machine.set_threads()
    machine.keep_memory()
    machine.plain_attention()
    spec, where, _ = locate.resolve(choice)
    dtype = dtype_for(spec, dtype)
    how = {"quantization_config": four_bit_config(dtype), "device_map": {"": 0}} if four_bit else {}
    check_memory(spec, dtype, four_bit)
    folder = where if isinstance(where, Path) else locate.fetch(spec)
    how |= {"dtype": dtype, "use_safetensors": True, "trust_remote_code": False, "local_files_only": True}
    how["ignore_mismatched_sizes"] = True  # `_check_weights` refuses them, by name
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        model, told = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **how)
    except Exception as e:  # each library underneath has its own types; some raise a bare Exception for a damaged file
        own = "custom code" in str(e) or "trust_remote_code" in str(e)
        cure = "it brings code of its own, which is never run here: choose another model" if own else AGAIN
        raise ModelError(f"{folder} could not be loaded ({locate.reason(e)})", cure) from e
    _check_weights(folder, model, told)
    template.adapt(tokenizer, where, model.get_input_embeddings().num_embeddings)
    revision = spec.revision if folder == where else folder.name  # the Hub's cache names its folders after commits
    model.identity_spec = replace(spec, revision=revision, parameters=spec.parameters or model.num_parameters())
    return (model if four_bit else model.to(machine.device())).eval(), tokenizer


def _check_weights(folder: Path, model: torch.nn.Module, told: dict) -> None:
    """Raise `ModelError` for tensors that are missing, of another shape, or hold NaN; ``told`` by loading."""
    other = {name: f"{name} is {tuple(here)}, not {tuple(due)}" for name, here, due in told["mismatched_keys"]}
    layers = [name for name in sorted(told["unexpected_keys"]) if re.search(r"\blayers\.\d+\.", name)]
    for what, found in (
        ("are missing", sorted(told["missing_keys"])),
        ("are in the file, but have no place in the model of config.json", layers),
        ("have another shape than config.json says", [other[name] for name in sorted(other)]),
        ("hold values that are no numbers", not_finite(model.named_parameters())),
    ):
        if found:
            total = sum(1 for _ in model.parameters())
            count = f"{len(found)} of {total}" if len(found) <= total else f"{len(found)}"
            raise ModelError(f"{folder}: {count} tensors {what}, the first: {found[0]}", AGAIN)


def not_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> list[str]:
    """The names of the tensors that hold NaN or infinity, told by their sums, which is quicker than a look at each."""
    wide = {torch.float16: torch.float32}  # sums overflow in float16
    return [name for name, w in tensors if not w.detach().sum(dtype=wide.get(w.dtype)).float().isfinite()]


def dtype_for(spec: catalog.ModelSpec, asked: torch.dtype | None = None) -> torch.dtype:
    """The number format for ``spec`` here, or the one ``asked`` for.

    float32 for the embedded model, whose results can be repeated bit by bit, and on a CPU for models outside the table.
    Otherwise bfloat16 where the hardware has it, else float16 on a GPU and float32 on a CPU. Raises `ResourceError` for
    bfloat16 on a GPU that only emulates it, and for float16 on a CPU.
    """
    here = machine.machine()
    native = torch.bfloat16 if here.bf16 else torch.float16 if here.device == "cuda" else torch.float32
    if asked is None:
        return torch.float32 if spec == catalog.EMBEDDED or (here.device == "cpu" and not spec.shape) else native
    if asked is torch.bfloat16 and here.device == "cuda" and native is not asked:
        what = f"bfloat16 needs a GPU of compute capability 8.0 (Ampere) or newer, and {here.name} is older"
        raise ResourceError(what, "leave dtype out, or give dtype=torch.float16")
    if asked is torch.float16 and here.device == "cpu":
        what = "float16 is a format for GPUs: a CPU is slow in it, and training overflows"
        raise ResourceError(what, "leave dtype out, or give dtype=torch.float32")
    return asked


def four_bit_config(dtype: torch.dtype) -> transformers.BitsAndBytesConfig:
    """transformers' configuration for 4-bit weights, computing in ``dtype``: NF4 with double quantisation.

    Source: QLoRA, arXiv:2305.14314, section 3. Raises `ResourceError` without CUDA or bitsandbytes.
    """
    if machine.device() != "cuda":
        cure = "leave four_bit (--four-bit) out; on a machine with a GPU install torch's CUDA build"
        raise ResourceError("4-bit weights need an NVIDIA GPU, and torch sees none here", cure)
    if not transformers.utils.is_bitsandbytes_available():
        missing = "4-bit weights need the package bitsandbytes, which is not installed"
        raise ResourceError(missing, 'pip install -c constraints.txt -e ".[4bit]"')
    nf4 = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    return transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype, **nf4)


def check_memory(spec: catalog.ModelSpec, dtype: torch.dtype, in_four_bit: bool = False) -> None:
    """Refuse a model of the table whose weights alone are more than the memory now free; raises `ResourceError`."""
    here, name = machine.machine(), "4-bit" if in_four_bit else str(dtype).removeprefix("torch.")
    if spec.shape is None or (needed := estimate.weights_bytes(spec.shape, name)) <= here.memory_free:
        return
    fit = [s for s in catalog.TABLE if estimate.weights_bytes(s.shape, name) <= here.memory_free]
    other = f", or take MODEL={'embedded' if fit[-1] == catalog.EMBEDDED else fit[-1].hub_id!r}" if fit else ""
    free = f"{here.memory_free / catalog.GIB:.1f} GiB are free on {here.name}"
    what = f"{spec.key} needs {needed / catalog.GIB:.1f} GiB for its weights in {name}, and {free}"
    raise ResourceError(what, f"close other programs and notebooks{other}; python -m helpers check shows what fits")


def base_of(model: torch.nn.Module) -> torch.nn.Module:
    """The base model under a PEFT wrapper, or the model itself."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def spec_of(model: torch.nn.Module) -> catalog.ModelSpec:
    """The `ModelSpec` the model was loaded with; the embedded one for a model that `load_model` did not make."""
    return getattr(base_of(model), "identity_spec", catalog.EMBEDDED)


def fingerprint(model: torch.nn.Module) -> str:
    """What tells a base model from any other: hashes over a sample of all its tensors; `same_base` compares two.

    Adapter layers do not count, nor whether an output layer that equals the embedding is written down. Of each tensor
    at most `SAMPLE` evenly spread weights count, as bfloat16; since float16 rounds otherwise, they count once more with
    both roundings, one after the other. ``2:a-b:c-d``: of each pair the first hash is of the embeddings and vectors
    (norms, biases), the second of the matrices, and left out where those are packed into 4 bits.
    """
    base, parts = base_of(model), (set(), set(), set(), set())
    ends = {
        id(layer.weight) for layer in (base.get_input_embeddings(), base.get_output_embeddings()) if layer is not None
    }
    for name, weight in base.named_parameters():
        matrix = weight.ndim > 1 and id(weight) not in ends
        if "lora_" in name or (matrix and not weight.is_floating_point()):
            continue
        flat = weight.detach().flatten()
        some = flat[:: len(flat) // SAMPLE + 1].cpu()
        name = "embedding" if id(weight) in ends else name.replace(".base_layer.", ".")
        for part, rounded in zip(parts[matrix::2], (some, some.half()), strict=True):
            values = rounded.to(torch.bfloat16).view(torch.int16).numpy().tobytes()
            part.add(f"{name} {tuple(weight.shape)} ".encode() + values)
    hashes = [hashlib.sha256(b"".join(sorted(part))).hexdigest()[:16] if part else "" for part in parts]
    return "2:{}-{}:{}-{}".format(*hashes)


def same_base(model: torch.nn.Module, recorded: str) -> bool:
    """Whether ``recorded`` is the `fingerprint` of this base model, in whatever number format each was loaded.

    With packed 4-bit weights on either side only embeddings, norms and biases are compared; with a record of an
    earlier version of this package, which had no ``2:``, only norms.
    """
    if not str(recorded).startswith("2:"):
        return recorded == _norms(base_of(model))
    now, then = ([pair.partition("-") for pair in text[2:].split(":")] for text in (fingerprint(model), recorded))
    return any(a[0] == b[0] and (a[2] == b[2] or not (a[2] and b[2])) for a in now for b in then)


def _norms(base: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, weight in sorted(base.named_parameters()):
        if "norm" in name and "lora" not in name:
            digest.update(weight.detach().to("cpu", torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def context_length(model: torch.nn.Module) -> int:
    """The longest sequence the model takes, in tokens (2048 where its configuration does not say)."""
    return int(getattr(base_of(model).config, "max_position_embeddings", 2048))
