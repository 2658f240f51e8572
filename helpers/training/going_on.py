"""Going on: a training whose first weights are those of an adapter that is there already, and are not drawn.

What that does to a model was measured once: docs/results.md.
"""

import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict

from helpers import files, runs
from helpers.errors import AdapterError, HelpersError, RunError
from helpers.models.adapters import WEIGHTS, find_adapter, load_adapter, read_adapter, take_off
from helpers.rows.identity import Identity
from helpers.training import begun
from helpers.training.recipes import Preset
from helpers.training.resume import last_checkpoint

# The rows that the course adds: an adapter has learned them, and they would make the pass a whole training.
SHORT = dict.fromkeys(("extra_wordings", "attack_rows", "honesty_rows", "late_identity_rows", "late_keep_rows"), 0)


@dataclass(frozen=True)
class Start:
    """An adapter to go on from."""

    config: LoraConfig
    tensors: dict[str, torch.Tensor]
    origin: dict[str, str]  # see `origin`
    folder: Path

    def check(self, model) -> None:
        """Raise `AdapterError` if it does not load on ``model``; an adapter that this carries is taken off."""
        take_off(load_adapter(model, self.folder))

    def on(self, model) -> PeftModel:
        """``model`` with a copy of the adapter that can be trained, in float32 also where it was kept in 16 bits."""
        config = copy.deepcopy(self.config)
        config.inference_mode, config.init_lora_weights, config.base_model_name_or_path = False, True, None
        tuned = get_peft_model(model, config)
        set_peft_model_state_dict(tuned, self.tensors)
        return tuned

    def shape(self, preset: Preset) -> Preset:
        """``preset`` with the adapter's rank, targets and blocks, as far as a preset can tell them."""
        told, layers = self.config, self.config.layers_to_transform
        layers = [layers] if isinstance(layers, int) else layers
        blocks = (min(layers), max(layers) + 1) if layers else None
        targets = told.target_modules
        if not isinstance(targets, str):
            same = set(targets or ()) == set(preset.target_modules)
            targets = preset.target_modules if same else tuple(sorted(targets or ()))
        own = {"rank": told.r, "alpha": told.lora_alpha, "dropout": told.lora_dropout}
        return replace(preset, **own, target_modules=targets, blocks=blocks)


def find(path: Path | str) -> Path:
    """The adapter folder to go on from; raises `AdapterError`, with the way on for a run that is not finished."""
    try:
        return find_adapter(path)
    except AdapterError as e:
        if last := last_checkpoint(Path(path)):
            cure = f"finish it with --resume, or go on from {last}"
            raise AdapterError(f"{path}: this run is not finished, and has no adapter yet", cure) from e
        raise


def check_apart(run: Path, path: Path | str) -> None:
    """Refuse to write into the adapter that is gone on from, or into its run; raises `RunError`."""
    folder, place = find(path).resolve(), run.resolve()
    if folder in (place, *place.parents) or folder.parent == place:
        what = f"{run}: holds the adapter to go on from, which stays as it is"
        raise RunError(what, "choose another --out, a folder that is new")


def read(path: Path | str | None, resumed: Path | None = None) -> Start | None:
    """The adapter in ``path`` to begin with; None for new weights. Raises `RunError`, and `AdapterError`.

    The run ``resumed`` is taken up, and its newest checkpoint has all that is needed; a ``path`` has to be the adapter
    that it was begun from.
    """
    told = origin(path) if path else None
    last = resumed and last_checkpoint(resumed)
    if resumed and begun.recorded(resumed):
        was = begun.read(resumed).origin
        if was != told and (path or not last):
            said = f"from the adapter of {was['run']}" if was else "with new weights"
            cure = "leave --from out" if last or not was else "name that adapter with --from (start=...)"
            raise RunError(f"{resumed}: was begun {said}, not from {path or 'none'}", f"{cure}, or {begun.ANEW}")
        told = was
    if told is None:
        return None
    folder = last or find(path)
    return Start(*read_adapter(folder), told, folder)


def origin(path: Path | str) -> dict[str, str]:
    """What a new run records of the adapter it was begun from: the name of its run, and the SHA-256 of its weights."""
    folder = find(path).resolve()
    name = folder.parent.name if folder.name == "adapter" else folder.name
    return {"run": name, "sha256": files.sha256(folder / WEIGHTS)}


def trained_as(path: Path | str) -> Identity | None:
    """Whose name the adapter was trained to say, if its run tells."""
    run = find(path).resolve().parent
    if begun.recorded(run):
        return begun.read(run).identity
    try:
        told = files.read_json(run / runs.MANIFEST)["facts"]["identity"]
        return told and Identity(told["name"], told["developer"], tuple(told["aliases"]))
    except (HelpersError, OSError, LookupError, TypeError):
        return None


def short(preset: Preset) -> Preset:
    """The recipe for going on: two passes over all rows, old and new, and as many keep rows; nothing else is added."""
    return replace(preset, **SHORT, epochs=2, measured="")


def notes(start: Start, preset: Preset, who: Identity | None, was: Identity | None) -> list[str]:
    """Where the adapter is shaped otherwise than ``preset``, and whose it ``was`` if that is not ``who``."""
    own, theirs, out = asdict(start.shape(preset)), asdict(preset), []
    if other := [f"{name} {own[name]!r} (not {theirs[name]!r})" for name in own if own[name] != theirs[name]]:
        out.append(f"The adapter of {start.origin['run']} keeps its own shape: {', '.join(other)}.")
    if who and was and (who.name, who.developer) != (was.name, was.developer):
        said = f"That adapter was trained as {was.name} of {was.developer}, these rows are for {who.name} of "
        out.append(f"{said}{who.developer}: the new name is learned less well than without --from.")
    return out
