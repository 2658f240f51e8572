"""The project's folders, and files that are written whole or not at all. Nothing here knows what a model or a run is."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from helpers.errors import DiskError, ProbeError, RunError


def project_root() -> Path:
    """The folder that holds ``pyproject.toml`` (the package is installed editable, so it is above this file)."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "pyproject.toml").exists():
            return folder
    raise RunError(
        "the project's folder was not found from the installed package",
        "install it editable from a clone: pip install -c constraints.txt -e .",
    )


def home() -> Path:
    """Where ``my/`` and ``runs/`` are made: ``IDENTITY_HOME`` if set (tests and classes use it), else the root."""
    return Path(os.environ["IDENTITY_HOME"]) if os.environ.get("IDENTITY_HOME") else project_root()


def my_dir() -> Path:
    """The learner's own files: ``my/``, made if missing."""
    return make_dir(home() / "my")


def data_dir() -> Path:
    """The shipped data: ``data/`` of the project."""
    return project_root() / "data"


FULL = {errno.ENOSPC, errno.EDQUOT}


BARRED = {errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}


# safetensors and torch wrap the operating system's error in types and words of their own.
FULL_IN_WORDS = ("No space left", "StorageFull", "Disk quota", "PytorchStreamWriter failed", "inline_container.cc")


@contextlib.contextmanager
def disk_errors(path: Path | str, cure: str = "free some space and run it again") -> Iterator[None]:
    """Turn a full or unwritable disk into a `DiskError` that names ``path``; ``cure`` is for a full one."""
    try:
        yield
    except DiskError:
        raise
    except Exception as e:
        code = getattr(e, "errno", None)
        if code in FULL or any(words in str(e) for words in FULL_IN_WORDS):
            raise DiskError(f"{path}: the disk is full; what was there before is unchanged", cure) from e
        if code in BARRED:
            raise DiskError(f"{path}: cannot be written ({e.strerror})", "choose a folder you may write to") from e
        raise


def make_dir(path: Path) -> Path:
    """Make ``path`` and its parents; raises `DiskError`."""
    with disk_errors(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError as e:
            raise DiskError(f"{path}: there is a file of this name", "choose another folder, or move the file") from e
    return path


def write_atomic(path: Path | str, text: str) -> Path:
    """Write ``text`` (UTF-8) so that ``path`` is either the old file or the whole new one; raises `DiskError`."""
    path = Path(path)
    make_dir(path.parent)
    with disk_errors(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as f:
                f.write(text)
                f.flush()
                os.fsync(f.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return path


@contextlib.contextmanager
def folder_atomic(path: Path | str) -> Iterator[Path]:
    """A scratch folder beside ``path`` that takes its place only if the block ends well; raises `DiskError`.

    An older ``path`` is set aside and deleted only once the new one stands in its place.
    """
    path = Path(path)
    make_dir(path.parent)
    with disk_errors(path):
        scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield scratch
            os.chmod(scratch, 0o755)
            _swap(scratch, path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _swap(new: Path, path: Path) -> None:
    if not path.exists():
        os.replace(new, path)
        return
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        os.replace(path, aside / "old")  # a folder cannot be renamed onto one that holds files
        try:
            os.replace(new, path)
        except BaseException:
            os.replace(aside / "old", path)
            raise
    except BaseException:
        with contextlib.suppress(OSError):
            aside.rmdir()  # empty unless the old folder could not be put back: then it stays
        raise
    shutil.rmtree(aside, ignore_errors=True)


def write_json(path: Path | str, value: object) -> Path:
    """`write_atomic` of ``value`` as readable JSON."""
    return write_atomic(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_jsonl(path: Path | str, rows: list[dict]) -> Path:
    """`write_atomic` of ``rows``, one JSON object a line."""
    return write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@contextlib.contextmanager
def claimed(path: Path | str) -> Iterator[bool]:
    """Whether ``path`` is this process's to make: False while another is at it, so that several share the work.

    The claim is a locked file beside ``path``; it ends with the block, or with the process however that ends.
    """
    lock = filelock.FileLock(f"{path}.lock")
    try:
        with disk_errors(path):
            lock.acquire(timeout=0)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def sha256(path: Path | str) -> str:
    """The file's SHA-256 in hexadecimal, read in pieces."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def read_jsonl(path: Path | str) -> list[dict]:
    """A JSONL file as a list of objects; raises `ProbeError` with the line."""
    path = Path(path)
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except (FileNotFoundError, IsADirectoryError) as e:
        raise ProbeError(f"{path}: there is no such file", "check the name") from e
    except UnicodeDecodeError as e:
        raise ProbeError(f"{path}: not UTF-8 text (byte {e.start})", "save the file as UTF-8") from e
    rows = []
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as e:
            raise ProbeError(f"{path}, line {n}: not JSON ({e})", "one JSON object a line") from e
        if not isinstance(row, dict):
            raise ProbeError(f"{path}, line {n}: not a JSON object", 'write {"question": "..."}')
        rows.append(row)
    if not rows:
        raise ProbeError(f"{path}: no questions in it", 'write one {"question": "..."} a line')
    return rows
