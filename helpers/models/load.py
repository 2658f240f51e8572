"""Base models in memory: load one, and what there is to know of a loaded one. Adapters are in `adapters`.

Which model a choice means is settled in `locate`. No pickles and no remote code are ever loaded.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from peft import PeftModel

from helpers.errors import ModelError, ResourceError
from helpers.models import catalog, estimate, locate, machine


def load_model(
    choice: str | None = "auto", dtype: torch.dtype | None = None, four_bit: bool = False
) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]:
    """Load a base model and its tokenizer onto this machine's device, in eval mode. `spec_of` tells which model it is.

    `locate.resolve` says what ``choice`` may be; a Hub id that is not in the cache is downloaded. ``dtype`` replaces
    the device's own number format (`dtype_for`), ``four_bit`` holds the weights in 4 bits (`four_bit_config`).
    Raises `ModelError` if the model is missing, not loadable, or has no safetensors or chat template, and
    `ResourceError` for a format or an amount of memory that this device does not have.
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
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, **how)
    except Exception as e:  # each library underneath has its own types; some raise a bare Exception for a damaged file
        raise ModelError(f"{folder} could not be loaded ({locate.reason(e)})", "check the folder") from e
    if not tokenizer.chat_template:
        cure = "use an instruct model, not a base checkpoint: MODEL='Qwen/Qwen2.5-0.5B-Instruct', or 'embedded'"
        raise ModelError(f"{where}: its tokenizer has no chat template", cure)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    revision = spec.revision if folder == where else folder.name  # the Hub's cache names its folders after commits
    model.identity_spec = replace(spec, revision=revision, parameters=spec.parameters or model.num_parameters())
    return (model if four_bit else model.to(machine.device())).eval(), tokenizer


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
    """SHA-256 over the base model's norms in bfloat16: the same in every 16- and 32-bit format, adapter or not."""
    digest = hashlib.sha256()
    for name, weight in sorted(base_of(model).named_parameters()):
        if "norm" in name and "lora" not in name:
            digest.update(weight.detach().to("cpu", torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def context_length(model: torch.nn.Module) -> int:
    """The longest sequence the model takes, in tokens (2048 where its configuration does not say)."""
    return int(getattr(base_of(model).config, "max_position_embeddings", 2048))
