"""Which model a choice names, where its files lie, and fetching it from the Hugging Face Hub or one of its mirrors.

It loads nothing, and ``auto`` never downloads. The embedded model is fetched by `embedded`.
"""

import json
import os
import re
import shlex
from pathlib import Path

from huggingface_hub import HfApi, constants, errors, snapshot_download

from helpers.errors import HelpersError, ModelError
from helpers.files import disk_errors
from helpers.models import catalog, embedded, estimate, machine

constants.HF_HUB_DISABLE_TELEMETRY = True  # also where huggingface_hub was imported before this package
# Weights as safetensors alone, and what a tokenizer and its template need: no pickles, no code.
FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
DISK_CURE = "free some space, or set HF_HOME to a folder on a larger disk; a download goes on where it was cut off"
OTHER = "choose another model, or use MODEL='embedded'"
BY_HAND = "fetch it where there is a network ({fetch}) and give its folder as MODEL, or use MODEL='embedded'"
# What huggingface_hub raises, what that means, and what to do. The first type that fits counts; its own texts are long.
REFUSALS = (
    (errors.OfflineModeIsEnabled, "{model} is no folder here and not in the cache ({cache}), and HF_HUB_OFFLINE is set",
     f"unset HF_HUB_OFFLINE, in a notebook before the kernel starts; or {BY_HAND}"),
    (errors.GatedRepoError, "{id} is only for those who agreed to its terms",
     "agree to them on its page and type: hf auth login; or use MODEL='embedded'"),
    ((errors.RepositoryNotFoundError, errors.RevisionNotFoundError), "{hub} has no {model} that you may read",
     f"correct the id, or for a private model type: hf auth login; or {OTHER}"),
    (Exception, "{id} is no folder here and not in the cache, and {hub} cannot be reached ({reason})",
     f"check the network, or set HF_ENDPOINT to a mirror that you can reach; or {BY_HAND}"),
)  # fmt: skip


def resolve(choice: str | None = "auto") -> tuple[catalog.ModelSpec, Path | str, str]:
    """Turn a model choice into (spec, where to load it from, a line for the reader).

    ``choice`` is ``auto``, ``embedded``, a Hub id or a folder; ``IDENTITY_MODEL`` wins over ``auto``. Raises
    `ModelError` if it is none of these, or if the embedded weights are not there or not what was fetched.
    """
    choice = str(choice or "auto")
    if choice == "auto":
        choice = os.environ.get("IDENTITY_MODEL") or "auto"
    if choice in ("auto", "embedded"):
        return _unnamed(choice)
    if os.path.isdir(folder := Path(os.path.expanduser(choice))):
        return catalog.in_folder(folder.resolve().name, _config(folder)), folder, f"Using the model in {folder}."
    for spec in catalog.HUB_MODELS:
        if choice in (spec.hub_id, spec.key):
            return spec, cached(spec) or spec.hub_id, f"Using {spec.hub_id} at revision {spec.revision[:8]}."
    if _is_id(choice):
        spec = catalog.outside(choice.split("/")[1], choice, "see its model card")
        return spec, choice, f"Using {choice} (not in the table of tested models)."
    if re.search(r"[/\\]|^[.~]", choice):
        raise ModelError(f"MODEL={choice!r}: there is no such folder", "correct the path, or use MODEL='embedded'")
    what = f"MODEL={choice!r} is neither auto, embedded, a Hub id like Qwen/Qwen2.5-0.5B-Instruct, nor a folder here"
    raise ModelError(what, "correct the name, or use MODEL='auto'")


def _is_id(choice: str) -> bool:
    """Whether this is a Hub id, ``maker/model``, and not a path into a folder that people keep runs and models in."""
    found = re.fullmatch(r"(\w[\w.-]*)/\w[\w.-]*", choice, re.ASCII)
    return bool(found) and found[1] not in ("my", "runs", "models", "out")


def _config(folder: Path) -> dict:
    path, run = folder / "config.json", folder / "adapter"
    if (folder / "adapter_config.json").exists() or (run.is_dir() and not path.exists()):  # transformers would load it
        cure = (
            f"name the model that it was trained on, and give this as the adapter: --adapter {shlex.quote(str(folder))}"
        )
        raise ModelError(f"{folder}: holds an adapter, not a model of its own", cure)
    if not path.exists():
        raise ModelError(f"{folder}: no config.json, so this is no model folder", "name the folder that holds it")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise ModelError(f"{folder} could not be loaded (config.json: {reason(e)})", "check the folder") from e
    return found if isinstance(found, dict) else {}


