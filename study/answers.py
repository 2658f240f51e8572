"""Answers on disk: a file for each finished batch while a study runs, and one compressed file for all at its end.

An answer is a JSON object with ``weights, seed, system, sample, id, answer, device``. A compressed file is the same for
the same answers, whenever it is written. Nothing here asks a model or judges what it said.
"""

import contextlib
import gzip
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock

from helpers import files


@contextlib.contextmanager
def claimed(path: Path | str) -> Iterator[bool]:
    """Whether this process is to make ``path``: not if it is there, nor while another process makes it.

    So several share the work. The claim is a locked file beside ``path``, which ends with the block, or with the
    process however that ends; raises `DiskError`.
    """
    with contextlib.ExitStack() as held:
        try:
            with files.disk_errors(path):
                held.enter_context(filelock.FileLock(f"{path}.lock", timeout=0))
        except filelock.Timeout:
            yield False
        else:
            yield not Path(path).exists()


def kept(folder: Path) -> list[dict]:
    """Every answer of the finished batches in ``folder``, in the order of the files' names."""
    return [row for path in sorted(Path(folder).glob("*.jsonl")) for row in files.read_jsonl(path)]


def pack(path: Path, rows: Sequence[dict]) -> Path:
    """Write ``rows`` to the compressed file ``path``, whole or not at all; raises `DiskError`."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return write_bytes(path, gzip.compress(lines.encode(), mtime=0))


def write_bytes(path: Path, content: bytes) -> Path:
    """Write ``content`` to ``path``, whole or not at all; raises `DiskError`."""
    scratch = files.make_dir(path.parent) / f".{path.name}.{os.getpid()}"
    try:
        with files.disk_errors(path):
            scratch.write_bytes(content)
            os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    return path


def unpack(path: Path) -> list[dict]:
    """The answers in the compressed file ``path``; raises `ProbeError` if it is missing or not whole."""
    return files.read_packed(path)
