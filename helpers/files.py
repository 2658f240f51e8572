"""The project's folders, files written whole or not at all, the reader of JSON lines; not what a model or a run is."""

import contextlib
import errno
import gzip
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from helpers.errors import DiskError, FileError, ProbeError, RunError

FULL = {errno.ENOSPC, errno.EDQUOT}
BARRED = {errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}
# safetensors and torch wrap the operating system's error in types and words of their own.
FULL_IN_WORDS = ("No space left", "StorageFull", "Disk quota", "PytorchStreamWriter failed", "inline_container.cc")


def project_root() -> Path:
    """The folder that holds ``pyproject.toml`` (the package is installed editable, so it is above this file)."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "pyproject.toml").exists():
        cure = "install it editable from a clone: pip install -c constraints.txt -e ."
        raise RunError("the project's folder was not found from the installed package", cure)
    return root


def home() -> Path:
    """Where ``my/`` and ``runs/`` are made: ``IDENTITY_HOME`` if set (tests and classes use it), else the root."""
    return Path(os.environ["IDENTITY_HOME"]) if os.environ.get("IDENTITY_HOME") else project_root()


def my_dir() -> Path:
    """The learner's own files: ``my/``, made if missing."""
    return make_dir(home() / "my")


def data_dir() -> Path:
    """The shipped data: ``data/`` of the project."""
    return project_root() / "data"


@contextlib.contextmanager
def disk_errors(path: Path | str, cure: str = "free some space and run it again") -> Iterator[None]:
    """Turn a full or unwritable disk into a `DiskError` that names ``path``; ``cure`` is for a full one."""
    try:
        yield
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
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_atomic(path: Path | str, text: str) -> Path:
    """Write ``text`` (UTF-8) so that ``path`` is either the old file or the whole new one; raises `DiskError`."""
    path = Path(path)
    make_dir(path.parent)
    with disk_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        with open(Path(scratch, "new"), "w", encoding="utf-8", newline="\n") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(f.name, path)
    return path


@contextlib.contextmanager
def folder_atomic(path: Path) -> Iterator[Path]:
    """A scratch folder beside ``path`` that replaces it only if the block ends well; raises `DiskError`."""
    make_dir(path.parent)
    with disk_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as place:
        scratch, old = Path(place, "new"), Path(f"{place}-old")
        scratch.mkdir()
        yield scratch
        try:
            if path.exists():
                os.replace(path, old)  # a folder cannot be renamed onto one that holds files
            os.replace(scratch, path)
        except BaseException:
            if old.exists():
                os.replace(old, path)
            raise
        shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path | str, value: object) -> Path:
    """`write_atomic` of ``value`` as readable JSON."""
    return write_atomic(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_jsonl(path: Path | str, rows: list[dict]) -> Path:
    """`write_atomic` of ``rows``, one JSON object a line."""
    return write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def sha256(path: Path | str) -> str:
    """The file's SHA-256 in hexadecimal, read in pieces."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def read_text(path: Path | str, error: type[FileError] = ProbeError) -> str:
    """The file as UTF-8 text (a byte order mark is dropped); raises ``error`` if it is missing, empty or not UTF-8."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as e:
        what = "there is no such file" if isinstance(e, FileNotFoundError) else f"cannot be read ({e.strerror})"
        raise error(what, "check the name", path) from e
    except UnicodeDecodeError as e:
        raise error(f"not UTF-8 text (byte {e.start})", "save the file as UTF-8", path) from e
    if not text.strip():
        raise error("the file is empty", "write at least one line, or copy one of data/", path)
    return text


def parse_jsonl(text: str, path: Path | str | None = None, error: type[FileError] = ProbeError) -> list[dict]:
    """The JSON objects of ``text``, one a line; raises ``error`` that names ``path`` and the line (from 1)."""
    rows = []
    for n, line in enumerate(text.split("\n"), 1):  # not splitlines: a row may hold U+2028, U+2029 or U+0085
        try:
            rows += [json.loads(line)] if line.strip() else []
        except (ValueError, RecursionError) as e:
            raise error(f"not JSON ({e})", "write one JSON object a line", path, n) from e
        if rows and not isinstance(rows[-1], dict):
            raise error("not a JSON object", "write one JSON object a line", path, n)
    return rows


def read_packed(path: Path | str, error: type[FileError] = ProbeError) -> list[dict]:
    """The objects of a gzipped JSONL file; raises ``error`` if it is missing or not whole."""
    try:
        text = gzip.decompress(Path(path).read_bytes()).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as e:
        raise error(f"no whole compressed file ({e})", f"git checkout {path}, or ask again", path) from e
    return parse_jsonl(text, path, error)


def read_jsonl(path: Path | str, error: type[FileError] = ProbeError) -> list[dict]:
    """The objects of a JSONL file, at least one; see `read_text` and `parse_jsonl` for what is refused."""
    return parse_jsonl(read_text(path, error), path, error)