def _unnamed(choice: str) -> tuple[catalog.ModelSpec, Path, str]:
    here, larger = machine.machine(), []
    if here.device == "cuda":  # for training with an adapter; 4-bit is never chosen unasked
        larger = [s for s, *_ in estimate.choices(here.memory_free, here.bf16) if s in catalog.HUB_MODELS]
    for spec in larger if choice == "auto" else ():
        if folder := cached(spec):
            return spec, folder, f"Using {spec.hub_id} from your cache."
    embedded.verify()
    folder, line = embedded.embedded_dir(), f"Using the embedded model {catalog.EMBEDDED.key}."
    for spec in larger[:1]:
        line += f" A larger one fits this GPU: hf download {spec.hub_id} --revision {spec.revision}"
        line += f" ({spec.download / 1e9:.0f} GB, {spec.licence})."
    return catalog.EMBEDDED, folder, line


# huggingface_hub reads its variables once, when it is imported. These are read anew: a notebook's cell may set them.
def _hub() -> str:
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def _cache() -> str:
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if home := os.environ.get("HF_HOME"):
        named = named or os.path.join(home, "hub")
    return os.path.expandvars(os.path.expanduser(named)) if named else constants.HF_HUB_CACHE


def cached(spec: catalog.ModelSpec) -> Path | None:
    """The folder of ``spec`` in the Hub's cache, or None if it is not there whole: a download may have been cut off."""
    try:
        how = {"allow_patterns": FILES, "cache_dir": _cache(), "local_files_only": True}
        where = snapshot_download(spec.hub_id, revision=spec.revision, **how)
        index = Path(where, "model.safetensors.index.json")  # names the files of a model that is split in several
        names = json.loads(index.read_text())["weight_map"].values() if index.exists() else ["model.safetensors"]
    except Exception:  # every way of not being there is the same here; huggingface_hub has many types for it
        return None
    return Path(where) if all(Path(where, name).exists() for name in names) else None


def fetch(spec: catalog.ModelSpec) -> Path:
    """The folder of ``spec`` in the Hub's cache, downloaded if it is not there whole; a cut-off download goes on.

    ``HF_ENDPOINT`` names a mirror, ``HF_HOME`` another cache. Raises `DiskError` or `ModelError` (see `REFUSALS`).
    """
    if folder := cached(spec):
        return folder
    hub, cache = _hub(), _cache()
    try:
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in constants.ENV_VARS_TRUE_VALUES:
            raise errors.OfflineModeIsEnabled
        with disk_errors(cache, DISK_CURE):
            # Asked once: without a network, a download would try each file six times over 25 seconds.
            info = HfApi(endpoint=hub).model_info(spec.hub_id, revision=spec.revision, files_metadata=True, timeout=10)
            size = sum(file.size or 0 for file in info.siblings if file.rfilename.endswith(".safetensors"))
            machine.require_disk(cache, size, spec.hub_id, DISK_CURE)
            snapshot_download(spec.hub_id, revision=spec.revision, allow_patterns=FILES, cache_dir=cache, endpoint=hub)
    except HelpersError:
        raise
    except Exception as e:  # the network's errors are of whichever client huggingface_hub has inside
        cause = e
        while cause.__cause__:
            cause = cause.__cause__
        at, option = (f" at revision {spec.revision}", f" --revision {spec.revision}") if spec.revision else ("", "")
        words = {"id": spec.hub_id, "model": spec.hub_id + at, "fetch": f"hf download {spec.hub_id}{option}",
                 "hub": hub, "cache": cache, "reason": reason(cause)[:120]}  # fmt: skip
        what, cure = next((what, cure) for kind, what, cure in REFUSALS if isinstance(e, kind))
        raise ModelError(what.format(**words), cure.format(**words)) from e
    if folder := cached(spec):
        return folder
    raise ModelError(f"{spec.hub_id} has no weights as safetensors", OTHER)


def reason(error: BaseException) -> str:
    """The first line of what went wrong, at most 200 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
