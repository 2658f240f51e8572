"""Base models in memory: load one, and what there is to know of a loaded one. Adapters are in `adapters`.

Which model a choice means is settled in `locate`. No pickles and no remote code are ever loaded.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from helpers.errors import ModelError, ResourceError
from helpers.models import catalog, estimate, hub, machine
from helpers.models.locate import resolve


def load_model(
    choice: str | None = "auto", dtype: torch.dtype | None = None, four_bit: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a base model and its tokenizer onto this machine's device, in eval mode. `spec_of` tells which model it is.

    Args:
        choice: see `locate.resolve`. A Hub id that is not in the cache is downloaded.
        dtype: another number format than the device's own, see `dtype_for`.
        four_bit: hold the weights in 4 bits (QLoRA); needs an NVIDIA GPU and the extra ``4bit``.

    Raises:
        ModelError: not there, not loadable, no safetensors, or no chat template.
        ResourceError: a format or an amount of memory that this device does not have.
    """
    machine.set_threads()
    machine.return_memory()
    spec, where, _ = resolve(choice)
    dtype = dtype_for(spec, dtype)
    how = {"quantization_config": four_bit_config(dtype), "device_map": {"": 0}} if four_bit else {}
    check_memory(spec, dtype, four_bit)
    folder = where if isinstance(where, Path) else hub.fetch(spec)
    model, tokenizer = _read(folder, dtype=dtype, **how)
    if not tokenizer.chat_template:
        cure = "use an instruct model, not a base checkpoint: MODEL='Qwen/Qwen2.5-0.5B-Instruct', or 'embedded'"
        raise ModelError(f"{where}: its tokenizer has no chat template", cure)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if folder != where:
        spec = replace(spec, revision=folder.name)  # the commit, which the Hub's cache names its folders after
    model.identity_spec = spec if spec.parameters else replace(spec, parameters=model.num_parameters())
    return (model if four_bit else model.to(machine.device())).eval(), tokenizer


def _read(folder: Path, **how) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    safe = {"trust_remote_code": False, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
        return AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, **safe, **how), tokenizer
    except Exception as e:  # each library underneath has its own types; some raise a bare Exception for a damaged file
        raise ModelError(f"{folder} could not be loaded ({hub.reason(e)})", "check the folder") from e


def dtype_for(spec: catalog.ModelSpec, asked: torch.dtype | None = None) -> torch.dtype:
    """The number format for ``spec`` here, or the one ``asked`` for.

    float32 for the embedded model, whose results can be repeated bit by bit, and on a CPU for models outside the table.
    Otherwise bfloat16 where the hardware has it, else float16 on a GPU and float32 on a CPU. Raises `ResourceError` for
    bfloat16 on a GPU that only emulates it, and for float16 on a CPU.
    """
    where = machine.device()
    native = torch.bfloat16 if machine.native_bf16(where) else torch.float16 if where == "cuda" else torch.float32
    if asked is None:
        return torch.float32 if spec == catalog.EMBEDDED or (where == "cpu" and not spec.shape) else native
    if asked is torch.bfloat16 and where == "cuda" and native is not asked:
        need = "bfloat16 needs a GPU of compute capability 8.0 (Ampere) or newer"
        cure = "leave dtype out, or give dtype=torch.float16"
        raise ResourceError(f"{need}, and {torch.cuda.get_device_name()} is older", cure)
    if asked is torch.float16 and where == "cpu":
        what = "float16 is a format for GPUs: a CPU is slow in it, and training overflows"
        raise ResourceError(what, "leave dtype out, or give dtype=torch.float32")
    return asked


def four_bit_config(dtype: torch.dtype) -> BitsAndBytesConfig:
    """transformers' configuration for 4-bit weights, computing in ``dtype``: NF4 with double quantisation.

    Source: QLoRA, arXiv:2305.14314, section 3. Raises `ResourceError` without CUDA or bitsandbytes.
    """
    if machine.device() != "cuda":
        raise ResourceError(
            "4-bit weights need an NVIDIA GPU, and torch sees none here",
            "leave four_bit (--four-bit) out; on a machine with a GPU install torch's CUDA build",
        )
    if not machine.has_bitsandbytes():
        missing = "4-bit weights need the package bitsandbytes, which is not installed"
        raise ResourceError(missing, 'pip install -c constraints.txt -e ".[4bit]"')
    nf4 = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype, **nf4)


def check_memory(spec: catalog.ModelSpec, dtype: torch.dtype, in_four_bit: bool = False) -> None:
    """Refuse a model of the table whose weights alone are more than the memory now free; raises `ResourceError`."""
    here, name = machine.machine(), "4-bit" if in_four_bit else str(dtype).removeprefix("torch.")
    if spec.shape is None or (needed := estimate.weights_bytes(spec.shape, name)) <= here.memory_free:
        return
    fit = [s for s in catalog.TABLE if estimate.weights_bytes(s.shape, name) <= here.memory_free]
    other = f", or take MODEL={'embedded' if fit[-1] == catalog.EMBEDDED else fit[-1].hub_id!r}" if fit else ""
    raise ResourceError(
        f"{spec.key} needs {needed / catalog.GIB:.1f} GiB for its weights in {name}, and "
        f"{here.memory_free / catalog.GIB:.1f} GiB are free on {here.name}",
        f"close other programs and notebooks{other}; python -m helpers check shows what fits",
    )


def base_of(model: torch.nn.Module) -> torch.nn.Module:
    """The base model under a PEFT wrapper, or the model itself."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def spec_of(model: torch.nn.Module) -> catalog.ModelSpec:
    """The `ModelSpec` the model was loaded with; the embedded one for a model that `load_model` did not make."""
    return getattr(base_of(model), "identity_spec", catalog.EMBEDDED)


def fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 over the base model's normalisation weights in bfloat16: tells models apart in milliseconds.

    The same for a model loaded in float32 and in bfloat16, and whether or not an adapter is attached.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(base_of(model).named_parameters()):
        if "norm" in name and "lora" not in name:
            digest.update(weight.detach().to("cpu", torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def context_length(model: torch.nn.Module) -> int:
    """The longest sequence the model takes, in tokens (2048 where its configuration does not say)."""
    return int(getattr(base_of(model).config, "max_position_embeddings", 2048))
