"""Base models and adapters in memory: load, save, take off, lock. Which model is meant is settled in `choose`.

No pickles and no remote code are ever loaded.
"""

import contextlib
import hashlib
import json
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from peft.helpers import rescale_adapter_scale
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from helpers import formats, hardware, hub, specs
from helpers.choose import SOURCE_RECORD as SOURCE_RECORD
from helpers.choose import cache_dir as cache_dir
from helpers.choose import embedded_dir as embedded_dir
from helpers.choose import embedded_ready as embedded_ready
from helpers.choose import resolve as resolve
from helpers.errors import AdapterError, BusyError, ModelError
from helpers.runs import folder_atomic, write_json

BASE_RECORD = "base_model.json"


def load(
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
    hardware.set_threads()
    hardware.return_memory()
    spec, where, _ = resolve(choice)
    dtype = formats.dtype_for(spec, dtype)
    how = {"quantization_config": formats.four_bit(dtype), "device_map": {"": 0}} if four_bit else {}
    formats.check_memory(spec, dtype, four_bit)
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
    return (model if four_bit else model.to(hardware.device())).eval(), tokenizer


def _read(folder: Path, dtype: torch.dtype, **how):
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    how = {"trust_remote_code": False, "local_files_only": True, **how}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True, **how), tokenizer
    except Exception as e:  # each library underneath has its own types; some raise a bare Exception for a damaged file
        raise ModelError(f"{folder} could not be loaded ({_reason(e)})", "check the folder") from e


def _reason(e: BaseException) -> str:
    return (str(e).splitlines() or [type(e).__name__])[0][:200]


def base_of(model: torch.nn.Module) -> torch.nn.Module:
    """The base model under a PEFT wrapper, or the model itself."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def spec_of(model: torch.nn.Module) -> specs.ModelSpec:
    """The `ModelSpec` the model was loaded with; the embedded one for a model that `load` did not make."""
    return getattr(base_of(model), "identity_spec", specs.EMBEDDED)


def fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 over the base model's normalisation weights in bfloat16: tells models apart in milliseconds.

    The same for a model loaded in float32 and in bfloat16, and whether or not an adapter is attached.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(base_of(model).named_parameters()):
        if "norm" in name and "lora" not in name:
            digest.update(weight.detach().to("cpu", torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def find_adapter(path: Path | str) -> Path:
    """The adapter folder in ``path``, which is an adapter folder or a run folder; raises `AdapterError`."""
    path = Path(path)
    for folder in (path, path / "adapter"):
        if (folder / "adapter_config.json").exists() and (folder / "adapter_model.safetensors").exists():
            return folder
    missing = "no such folder" if not path.exists() else "no adapter_config.json with adapter_model.safetensors in it"
    raise AdapterError(f"{path}: {missing}", "name a run folder or its adapter/, or train one with notebook 03")


def load_adapter(model: PreTrainedModel, path: Path | str) -> PeftModel:
    """Put the adapter of a run or adapter folder on ``model``; the base weights stay as they are.

    An adapter that ``model`` carried before is taken off, so that a cell can be run again.

    Raises:
        AdapterError: missing, damaged, or made for another base model (by recorded fingerprint, else by shapes).
    """
    folder = find_adapter(path)
    again = "train again or copy it again"
    try:
        _check_base(folder, model)
        with safe_open(folder / "adapter_model.safetensors", "pt"):  # damage is found before the model is touched
            pass
        return _attach(model, folder)
    except SafetensorError as e:
        raise AdapterError(f"{folder}: adapter_model.safetensors is damaged ({_reason(e)})", again) from e
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as e:
        cure = f"use the base model it was trained on, or {again}"
        raise AdapterError(f"{folder} does not load on {spec_of(model).key} ({_reason(e)})", cure) from e


def _check_base(folder: Path, model: torch.nn.Module) -> None:
    if not (folder / BASE_RECORD).exists():
        return
    record = json.loads((folder / BASE_RECORD).read_text(encoding="utf-8"))
    if record.get("fingerprint") != fingerprint(model):
        raise AdapterError(
            f"{folder} was trained on {record.get('model')}, not on these weights of {spec_of(model).key}",
            f"load it with MODEL={record.get('model')!r}, or train an adapter for this model",
        )


def _attach(model: PreTrainedModel, folder: Path) -> PeftModel:
    config = PeftConfig.from_pretrained(str(folder))
    try:
        return PeftModel.from_pretrained(take_off(model), str(folder), config=config).eval()
    except Exception:
        take_off(model)
        raise


def take_off(model: torch.nn.Module) -> torch.nn.Module:
    """The base model with every adapter layer removed, weights untouched; for one half attached or no longer wanted.

    A training that computed each layer twice leaves the model so; that is undone too.
    """
    base = base_of(model)
    base.activation_checkpointing_disable()
    for name, module in list(base.named_modules()):
        if isinstance(module, BaseTunerLayer):
            parent, _, child = name.rpartition(".")
            setattr(base.get_submodule(parent), child, module.get_base_layer())
    if hasattr(base, "peft_config"):
        del base.peft_config
    return base


def save_adapter(model: PeftModel, folder: Path | str, dtype: torch.dtype | None = None) -> Path:
    """Write the adapter and, beside it, which base model it belongs to; ``dtype`` rounds its tensors for storage.

    Only safetensors and JSON are written. Raises `DiskError` through `runs.folder_atomic`.
    """
    folder, spec, state = Path(folder), spec_of(model), None
    if dtype is not None:
        state = {k: v.to(dtype) for k, v in model.state_dict().items() if "lora_" in k}
    record = {"model": spec.key, "revision": spec.revision, "fingerprint": fingerprint(model)}
    with folder_atomic(folder) as scratch:
        model.save_pretrained(str(scratch), safe_serialization=True, state_dict=state)
        (scratch / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
        config = json.loads((scratch / "adapter_config.json").read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = spec.hub_id or spec.key  # not this machine's path
        write_json(scratch / "adapter_config.json", config)
        write_json(scratch / BASE_RECORD, record)
    return folder


def can_speak(model: torch.nn.Module, lang: str) -> bool:
    """Whether the model's spec lists ``lang`` among its languages."""
    return lang in spec_of(model).languages


