"""The preflight: is this machine, and what is installed on it, fit for the course? It looks, and changes nothing.

A package that is missing or broken is a finding like any other: what imports torch is imported where it is needed.
"""

import contextlib
import os
import platform
import re
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from helpers import files
from helpers.errors import HelpersError
from helpers.models.catalog import EMBEDDED, GIB

MEMORY_NEEDED = int(2.7 * GIB)  # bytes: the highest peak that a notebook's kernel may reach
DISK_NEEDED = 500_000_000  # bytes: several run folders of about 70 MB each
INSTALL = "in the project's folder: python -m pip install -c constraints.txt -e ."


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its name, whether it will do, what was found, and what to do if it will not."""

    name: str
    ok: bool
    text: str
    cure: str


def findings(deep: bool = False) -> list[Finding]:
    """Every check in the order of the report; a check that cannot be made counts as failed. Never raises.

    ``deep`` hashes every file of the embedded model, also where none seems to have changed.
    """
    found = []
    for name in ("Python", "packages", "device", "cores", "memory", "disk", "weights"):
        try:
            ok, text, cure = _packages() if name == "packages" else _look(name, deep)
        except HelpersError as e:
            ok, text, cure = False, e.what, e.cure
        except Exception as e:  # a broken install, or a setting of no use, shows up as any of them
            ok, text, cure = False, f"could not be checked ({type(e).__name__}: {e})", INSTALL
        found.append(Finding(name, ok, text, "" if ok else cure))
    return found


def _packages() -> tuple[bool, str, str]:
    project = tomllib.loads((files.project_root() / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = dict(re.findall(r"^([\w.-]+)==([\w.]+)$", "\n".join(project["dependencies"]), re.MULTILINE))
    have = dict.fromkeys(asked, "missing")
    for name in asked:
        with contextlib.suppress(PackageNotFoundError):
            have[name] = version(name).split("+")[0]  # torch calls its CPU build 2.13.0+cpu
    wrong = [f"{name} {have[name]} (needs {pin})" for name, pin in asked.items() if have[name] != pin]
    shown = ", ".join(f"{name} {have[name]}" for name in ("torch", "transformers", "trl", "peft"))
    return not wrong, "; ".join(wrong) or f"all {len(asked)} as pinned: {shown}", INSTALL


def _look(name: str, deep: bool) -> tuple[bool, str, str]:
    if name == "Python":  # pip and this module's imports refuse one that is too old
        return True, platform.python_version(), ""
    import psutil

    from helpers.models import embedded, machine

    match name:
        case "device":
            here = machine.machine()
            return True, f"{here.device} ({here.name}), {'with' if here.bf16 else 'without'} native bfloat16", ""
        case "cores":
            text = f"{machine.cores()} granted, {machine.set_threads()} used for computing"
            return True, f"{text} (IDENTITY_THREADS changes it)", ""
        case "memory":
            # What this process holds already (a notebook that has loaded its model) is part of what it needs.
            total, free = machine.memory()
            free += psutil.Process().memory_info().rss
            text = f"{free / GIB:.1f} GiB free of {total / GIB:.1f} ({MEMORY_NEEDED / GIB:.1f} needed)"
            cure = "close other programs and notebooks (each running kernel holds its own model)"
            return free >= MEMORY_NEEDED, text, cure
        case "disk":
            home, cure = files.home(), "set IDENTITY_HOME to a folder of your own"
            if not (there := machine.existing(home)).is_dir() or not os.access(there, os.W_OK):
                return False, f"{home} cannot be written" + ("" if there.is_dir() else f" ({there} is a file)"), cure
            free, cure = machine.disk_free(home), "free some space, or set IDENTITY_HOME to a folder on a larger disk"
            return free >= DISK_NEEDED, f"{free / 1e9:.1f} GB free ({DISK_NEEDED / 1e9:.1f} needed)", cure
        case _:
            embedded.verify(deep)
            return True, f"{EMBEDDED.key} is in the cache{', every file hashed again' if deep else ''}", ""


def fits() -> list[str]:
    """Lines on what training needs and what fits here; none where `findings` says that this cannot be worked out."""
    try:
        from transformers.utils import is_bitsandbytes_available

        from helpers.models import estimate, machine

        here = machine.machine()
    except Exception:  # as in `findings`
        return []
    where, free, load = "cuda" if here.device == "cuda" else "cpu", here.memory_free, estimate.Load()
    if where == "cpu":
        needed, name = estimate.estimate(EMBEDDED.shape, estimate.LORA_FLOAT32, load, where).total, EMBEDDED.key
        best = f"Best on a CPU: {name} with LoRA float32, {needed / GIB:.1f} GiB; a larger model is slower."
    elif found := next(estimate.choices(free, here.bf16, is_bitsandbytes_available()), None):
        spec, method, way, needed = found
        twice = ", with checkpointing" if way.checkpointing else ""
        best = f"Best here: {spec.key} with {method.name}{twice}, {needed / GIB:.1f} GiB."
    else:
        best = "Nothing of this fits the memory now free: close other programs, or train in smaller batches."
    head = f"Training, {load.batch} rows of at most {load.width} tokens at once; free here: {free / GIB:.1f} GiB"
    note = "In brackets: does not fit. Checkpointed: every layer is computed twice, for less memory. Predicted."
    return [head, *estimate.table(free, where), note, best]
