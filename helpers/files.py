"""The project's folders, files written whole or not at all, the reader of JSON lines; not what a model or a run is."""

import contextlib
import errno
import gzip
import hashlib
import itertools
import json
import os
import re
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from helpers.errors import BusyError, DiskError, FileError, ProbeError, RunError

LOCK = ".lock"
HALF = re.compile(r"\\u[dD][89a-fA-F]")  # how JSON writes half of a character; whole ones are two such halves
FULL = {errno.ENOSPC, errno.EDQUOT}
BARRED = {errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}
MOST_BYTES = 200_000_000  # of a text file; the largest of ours has a tenth of it
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
    told = os.environ.get("IDENTITY_HOME")
    return in_project(told) if told else project_root()


def in_project(told: str) -> Path:
    """The folder that a variable names: ``~`` is the user's, and a relative path begins at the project's folder.

    A notebook's kernel runs in another folder than the terminal, and both have to mean the same one. Raises `RunError`.
    """
    try:
        return Path(os.path.normpath(project_root() / Path(told.strip()).expanduser()))
    except RuntimeError as e:
        raise RunError(f"{told}: this machine has no such user", "write the whole path of the folder") from e


def real(path: Path | str) -> Path:
    """The absolute path without links, of something that need not be there; a loop of links raises nothing."""
    return Path(os.path.realpath(path))


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
            cure = "choose a shorter name" if code == errno.ENAMETOOLONG else "choose a folder you may write to"
            raise DiskError(f"{path}: cannot be written ({e.strerror})", cure) from e
        raise


def make_dir(path: Path) -> Path:
    """Make ``path`` and its parents; raises `DiskError`."""
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(path: Path | str, doing: str) -> Iterator[None]:
    """Hold the file or folder ``path`` (which need not exist yet) while it is written: nobody else writes it then.

    Raises `BusyError` at once if another process or thread holds it; ``doing`` says what they do with it. The lock ends
    with its process, however that ends. It is a hidden file beside ``path``, which goes away with it.
    """
    path = real(path)  # one folder has one lock, however it is spelt
    make_dir(path.parent)
    inside = os.path.isdir(path) and not os.access(path.parent, os.W_OK)  # a folder that was mounted, say
    lock = filelock.FileLock(path / LOCK if inside else path.with_name(f".{path.name}{LOCK}"), is_singleton=True)
    try:
        with disk_errors(path):
            lock.acquire(timeout=0)
    except filelock.Timeout as e:
        raise BusyError(f"{path}: another process is {doing} right now", "wait for it, or choose another --out") from e
    try:
        yield
    finally:
        if lock.lock_counter == 1:  # whoever waits with the file open sees that it is gone, and opens a new one
            with contextlib.suppress(OSError):
                os.unlink(lock.lock_file)
        lock.release()


def free(path: Path) -> Path:
    """``path``, or with -2, -3 and so on before its suffix, whichever is not there yet."""
    names = itertools.chain([path], (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in itertools.count(2)))
    return next(name for name in names if not os.path.lexists(name))


def check_output(path: Path | str, *inputs: Path | str | None) -> Path:
    """``path``, if a file may be written there: a plain file or nothing is there, and it is none of ``inputs``.

    Raises `DiskError` for a folder, a link, a pipe or a device, which writing would replace, for an input, and for a
    file in a folder that is an input.
    """
    path = Path(path)
    with disk_errors(path):
        there, place = os.path.lexists(path), real(path)
        if there and (path.is_symlink() or not path.is_file()):
            kind = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "a pipe or a device"
            raise DiskError(f"{path}: is {kind}, which is never replaced", "choose the name of a new or a plain file")
        for other in (Path(one) for one in inputs if one):
            inside = there and (real(other) in place.parents or (os.path.exists(other) and path.samefile(other)))
            if inside or place == real(other):
                raise DiskError(
                    f"{path}: is one of the files to be read, and would be lost", "choose another name for the output"
                )
    return path


