"""Adapters on a model in memory: find, load, save, remove, scale, and the lock that one thread at a time holds.

Training one is `training.train`; the base model is loaded by `load`.
"""

import contextlib
import json
import re
import shlex
import threading
import warnings
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, PeftModelForCausalLM, get_peft_model_state_dict
from peft.helpers import rescale_adapter_scale
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file

from helpers import files, runs
from helpers.errors import AdapterError, BusyError, HelpersError
from helpers.files import folder_atomic, write_json
from helpers.models import catalog
from helpers.models.load import base_of, fingerprint, not_finite, same_base, spec_of
from helpers.models.locate import reason, resolve

BASE_RECORD = "base_model.json"
CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
WHOLE = "copy the adapter again, whole, or train it again"
# What an adapter's configuration may say otherwise than PEFT's own; all else changes or adds to the base model's
# weights (saved modules, biases, tokens), and would stay there when the adapter is switched off or taken off.
FREE = frozenset(
    "peft_type auto_mapping peft_version base_model_name_or_path revision task_type inference_mode r lora_alpha "
    "lora_dropout target_modules exclude_modules layers_to_transform layers_pattern rank_pattern alpha_pattern "
    "fan_in_fan_out use_rslora use_dora lora_bias init_lora_weights eva_config ensure_weight_tying".split()
)
MOST_SCALE = 1000  # alpha over rank; trainings have 1 to 4, some 64
STARTS = (True, False, None, "gaussian", "orthogonal", "eva")  # others (PiSSA, OLoRA, LoftQ) change the base model
# For each base model its lock, and what those who hold it are doing, the innermost last.
_LOCKS: "weakref.WeakKeyDictionary[torch.nn.Module, tuple]" = weakref.WeakKeyDictionary()
_LOCKS_GUARD = threading.Lock()


def find_adapter(path: Path | str) -> Path:
    """The adapter folder in ``path``, which is an adapter folder or a run folder; raises `AdapterError`."""
    path = Path(path)
    for folder in (path, path / "adapter"):
        if (folder / CONFIG).exists() and (folder / WEIGHTS).exists():
            return folder
        if (folder / CONFIG).exists() and (folder / PICKLE).exists():
            what = f"{folder / PICKLE}: is a pickle, as PEFT before 0.7 wrote; those can run code, so none is read here"
            cure = f"where you trust its maker, load it with a newer PEFT and save it again: that writes {WEIGHTS}"
            raise AdapterError(what, cure)
    missing, cure = (
        f"no {CONFIG} with {WEIGHTS} in it",
        "name a run folder or its adapter/, or train one with notebook 03",
    )
    if not path.exists():
        missing = "no such folder"
    elif (path / "config.json").exists():
        missing, cure = "is a whole model, and no adapter", "give it as --model (in Python: MODEL)"
    elif below := sorted(path.glob(f"checkpoint-*/{CONFIG}"), key=lambda found: found.stat().st_mtime):
        cure = f"name the folder that holds them, such as {below[-1].parent}"
    raise AdapterError(f"{path}: {missing}", cure)


def read_adapter(folder: Path) -> tuple[LoraConfig, dict[str, torch.Tensor]]:
    """The configuration and the tensors of an adapter folder; raises `AdapterError` for what cannot be trusted.

    That is a file that cannot be read, NaN or infinity, and all that could not be taken off a base model again exactly.
    """
    path, weights, told = folder / CONFIG, folder / WEIGHTS, None
    try:
        told = files.read_json(path)  # refuses half characters, which PEFT would put into a warning
        config, plain, extra = None, vars(LoraConfig()), []
        if told["peft_type"] == "LORA":
            with warnings.catch_warnings(action="ignore"):  # what a newer PEFT wrote is judged below
                config = LoraConfig.from_pretrained(str(folder))
            scale = config.lora_alpha / config.r
            new = told.keys() - plain.keys()  # of a newer PEFT; a number or a word alone switches nothing on
            extra += [key for key in new if told[key] and isinstance(told[key], bool | dict | list)]
            for key in plain.keys() - FREE:  # an empty list is as good as PEFT's own None, but still adds a layer
                extra += [key] if getattr(config, key) not in (plain[key], None, [], {}) else []
                setattr(config, key, plain[key])
    except Exception as e:  # PEFT builds it from whatever stands there
        why = getattr(e, "what", None) or reason(e)
        why = "it is not a JSON object" if told is not None and not isinstance(told, dict) else why
        raise AdapterError(f"{path}: cannot be read ({why})", WHOLE) from e
    if config is None:
        what = f"{path}: peft_type is {told['peft_type']!r}, and only LORA is loaded here"
        raise AdapterError(what, "train it as LoRA")
    if not 0 < scale <= MOST_SCALE:
        what = f"{path}: lora_alpha {config.lora_alpha} with rank {config.r} is a scale that no training has"
        raise AdapterError(what, WHOLE)
    if config.init_lora_weights not in STARTS:
        extra.append(f"init_lora_weights={config.init_lora_weights!r}")
    if extra:
        names = ", ".join(sorted(extra))
        what = f"{path}: uses {names}, which changes the base model for good, or is not known to the PEFT here"
        cure = "train the adapter without; or merge it elsewhere, and give the merged model's folder as MODEL"
        raise AdapterError(what, cure)
    try:
        tensors = load_file(weights)
    except (SafetensorError, OSError, ValueError) as e:
        raise AdapterError(f"{weights}: cannot be read ({reason(e)})", WHOLE) from e
    if bad := not_finite(tensors.items()):
        what = f"{weights}: {len(bad)} of {len(tensors)} tensors hold values that are no numbers, the first: {bad[0]}"
        raise AdapterError(what, WHOLE)
    return config, tensors


