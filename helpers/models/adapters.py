"""Adapters on a model in memory: find, load, save, remove, scale, and the lock that one thread at a time holds.

Training one is `training.train`; the base model is loaded by `load`.
"""

import contextlib
import json
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from peft.helpers import rescale_adapter_scale
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError, safe_open

from helpers.errors import AdapterError, BusyError
from helpers.files import folder_atomic, write_json
from helpers.models.load import base_of, fingerprint, spec_of
from helpers.models.locate import reason

BASE_RECORD = "base_model.json"
# For each base model its lock, and what those who hold it are doing, the innermost last.
_LOCKS: "weakref.WeakKeyDictionary[torch.nn.Module, tuple]" = weakref.WeakKeyDictionary()
_LOCKS_GUARD = threading.Lock()


def find_adapter(path: Path | str) -> Path:
    """The adapter folder in ``path``, which is an adapter folder or a run folder; raises `AdapterError`."""
    path = Path(path)
    for folder in (path, path / "adapter"):
        if (folder / "adapter_config.json").exists() and (folder / "adapter_model.safetensors").exists():
            return folder
    missing = "no such folder" if not path.exists() else "no adapter_config.json with adapter_model.safetensors in it"
    raise AdapterError(f"{path}: {missing}", "name a run folder or its adapter/, or train one with notebook 03")


def load_adapter(model: torch.nn.Module, path: Path | str) -> PeftModel:
    """Put the adapter of a run or adapter folder on ``model``; one that it carried before is removed.

    Raises `AdapterError` for an adapter that is missing, damaged, or made for another base model (by recorded
    fingerprint, else by shapes).
    """
    folder = find_adapter(path)
    record, key = folder / BASE_RECORD, spec_of(model).key
    try:
        trained = json.loads(record.read_text(encoding="utf-8")) if record.exists() else None
        if trained is not None and trained["fingerprint"] != fingerprint(model):
            cure = f"load it with MODEL={trained['model']!r}, or train an adapter for this model"
            raise AdapterError(f"{folder} was trained on {trained['model']}, not on these weights of {key}", cure)
        with safe_open(folder / "adapter_model.safetensors", "pt"):  # damage is found before the model is touched
            config = PeftConfig.from_pretrained(str(folder))
        try:
            return PeftModel.from_pretrained(take_off(model), str(folder), config=config).eval()
        except Exception:
            take_off(model)
            raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as e:
        cure = "use the base model it was trained on; if it is damaged, train again or copy it again"
        raise AdapterError(f"{folder} does not load on {key} ({reason(e)})", cure) from e


def take_off(model: torch.nn.Module) -> torch.nn.Module:
    """The base model without adapter layers, also where one was half attached, and its weights untouched."""
    base = base_of(model)
    base.activation_checkpointing_disable()  # a training may have left it on
    for name, module in list(base.named_modules()):
        if isinstance(module, BaseTunerLayer):
            parent, _, child = name.rpartition(".")
            setattr(base.get_submodule(parent), child, module.get_base_layer())
    if hasattr(base, "peft_config"):
        del base.peft_config
    return base


def save_adapter(model: PeftModel, folder: Path | str, dtype: torch.dtype | None = None) -> Path:
    """Write the adapter and its base model's name and fingerprint; ``dtype`` rounds the tensors. Raises `DiskError`."""
    folder, spec = Path(folder), spec_of(model)
    state = {k: v.to(dtype) for k, v in model.state_dict().items() if "lora_" in k} if dtype else None
    record = {"model": spec.key, "revision": spec.revision, "fingerprint": fingerprint(model)}
    with folder_atomic(folder) as scratch:
        model.save_pretrained(str(scratch), safe_serialization=True, state_dict=state)
        (scratch / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
        config = json.loads((scratch / "adapter_config.json").read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = spec.hub_id or spec.key  # not this machine's path
        write_json(scratch / "adapter_config.json", config)
        write_json(scratch / BASE_RECORD, record)
    return folder


@contextlib.contextmanager
def model_lock(model: torch.nn.Module, doing: str = "using the model", wait: bool = True) -> Iterator[None]:
    """Hold the model: one thread at a time, since switching an adapter off is global to the model, not to a thread.

    Without ``wait`` raises `BusyError` while another thread holds it; the message says what that one is ``doing``.
    """
    with _LOCKS_GUARD:
        lock, tasks = _LOCKS.setdefault(base_of(model), (threading.RLock(), []))
    if not lock.acquire(blocking=wait):
        task = tasks[-1] if tasks else "another task"
        raise BusyError(f"the model is busy: {task} is running", "wait for it, or stop it")
    tasks.append(doing)
    try:
        yield
    finally:
        tasks.pop()
        lock.release()


def adapter_scaled(model: torch.nn.Module, strength: float = 1.0) -> contextlib.AbstractContextManager:
    """Within the block the adapter, if there is one, counts ``strength`` times as much; 0 is off. Hold the lock.

    ``model`` may also be the base model that an adapter was put on: its layers are in it, and would answer.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer)] if strength != 1 else []
    if not layers:
        return contextlib.nullcontext()
    if strength:
        return rescale_adapter_scale(model, strength)
    return model.disable_adapter() if isinstance(model, PeftModel) else _switched_off(layers)


@contextlib.contextmanager
def _switched_off(layers: Sequence[BaseTunerLayer]) -> Iterator[None]:
    weights = [weight for layer in layers for weight in layer.parameters()]
    trained, off = [weight.requires_grad for weight in weights], [layer.disable_adapters for layer in layers]
    try:
        for layer in layers:
            layer.enable_adapters(False)
        yield
    finally:
        for layer, was_off in zip(layers, off, strict=True):
            layer.enable_adapters(not was_off)
        for weight, was_trained in zip(weights, trained, strict=True):
            weight.requires_grad_(was_trained)
