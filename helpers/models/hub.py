"""Models from the Hugging Face Hub, one of its mirrors, or its cache: what is there, and fetching it whole.

Before anything is fetched, the Hub is asked once for the model: without a network, huggingface_hub would try each file
six times over 25 seconds. Loading what was fetched is `load`'s work.
"""

import json
from pathlib import Path

from huggingface_hub import HfApi, constants, errors, snapshot_download

from helpers.errors import HelpersError, ModelError
from helpers.files import disk_errors
from helpers.models import machine
from helpers.models.catalog import ModelSpec

constants.HF_HUB_DISABLE_TELEMETRY = True  # also where huggingface_hub was imported before this package
# Weights as safetensors alone, and what a tokenizer and its template need: no pickles, no code.
FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
SECONDS = 10  # for the Hub's first answer
DISK_CURE = "free some space, or set HF_HOME to a folder on a larger disk; a download goes on where it was cut off"
OTHER = "choose another model, or use MODEL='embedded'"
BY_HAND = "fetch it where there is a network ({fetch}) and give its folder as MODEL, or use MODEL='embedded'"
# What huggingface_hub raises, what that means, and what to do. The first type that fits counts; its own texts are long.
REFUSALS = (
    (errors.OfflineModeIsEnabled, "{model} is not in the cache ({cache}), and HF_HUB_OFFLINE is set",
     f"unset HF_HUB_OFFLINE; or {BY_HAND}"),
    (errors.GatedRepoError, "{id} is only for those who agreed to its terms",
     "agree to them on its page and type: hf auth login; or use MODEL='embedded'"),
    ((errors.RepositoryNotFoundError, errors.RevisionNotFoundError), "{hub} has no {model} that you may read",
     f"correct the id, or for a private model type: hf auth login; or {OTHER}"),
    (Exception, "{id} is not in the cache, and {hub} cannot be reached ({reason})",
     f"check the network, or set HF_ENDPOINT to a mirror that you can reach; or {BY_HAND}"),
)  # fmt: skip


def cached(spec: ModelSpec) -> Path | None:
    """The folder of ``spec`` in the Hub's cache, or None if it is not there whole: a download may have been cut off."""
    try:
        folder = _snapshot(spec, local_files_only=True)
        index = folder / "model.safetensors.index.json"  # names the files of a model that is split in several
        names = json.loads(index.read_text())["weight_map"].values() if index.exists() else ["model.safetensors"]
    except Exception:  # every way of not being there is the same here; huggingface_hub has many types for it
        return None
    return folder if all((folder / name).exists() for name in names) else None


def _snapshot(spec: ModelSpec, **how) -> Path:
    return Path(snapshot_download(spec.hub_id, revision=spec.revision, allow_patterns=FILES, **how))


def fetch(spec: ModelSpec) -> Path:
    """The folder of ``spec`` in the Hub's cache, downloaded if it is not there whole; a cut-off download goes on.

    ``HF_ENDPOINT`` names a mirror and ``HF_HOME`` another cache, as everywhere. Raises `DiskError`, or for all other
    reasons `ModelError` (see `REFUSALS`).
    """
    if folder := cached(spec):
        return folder
    try:
        with disk_errors(constants.HF_HUB_CACHE, DISK_CURE):
            info = HfApi().model_info(spec.hub_id, revision=spec.revision, files_metadata=True, timeout=SECONDS)
            size = sum(file.size or 0 for file in info.siblings if file.rfilename.endswith(".safetensors"))
            machine.require_disk(constants.HF_HUB_CACHE, size, spec.hub_id, DISK_CURE)
            _snapshot(spec)
    except HelpersError:
        raise
    except Exception as e:  # the network's errors are of whichever client huggingface_hub has inside
        raise refused(spec, e) from e
    if folder := cached(spec):
        return folder
    raise ModelError(f"{spec.hub_id} has no weights as safetensors", OTHER)


def refused(spec: ModelSpec, error: Exception) -> ModelError:
    """What ``error`` means for the reader who asked for ``spec``, by the table `REFUSALS`."""
    cause = error
    while cause.__cause__:
        cause = cause.__cause__
    at, option = (f" at revision {spec.revision}", f" --revision {spec.revision}") if spec.revision else ("", "")
    words = {"id": spec.hub_id, "model": spec.hub_id + at, "fetch": f"hf download {spec.hub_id}{option}",
             "hub": constants.ENDPOINT, "cache": constants.HF_HUB_CACHE, "reason": reason(cause)[:120]}  # fmt: skip
    what, cure = next((what, cure) for kind, what, cure in REFUSALS if isinstance(error, kind))
    return ModelError(what.format(**words), cure.format(**words))


def reason(error: BaseException) -> str:
    """The first line of what went wrong, at most 200 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