def follow_umask(folder: Path) -> None:
    """Give every file below ``folder`` the mode of a new one here: safetensors writes files for one user alone."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".mode.") as scratch:
        fresh = Path(scratch, "fresh")
        fresh.touch()
        mode = fresh.stat().st_mode & 0o777
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o777 != mode:
            path.chmod(mode)


def write_atomic(path: Path | str, text: str) -> Path:
    """Write ``text`` (UTF-8) so that ``path`` is either the old file or the whole new one; raises `DiskError`.

    See `check_output` for what is never replaced.
    """
    path = check_output(path)
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
        follow_umask(scratch)
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


def read_bytes(path: Path | str, error: type[FileError] = ProbeError) -> bytes:
    """The file's bytes; raises ``error`` for a device, which may have no end, and for more than `MOST_BYTES`."""
    if stat.S_ISCHR(os.stat(path).st_mode):
        raise error("is a device", "name a file", path)
    with open(path, "rb") as file:
        read = file.read(MOST_BYTES + 1)
    if len(read) > MOST_BYTES:
        raise error(f"has more than {MOST_BYTES // 10**6} MB", "name a file of rows or of questions", path)
    return read


def read_text(path: Path | str, error: type[FileError] = ProbeError) -> str:
    """The file as UTF-8 text (a byte order mark is dropped); raises ``error`` if it is missing, empty or not UTF-8."""
    try:
        text = read_bytes(path, error).decode("utf-8-sig")
    except OSError as e:
        what = "there is no such file" if isinstance(e, FileNotFoundError) else f"cannot be read ({e.strerror})"
        raise error(what, "check the name", path) from e
    except UnicodeDecodeError as e:
        raise error(f"not UTF-8 text (byte {e.start})", "save the file as UTF-8", path) from e
    if not text.strip():
        raise error("the file is empty", "write at least one line, or copy one of data/", path)
    return text


def once(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object of ``pairs``; raises `ValueError` for a key that stands in it twice, of which one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"the keys {[key for key, _ in pairs]} stand in one object, and one of them twice")
    return found


def parse_json(text: str, path: Path | str | None = None, error: type[FileError] = ProbeError, row: int | None = None):
    """The JSON value in ``text``; raises ``error``, also for half a character and for a key that stands twice."""
    cure = "write one JSON object a line" if row else "mend the file, or write it again"
    try:
        value = json.loads(text, object_pairs_hook=once)
        if HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as e:
        half = ascii(e.object[e.start])[1:-1]
        raise error(f"holds {half}, which is half a character", "write the whole character", path, row) from e
    except (ValueError, RecursionError) as e:
        raise error(f"not JSON ({e})", cure, path, row) from e
    return value


def _one_value(text: str) -> bool:
    try:
        return "\n" in text.strip() and isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def parse_jsonl(text: str, path: Path | str | None = None, error: type[FileError] = ProbeError) -> list[dict]:
    """The JSON objects of ``text``, one a line; raises ``error`` that names ``path`` and the line (from 1)."""
    rows = []
    for n, line in enumerate(text.split("\n"), 1):  # not splitlines: a row may hold U+2028, U+2029 or U+0085
        try:
            rows += [parse_json(line, path, error, n)] if line.strip() else []
        except error:
            if rows or not _one_value(text):
                raise
            raise error("is one JSON value over several lines", "write each object on one line", path) from None
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


def read_json(path: Path | str, error: type[FileError] = ProbeError):
    """The JSON value in a file; see `read_text` and `parse_json` for what is refused."""
    return parse_json(read_text(path, error), path, error)


def read_jsonl(path: Path | str, error: type[FileError] = ProbeError) -> list[dict]:
    """The objects of a JSONL file, at least one; see `read_text` and `parse_jsonl` for what is refused."""
    return parse_jsonl(read_text(path, error), path, error)
