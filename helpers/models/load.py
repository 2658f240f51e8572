"""Base models and adapters in memory: load, save, take off, lock. Which model is meant is settled in `choose`.

No pickles and no remote code are ever loaded.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from helpers.errors import ModelError
from helpers.models import catalog, hub, machine, precision
from helpers.models.locate import resolve


def load_model(
    choice: str | None = "auto", dtype: torch.dtype | None = None, four_bit: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a base model and its tokenizer onto this machine's device, in eval mode.

    Args:
        choice: see `resolve`. A Hub id that is not in the cache is downloaded.
        dtype: another number format than the device's own, see `formats`.
        four_bit: hold the weights in 4 bits (QLoRA); needs an NVIDIA GPU and the extra ``4bit``.

    Returns:
        (model, tokenizer). `spec_of(model)` gives the `ModelSpec` back.

    Raises:
        ModelError: not there, not loadable, no safetensors, or no chat template.
        ResourceError: a format or an amount of memory that this device does not have.
    """
    machine.set_threads()
    machine.return_memory()
    spec, where, _ = resolve(choice)
    dtype = precision.dtype_for(spec, dtype)
    how = {"quantization_config": precision.four_bit(dtype), "device_map": {"": 0}} if four_bit else {}
    precision.check_memory(spec, dtype, four_bit)
    folder = where if isinstance(where, Path) else hub.fetch(spec)
    model, tokenizer = _read(folder, dtype, **how)
    if not tokenizer.chat_template:
        cure = "use an instruct model, not a base checkpoint: MODEL='Qwen/Qwen2.5-0.5B-Instruct', or 'embedded'"
        raise ModelError(f"{where}: its tokenizer has no chat template", cure)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if folder != where:
        spec = replace(spec, revision=folder.name)  # the commit, which the Hub's cache names its folders after
    model.identity_spec = spec if spec.parameters else replace(spec, parameters=model.num_parameters())
    return (model if four_bit else model.to(machine.device())).eval(), tokenizer


def _read(folder: Path, dtype: torch.dtype, **how):
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    how = {"trust_remote_code": False, "local_files_only": True, **how}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True, **how), tokenizer
    except Exception as e:  # each library underneath has its own types; some raise a bare Exception for a damaged file
        raise ModelError(f"{folder} could not be loaded ({reason(e)})", "check the folder") from e


def reason(e: BaseException) -> str:
    """The first line of what went wrong, at most 200 characters."""
    return (str(e).splitlines() or [type(e).__name__])[0][:200]


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
    config = base_of(model).config
    return int(getattr(config, "max_position_embeddings", 2048))
