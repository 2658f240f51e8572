"""Adapters on a model in memory: find, load, save, take off, switch off, and the lock that one thread at a time holds."""

import contextlib
import json
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from peft.helpers import rescale_adapter_scale
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from helpers.errors import AdapterError, BusyError
from helpers.files import folder_atomic, write_json
from helpers.models.load import base_of, fingerprint, reason, spec_of

BASE_RECORD = "base_model.json"


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
        raise AdapterError(f"{folder}: adapter_model.safetensors is damaged ({reason(e)})", again) from e
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as e:
        cure = f"use the base model it was trained on, or {again}"
        raise AdapterError(f"{folder} does not load on {spec_of(model).key} ({reason(e)})", cure) from e


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

    Only safetensors and JSON are written. Raises `DiskError` through `files.folder_atomic`.
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
