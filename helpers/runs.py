"""Where things lie and how they are written: the project's folders, run folders, atomic files, manifests.

Nothing here knows what a model is. A run folder counts as complete only when its ``manifest.json`` is there and
every file it names has the recorded SHA-256, so a folder cut off mid-write is seen and never used by mistake.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import filelock

from helpers.errors import DiskError, RunError

MANIFEST = "manifest.json"


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


def reference_run() -> Path:
    """The shipped run that later notebooks fall back to: ``data/reference/``."""
    return data_dir() / "reference"


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


def new_run(model_key: str, parent: Path | None = None) -> Path:
    """Make and return a fresh ``runs/<YYYYMMDDTHHMMSSZ>-<model>[-n]/``; an existing one is never taken."""
    parent = make_dir(parent or home() / "runs")
    stem = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{model_key}"
    for n in range(1, 1000):
        folder = parent / (stem if n == 1 else f"{stem}-{n}")
        with contextlib.suppress(FileExistsError), disk_errors(folder):
            folder.mkdir()
            return folder
    raise RunError(f"{parent}: a thousand runs in one second", "wait a second and try again")


def seal(run: Path, facts: dict) -> Path:
    """Write the run's manifest last: ``facts`` and the SHA-256 of every file in the folder but checkpoints."""
    files = {
        str(p.relative_to(run).as_posix()): sha256(p)
        for p in sorted(run.rglob("*"))
        if p.is_file() and p.name != MANIFEST and not p.relative_to(run).parts[0].startswith(("checkpoint-", "."))
    }
    return write_json(run / MANIFEST, {"facts": facts, "files": files})


def read_manifest(run: Path) -> dict:
    """The run's manifest after checking the hash of every file that it names; raises `RunError`."""
    path = Path(run) / MANIFEST
    if not path.exists():
        raise RunError(f"{run}: no {MANIFEST}, so this run did not finish", "run notebook 03 again, or resume the run")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        files, _ = dict(manifest["files"]), dict(manifest["facts"])
    except (ValueError, KeyError, TypeError, OSError) as e:
        raise RunError(f"{path}: not readable as a manifest ({e})", "run notebook 03 again") from e
    for name, digest in files.items():
        if not (Path(run) / name).is_file() or sha256(Path(run) / name) != digest:
            raise RunError(f"{run}: {name} is missing or not what was written", "run notebook 03 again")
    return manifest


def latest(model_key: str) -> tuple[Path, str]:
    """The newest complete run made with ``model_key`` and a line that says so; else the shipped reference run.

    Only folders named as `new_run` names them for this model count: an experiment, made with another word after the
    model's name, is never taken for the run to go on with. Runs that are incomplete are named in the line.
    """
    skipped = []
    named = re.compile(rf"\d{{8}}T\d{{6}}Z-{re.escape(model_key)}(-\d+)?")
    found = [p for p in (home() / "runs").glob("*") if p.is_dir() and named.fullmatch(p.name)]
    for run in sorted(found, key=lambda p: (p.name[:16], len(p.name), p.name), reverse=True):  # ...-10 after ...-9
        try:
            if read_manifest(run)["facts"].get("model") == model_key:
                note = f" (incomplete and passed over: {', '.join(skipped)})" if skipped else ""
                return run, f"Using your run {run.name}{note}."
        except RunError:
            skipped.append(run.name)
    note = f" Incomplete and passed over: {', '.join(skipped)}." if skipped else ""
    return reference_run(), f"No finished run of your own yet: using the shipped reference run.{note}"
