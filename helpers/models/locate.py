"""Which model a choice names and where its files lie. It loads nothing, and ``auto`` never downloads."""

import os
from pathlib import Path

from helpers.errors import ModelError
from helpers.models import catalog, embedded, estimate, hub, machine


def resolve(choice: str | None = "auto") -> tuple[catalog.ModelSpec, Path | str, str]:
    """Turn a model choice into (spec, where to load it from, a line for the reader).

    ``choice`` is ``auto``, ``embedded``, a Hub id or a folder; ``IDENTITY_MODEL`` wins over ``auto``. Raises
    `ModelError` if it is none of these, or if the embedded weights were not fetched yet.
    """
    choice = str(choice or "auto")
    if choice == "auto":
        choice = os.environ.get("IDENTITY_MODEL") or "auto"
    if choice in ("auto", "embedded"):
        return _unnamed(choice)
    if Path(choice).expanduser().is_dir():
        return _folder(Path(choice).expanduser())
    for spec in catalog.HUB_MODELS:
        if choice in (spec.hub_id, spec.key):
            return spec, hub.cached(spec) or spec.hub_id, f"Using {spec.hub_id} at revision {spec.revision[:8]}."
    if choice.count("/") == 1 and all(choice.split("/")) and not choice.startswith((".", "~")):
        spec = catalog.outside(choice.split("/")[1], choice, "see its model card")
        return spec, choice, f"Using {choice} (not in the table of tested models)."
    raise ModelError(
        f"MODEL={choice!r} is neither auto, embedded, a Hub id like Qwen/Qwen2.5-0.5B-Instruct, nor a folder here",
        "correct the name, or use MODEL='auto'",
    )


def _unnamed(choice: str) -> tuple[catalog.ModelSpec, Path, str]:
    here, larger = machine.machine(), []
    if here.device == "cuda":  # for training with an adapter; 4-bit is never chosen unasked
        found = estimate.choices(estimate.methods_here(here.device, here.bf16), here.memory_free)
        larger = [spec for spec, *_ in found if spec in catalog.HUB_MODELS]
    for spec in larger if choice == "auto" else ():
        if folder := hub.cached(spec):
            return spec, folder, f"Using {spec.hub_id} from your cache."
    if not embedded.embedded_ready():
        raise ModelError(
            f"the embedded model is not in {embedded.embedded_dir()}",
            "run: python -m helpers fetch (93 MB, once; then no network)",
        )
    line = f"Using the embedded model {catalog.EMBEDDED.key}."
    for spec in larger[:1]:
        line += f" A larger one fits this GPU: hf download {spec.hub_id} --revision {spec.revision}"
        line += f" ({spec.download / 1e9:.0f} GB, {spec.licence})."
    return catalog.EMBEDDED, embedded.embedded_dir(), line


def _folder(folder: Path) -> tuple[catalog.ModelSpec, Path, str]:
    if not (folder / "config.json").exists():
        raise ModelError(f"{folder}: no config.json, so this is not a model folder", "name the folder that holds it")
    known = {spec.key: spec for spec in catalog.TABLE}
    return known.get(folder.name) or catalog.outside(folder.name), folder, f"Using the model in {folder}."
