"""Which model a choice names and where its files lie. It loads nothing, and ``auto`` never downloads."""

import os
from pathlib import Path

from helpers.errors import ModelError
from helpers.models import catalog, embedded, estimate, hub, machine


def resolve(choice: str | None = "auto") -> tuple[catalog.ModelSpec, Path | str, str]:
    """Turn a model choice into (spec, where to load it from, a line for the reader).

    Args:
        choice: ``auto``, ``embedded``, a Hub id or a folder. ``IDENTITY_MODEL`` wins over ``auto``.

    Raises:
        ModelError: the choice is none of these, or the embedded weights were not fetched yet.
    """
    choice = str(choice or "auto")
    if choice == "auto":
        choice = os.environ.get("IDENTITY_MODEL") or "auto"
    if choice == "auto" and machine.device() == "cuda":
        for spec in catalog.HUB_MODELS:
            if spec.licence == "Apache-2.0" and _fits(spec) and (folder := hub.cached(spec)):
                return spec, folder, f"Using {spec.hub_id} from your cache."
    if choice in ("auto", "embedded"):
        return catalog.EMBEDDED, _embedded(), _embedded_line()
    if Path(choice).expanduser().is_dir():
        return _local_spec(Path(choice).expanduser())
    return _hub_spec(choice)


def _hub_spec(choice: str) -> tuple[catalog.ModelSpec, Path | str, str]:
    for spec in catalog.HUB_MODELS:
        if choice in (spec.hub_id, spec.key):
            return spec, hub.cached(spec) or spec.hub_id, f"Using {spec.hub_id} at revision {spec.revision[:8]}."
    if choice.count("/") == 1 and all(choice.split("/")) and not choice.startswith((".", "~")):
        key = choice.split("/")[1]
        spec = catalog.ModelSpec(key, choice, None, "see its model card", 0, 0, ("en",), "its maker", key)
        return spec, choice, f"Using {choice} (not in the table of tested models)."
    raise ModelError(
        f"MODEL={choice!r} is neither auto, embedded, a Hub id like Qwen/Qwen2.5-0.5B-Instruct, nor a folder here",
        "correct the name, or use MODEL='auto'",
    )


def _fits(spec: catalog.ModelSpec) -> bool:
    # For training with the adapter, in the format that `load.load_model` takes here; 4-bit is never chosen unasked.
    here = machine.machine()
    return bool(estimate.fitting(spec, estimate.methods_here(here.device, here.bf16), here.memory_free))


def _embedded() -> Path:
    if not embedded.embedded_ready():
        raise ModelError(
            f"the embedded model is not in {embedded.embedded_dir()}",
            "run: python -m helpers fetch (93 MB, once; then no network)",
        )
    return embedded.embedded_dir()


def _embedded_line() -> str:
    line = f"Using the embedded model {catalog.EMBEDDED.key}."
    if machine.device() != "cuda":
        return line
    for s in catalog.HUB_MODELS:
        if s.licence == "Apache-2.0" and _fits(s):
            line += f" A larger one fits this GPU: hf download {s.hub_id} --revision {s.revision}"
            return line + f" ({s.download / 1e9:.0f} GB, {s.licence})."
    return line


def _local_spec(folder: Path) -> tuple[catalog.ModelSpec, Path, str]:
    if not (folder / "config.json").exists():
        raise ModelError(f"{folder}: no config.json, so this is not a model folder", "name the folder that holds it")
    known = [s for s in (catalog.EMBEDDED, *catalog.HUB_MODELS) if s.key == folder.name]
    key = folder.name
    spec = known[0] if known else catalog.ModelSpec(key, None, None, "unknown", 0, 0, ("en",), "its maker", key)
    return spec, folder, f"Using the model in {folder}."
