"""Models from the Hugging Face Hub, one of its mirrors, or its cache: what is there, and fetching it whole.

A model that cannot be had is one clear line. The library below would try each file six times over 25 seconds without
a network; here the Hub is asked once whether it is there before anything is fetched.
"""

import json
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub import errors as hub_errors

from helpers.errors import DiskError, ModelError
from helpers.files import disk_errors
from helpers.models import machine
from helpers.models.catalog import ModelSpec

constants.HF_HUB_DISABLE_TELEMETRY = True  # also where huggingface_hub was imported before this package
# Weights as safetensors alone, and what a tokenizer and its template need: no pickles, no code.
FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
SECONDS = 10  # for the Hub's first answer
ROOM_CURE = "free some space, or set HF_HOME to a folder on a larger disk; a download goes on where it was cut off"
EMBEDDED_CURE = "or use MODEL='embedded'"


def cached(spec: ModelSpec) -> Path | None:
    """The folder of ``spec`` in the Hub's cache, or None if it is not there whole: a download may have been cut off."""
    try:
        return whole(_snapshot(spec, local_files_only=True))
    except Exception:  # every way of not being there is the same here; huggingface_hub has many types for it
        return None


def _snapshot(spec: ModelSpec, **how) -> Path:
    return Path(snapshot_download(spec.hub_id, revision=spec.revision, allow_patterns=list(FILES), **how))


def whole(folder: Path) -> Path | None:
    """``folder`` if every file of weights that it names is in it, else None."""
    index = folder / "model.safetensors.index.json"  # names the files of a model that is split in several
    try:
        names = set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else {"model.safetensors"}
    except (ValueError, KeyError):
        return None
    return folder if all((folder / name).exists() for name in names) else None


def fetch(spec: ModelSpec) -> Path:
    """The folder of ``spec`` in the Hub's cache, downloaded if it is not there whole.

    ``HF_ENDPOINT`` names a mirror and ``HF_HOME`` another cache, as everywhere; a download that was cut off goes on
    where it was.

    Raises:
        ModelError: no network, no such model or revision, not allowed, no safetensors in it.
        DiskError: it does not fit on the disk.
    """
    if folder := cached(spec):
        return folder
    try:
        info = HfApi().model_info(spec.hub_id, revision=spec.revision, files_metadata=True, timeout=SECONDS)
    except Exception as e:  # the network's errors are of whichever client huggingface_hub has inside
        raise _refused(spec, e) from e
    cache = Path(constants.HF_HUB_CACHE)
    _check_room(spec, sum(s.size or 0 for s in info.siblings if s.rfilename.endswith(".safetensors")), cache)
    try:
        with disk_errors(cache, ROOM_CURE):
            folder = _snapshot(spec)
    except DiskError:
        raise
    except Exception as e:
        raise _refused(spec, e) from e
    if not whole(folder):
        raise ModelError(f"{spec.hub_id} has no weights as safetensors", f"choose another model, {EMBEDDED_CURE}")
    return folder


def _check_room(spec: ModelSpec, needed: int, cache: Path) -> None:
    free = machine.disk_free(cache)
    if needed > free:
        raise DiskError(
            f"{spec.hub_id} is {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {cache}",
            ROOM_CURE,
        )


def _refused(spec: ModelSpec, e: Exception) -> ModelError:
    """What went wrong, in one line with its cure: the library's own texts take several."""
    at = f" at revision {spec.revision}" if spec.revision else ""
    elsewhere = f"hf download {spec.hub_id}{f' --revision {spec.revision}' if spec.revision else ''}"
    by_hand = f"fetch it where there is a network ({elsewhere}) and give its folder as MODEL, {EMBEDDED_CURE}"
    if isinstance(e, hub_errors.OfflineModeIsEnabled):
        return ModelError(
            f"{spec.hub_id}{at} is not in the cache ({constants.HF_HUB_CACHE}), and HF_HUB_OFFLINE is set",
            f"unset HF_HUB_OFFLINE; or {by_hand}",
        )
    if isinstance(e, hub_errors.GatedRepoError):
        return ModelError(
            f"{spec.hub_id} is only for those who agreed to its terms",
            f"agree to them on its page and type: hf auth login; {EMBEDDED_CURE}",
        )
    if isinstance(e, hub_errors.RevisionNotFoundError):
        return ModelError(f"{constants.ENDPOINT} has no {spec.hub_id}{at}", f"choose another model, {EMBEDDED_CURE}")
    if isinstance(e, hub_errors.RepositoryNotFoundError):
        return ModelError(
            f"{constants.ENDPOINT} has no model {spec.hub_id} that you may read",
            f"correct the id, or for a private model type: hf auth login; {EMBEDDED_CURE}",
        )
    return ModelError(
        f"{spec.hub_id} is not in the cache, and {constants.ENDPOINT} cannot be reached ({_reason(e)})",
        f"check the network, or set HF_ENDPOINT to a mirror that you can reach; or {by_hand}",
    )


def _reason(e: BaseException) -> str:
    while e.__cause__:
        e = e.__cause__
    return (str(e).splitlines() or [type(e).__name__])[0][:120]
