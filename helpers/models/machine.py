"""What this machine grants (device, cores, memory, disk, number formats) and the settings that use it.

Containers often grant less than the machine has, so the limits of control groups are read as well
(https://docs.kernel.org/admin-guide/cgroup-v2.html, files cpu.max and memory.max; and those of version 1).
"""

import contextlib
import ctypes
import gc
import math
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from helpers.errors import DiskError, ModelError

CGROUP = Path("/sys/fs/cgroup")
CGROUP_MEMORY = (  # versions 2 and 1: the files of limit, use and statistics, and in the last the field of file caches
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)


def _cgroup(name: str) -> str:
    with contextlib.suppress(OSError):
        return (CGROUP / name).read_text().strip()
    return ""


def cores() -> int:
    """CPU cores this process may use, at least 1: affinity and the container's quota, whichever is less."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    version_1 = "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"
    quota, _, period = (_cgroup("cpu.max") or " ".join(map(_cgroup, version_1))).partition(" ")
    limited = quota.isdigit() and period.isdigit() and int(period)  # a quota of "max" or -1 (version 1) is no limit
    return max(1, min(allowed, math.ceil(int(quota) / int(period))) if limited else allowed)


def memory() -> tuple[int, int]:
    """(total, free) bytes of memory for this process: the machine's, or the container's if those are less."""
    here = psutil.virtual_memory()
    for limit, used, statistics, field in CGROUP_MEMORY:
        if (most := _cgroup(limit)).isdigit():
            # Files that were read stay counted as used until the memory is wanted: the kernel gives those up by itself.
            cached = re.search(rf"^{field} (\d+)$", _cgroup(statistics), re.MULTILINE)
            free = int(most) - int(_cgroup(used) or 0) + (int(cached[1]) if cached else 0)
            return min(here.total, int(most)), min(here.available, free)
    return here.total, here.available


def existing(path: Path | str) -> Path:
    """``path`` as an absolute path, or the nearest folder above it that exists."""
    path = Path(path).absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def disk_free(path: Path | str) -> int:
    """Bytes free on the disk that holds ``path``, which need not exist yet."""
    return shutil.disk_usage(existing(path)).free


def require_disk(path: Path | str, needed: int, what: str, cure: str) -> None:
    """Raise `DiskError` if ``what`` takes more than the bytes free on the disk that holds ``path``."""
    if (free := disk_free(path)) < needed:
        raise DiskError(f"{path}: {free / 1e9:.1f} GB free, and {what} needs {needed / 1e9:.1f} GB", cure)


def keep_memory() -> None:
    """Let glibc keep freed tensors for the next step, instead of giving them back and faulting them in again.

    That took a fifth to a third of a training step on a CPU (`make bench`). Blocks of 32 MiB and more still go back at
    once. What ``MALLOC_MMAP_THRESHOLD_`` says wins; elsewhere than on Linux with glibc nothing is changed.
    """
    if sys.platform == "linux" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD in bytes, its largest value; see mallopt(3)
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def release_memory() -> None:
    """Give memory that is no longer used back to the system, which glibc keeps after a training (`keep_memory`)."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def set_threads() -> int:
    """Give torch the cores granted, or ``IDENTITY_THREADS``; returns the number. Raises `ModelError` if it is bad."""
    asked = os.environ.get("IDENTITY_THREADS", "")
    if asked and not (asked.isdecimal() and 0 < int(asked) <= 1024):
        raise ModelError(f"IDENTITY_THREADS={asked!r} is not a number of threads", "set it to 1 to 1024, or unset it")
    torch.set_num_threads(int(asked) if asked else cores())
    return torch.get_num_threads()


def device() -> str:
    """``cuda`` if a GPU is there, else ``cpu``; ``IDENTITY_DEVICE`` overrides it. Raises `ModelError` if it is wrong.

    Apple's GPU (``mps``) is used only if asked for: the reference results are float32 on the CPU, and no one tried it.
    """
    asked, gpu = os.environ.get("IDENTITY_DEVICE", ""), torch.cuda.is_available()
    if asked not in ("", "cpu", "cuda", "mps"):
        raise ModelError(f"IDENTITY_DEVICE={asked!r} is not a device", "set it to cpu, cuda or mps, or unset it")
    if asked == "cuda" and not gpu:
        build = "install torch's CUDA build, on Linux: pip install --force-reinstall -c constraints.txt torch"
        raise ModelError("IDENTITY_DEVICE=cuda, but torch sees no GPU", f"unset it, or {build}")
    return asked or ("cuda" if gpu else "cpu")


@dataclass(frozen=True)
class Machine:
    """A device, and what it has now: bytes of free memory (on CUDA the GPU's), and bfloat16 in hardware."""

    device: str
    name: str
    memory_free: int
    bf16: bool


def machine() -> Machine:
    """The device that is used here; raises `ModelError` as `device` does.

    GPUs have bfloat16 from compute capability 8.0 (Ampere), CPUs with AVX512-BF16 or AMX.
    """
    where = device()
    if where == "cuda":
        native = torch.cuda.get_device_capability()[0] >= 8
        return Machine(where, torch.cuda.get_device_name(), torch.cuda.mem_get_info()[0], native)
    can = torch.cpu.get_capabilities() if where == "cpu" else {}
    native = bool(can.get("avx512_bf16") or can.get("amx_tile"))
    return Machine(where, f"CPU, {cores()} cores", memory()[1], native)


def plain_attention() -> None:
    """On CUDA, compute attention under a mask from plain matrix products instead of a fused kernel.

    With torch 2.11 on an H200 in bfloat16 the fused kernels gave gradients that were no numbers as soon as there was a
    mask: with padding at step 2, with several rows in one at step 32. From plain products all 40 steps were sound, and
    one row at a time, without a mask, was sound too. Rows of this course are short, so it costs little.
    """
    if torch.cuda.is_available():
        torch.backends.cuda.enable_cudnn_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)