class _Lock:
    def __init__(self) -> None:
        self.lock, self.holder = threading.RLock(), ""


_LOCKS: "weakref.WeakKeyDictionary[torch.nn.Module, _Lock]" = weakref.WeakKeyDictionary()
_LOCKS_GUARD = threading.Lock()


@contextlib.contextmanager
def model_lock(model: torch.nn.Module, doing: str = "using the model", wait: bool = True) -> Iterator[None]:
    """Hold the model: one thread at a time, since switching an adapter off is global to the model, not to a thread.

    Raises:
        BusyError: ``wait`` is False and another thread holds it; the message says what it is doing.
    """
    with _LOCKS_GUARD:
        entry = _LOCKS.setdefault(base_of(model), _Lock())
    if not entry.lock.acquire(blocking=wait):
        raise BusyError(f"the model is busy: {entry.holder or 'another task'} is running", "wait for it, or stop it")
    before, entry.holder = entry.holder, doing
    try:
        yield
    finally:
        entry.holder = before
        entry.lock.release()


@contextlib.contextmanager
def adapter_off(model: torch.nn.Module, off: bool = True) -> Iterator[None]:
    """Within the block the model answers as the base model (if ``off`` and it carries an adapter). Hold the lock."""
    if off and isinstance(model, PeftModel):
        with model.disable_adapter():
            yield
    else:
        yield


@contextlib.contextmanager
def adapter_scaled(model: torch.nn.Module, strength: float = 1.0) -> Iterator[None]:
    """Within the block the adapter counts ``strength`` times as much as it was trained to (0 to 1.5). Hold the lock."""
    if strength != 1.0 and isinstance(model, PeftModel):
        with rescale_adapter_scale(model, strength):
            yield
    else:
        yield


def context_length(model: torch.nn.Module) -> int:
    """The longest sequence the model takes, in tokens (2048 where its configuration does not say)."""
    config = base_of(model).config
    return int(getattr(config, "max_position_embeddings", 2048))