def load_adapter(model: torch.nn.Module, path: Path | str) -> PeftModel:
    """Put the adapter of a run or adapter folder on ``model``; one that it carried before is removed.

    Raises `RunError` for one that is not what its run's manifest says, and `AdapterError` if it is missing, damaged
    (`read_adapter`), or made for another base model: by recorded fingerprint, and by its tensors' names and shapes.
    Without a record it warns where its configuration names another base model, since one of the same sizes fits.
    """
    folder = find_adapter(path)
    if folder.name == "adapter" and (folder.parent / runs.MANIFEST).exists():
        runs.read_manifest(folder.parent, below="adapter/")
    config, tensors = read_adapter(folder)
    recorded = _check_record(model, folder)
    try:
        with torch.device("meta"):  # layers without memory, whatever rank was asked for
            shapes = PeftModelForCausalLM(take_off(model), config, low_cpu_mem_usage=True)
        wrong = _misfit(tensors, get_peft_model_state_dict(shapes, save_embedding_layers=False))
        if not wrong:
            tuned = PeftModel.from_pretrained(take_off(model), str(folder), config=config).eval()
    except Exception as e:  # of PEFT's many ways
        wrong = reason(e) or type(e).__name__
    made = _other_base(model, config)
    if not wrong:
        if not any(tensor.any() for name, tensor in tensors.items() if "lora_B" in name):
            what = f"{folder}: every B weight is zero, so the base model's own answers come"
            warnings.warn(f"{what}. What to do: train it, or name another adapter", stacklevel=2)
        if made and not recorded:
            what = f"{folder}: made for {made}, loaded on {spec_of(model).key}: same sizes, other weights"
            warnings.warn(f"{what} unless one is a copy. What to do: {_with_base(made, folder)}", stacklevel=2)
        return tuned
    take_off(model)
    cure = "use the base model it was trained on; if it is damaged, train again or copy it again"
    if made:
        wrong, cure = f"its configuration names {made}; {wrong}", _with_base(made, folder)
    raise AdapterError(f"{folder} does not load on {spec_of(model).key} ({wrong})", cure)


def _other_base(model: torch.nn.Module, config: LoraConfig) -> str:
    """The base model that an adapter's configuration names, if that is called otherwise than ``model``; else empty."""
    made, spec = config.base_model_name_or_path, spec_of(model)
    if not isinstance(made, str) or not made.isprintable():
        return ""
    here = {spec.key, spec.hub_id or "", str(getattr(base_of(model).config, "_name_or_path", ""))}
    return "" if _bare(made) in {"", *map(_bare, here)} else made


def _bare(told: str) -> str:
    """A model's own name in small letters, also as unsloth calls its copies."""
    return re.sub(r"(-unsloth)?-bnb-4bit$", "", catalog.own_name(told).casefold())


def _with_base(made: str, folder: Path) -> str:
    """What to type to have the adapter in ``folder`` on the base model that it names."""
    try:
        resolve(made)
    except HelpersError:  # such as a path of the machine that it was made on
        return "use the base model it was trained on: --model with its folder"
    return f'python -m helpers ask "Who are you?" --model {shlex.quote(made)} --adapter {shlex.quote(str(folder))}'


def _check_record(model: torch.nn.Module, folder: Path) -> bool:
    """Whether the adapter has a record of its base model; raises `AdapterError` if that has other weights."""
    record = folder / BASE_RECORD
    if not record.exists():
        return False
    try:
        trained = json.loads(record.read_text(encoding="utf-8"))
        name, same = trained["model"], same_base(model, trained["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
        why = f"it lacks {e}" if isinstance(e, KeyError) else reason(e)
        raise AdapterError(f"{record}: cannot be read ({why})", WHOLE) from e
    if not same:
        known = any(name == spec.key for spec in catalog.TABLE)
        cure = f"load it with MODEL={name!r}" if known else f"give the folder of {name} as MODEL, or as --model"
        cure += ", or train an adapter for this model"
        raise AdapterError(f"{folder} was trained on {name}, not on these weights of {spec_of(model).key}", cure)
    return True


def _misfit(tensors: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> str:
    """How many tensors of an adapter fit those that the model wants, and one of each that do not; empty if all do."""
    fit = {name for name, tensor in tensors.items() if name in wanted and tensor.shape == wanted[name].shape}
    if len(fit) == len(tensors) == len(wanted):
        return ""
    said = f"{len(fit)} of its {len(tensors)} tensors fit, and {len(wanted)} are wanted"
    for name in (name for name in tensors if "lora_" not in name and ("embed_tokens" in name or "lm_head" in name)):
        said += f"; it brings {name.split('.')[-2]} with {len(tensors[name])} rows, as after tokens were added"
    for what, held in (("it has", tensors), ("wanted is", wanted)):
        if odd := next((name for name in held if name not in fit), None):
            said += f"; {what} {odd.removeprefix('base_model.model.')} {tuple(held[odd].shape)}"
    return said


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
        config = json.loads((scratch / CONFIG).read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = spec.hub_id or spec.key  # not this machine's path
        write_json(scratch / CONFIG, config)
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
        dora = any(getattr(layer, "lora_magnitude_vector", None) for layer in layers)
        return _mixed(layers, strength) if dora else rescale_adapter_scale(model, strength)
    return model.disable_adapter() if isinstance(model, PeftModel) else _switched_off(layers)


@contextlib.contextmanager
def _mixed(layers: Sequence[BaseTunerLayer], strength: float) -> Iterator[None]:
    # DoRA sets the length of each row of the weights anew, so PEFT's scale does not lead to the base model.
    def mix(layer: BaseTunerLayer, args: tuple, tuned: torch.Tensor) -> torch.Tensor:
        return torch.lerp(layer.base_layer(*args), tuned, strength)

    with contextlib.ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(mix))
        yield


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
