"""What this machine grants: device, cores, memory, disk, number formats. It measures, and sets how it is used here.

Containers often grant less than the machine has, so the limits of control groups are read as well
(https://docs.kernel.org/admin-guide/cgroup-v2.html, files cpu.max and memory.max).
"""

import contextlib
import ctypes
import importlib.util
import math
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from helpers.errors import ModelError

CGROUP = Path("/sys/fs/cgroup")
M_MMAP_THRESHOLD = -3  # as glibc numbers it
MMAP_THRESHOLD = 256 * 1024  # bytes


def _cgroup_number(name: str) -> list[float]:
    try:
        return [float(word) for word in (CGROUP / name).read_text().split()]
    except (OSError, ValueError):  # no control groups, or "max": no limit
        return []


def cores() -> int:
    """CPU cores this process may use, at least 1: affinity and the container's quota, whichever is less."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_number("cpu.max")
    if len(quota) == 2 and quota[1]:
        allowed = min(allowed, math.ceil(quota[0] / quota[1]))
    return max(1, allowed)


def memory_total() -> int:
    """Bytes of memory this process may use: the machine's, or the container's limit if that is less."""
    limits = _cgroup_number("memory.max") or _cgroup_number("memory/memory.limit_in_bytes")
    return int(min([psutil.virtual_memory().total, *limits]))


def memory_free() -> int:
    """Bytes still free for this process within `memory_total`."""
    free = psutil.virtual_memory().available
    limits = _cgroup_number("memory.max") or _cgroup_number("memory/memory.limit_in_bytes")
    used = _cgroup_number("memory.current") or _cgroup_number("memory/memory.usage_in_bytes")
    # Files that were read stay counted as used until the memory is wanted: the kernel gives those up by itself.
    return int(min(free, limits[0] - used[0] + _cgroup_file_cache())) if limits and used else int(free)


def _cgroup_file_cache() -> float:
    for name, field in (("memory.stat", "inactive_file"), ("memory/memory.stat", "total_inactive_file")):
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = (CGROUP / name).read_text().splitlines()
            return float(next(line.split()[1] for line in lines if line.split()[:1] == [field]))
    return 0.0


def disk_free(path: Path | str) -> int:
    """Bytes free on the disk that holds ``path`` (or the nearest parent that exists)."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def return_memory() -> None:
    """Let glibc hand every freed tensor straight back to the system, instead of keeping it for the next of that size.

    Training rows differ in length, so what is kept seldom fits: the peak is a sixth lower without it. Does nothing on
    other C libraries, and where ``MALLOC_MMAP_THRESHOLD_`` is set. Source: mallopt(3), M_MMAP_THRESHOLD.
    """
    if sys.platform == "linux" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)


def set_threads() -> int:
    """Give torch the cores granted, or ``IDENTITY_THREADS``; returns the number. Raises `ModelError` if it is bad."""
    asked = os.environ.get("IDENTITY_THREADS", "")
    if asked and not (asked.isdigit() and int(asked) > 0):
        raise ModelError(f"IDENTITY_THREADS={asked!r} is not a number of threads", "set it to 1 or more, or unset it")
    torch.set_num_threads(int(asked) if asked else cores())
    return torch.get_num_threads()


def device() -> str:
    """``cuda`` if a GPU is there, else ``cpu``; ``IDENTITY_DEVICE`` overrides it (``mps`` only that way).

    Apple's GPU is not chosen by itself: the reference results are float32 on the CPU, and it was never tried here.
    """
    asked = os.environ.get("IDENTITY_DEVICE", "")
    if asked not in ("", "cpu", "cuda", "mps"):
        raise ModelError(f"IDENTITY_DEVICE={asked!r} is not a device", "set it to cpu, cuda or mps, or unset it")
    if asked == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            "IDENTITY_DEVICE=cuda, but torch sees no GPU",
            "unset it, or install torch's CUDA build, on Linux: pip install --force-reinstall -c constraints.txt torch",
        )
    return asked or ("cuda" if torch.cuda.is_available() else "cpu")


def native_bf16(where: str) -> bool:
    """Whether bfloat16 runs in hardware: GPUs from compute capability 8.0 (Ampere), CPUs with AVX512-BF16 or AMX."""
    if where == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    if where == "cpu":
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, lambda: False)() for name in checks)
    return False


def has_bitsandbytes() -> bool:
    """Whether the optional package for 4-bit weights is installed (the extra ``4bit``)."""
    return importlib.util.find_spec("bitsandbytes") is not None


@dataclass(frozen=True)
class Machine:
    """A snapshot for the preflight. Memory and disk in bytes."""

    device: str
    name: str
    cores: int
    threads: int
    memory_total: int
    memory_free: int
    bf16: bool


def machine() -> Machine:
    """This machine as the kernel may use it now. On CUDA, memory is the GPU's."""
    where = device()
    total, free = memory_total(), memory_free()
    name = f"CPU, {cores()} cores"
    if where == "cuda":
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
    return Machine(where, name, cores(), torch.get_num_threads(), total, free, native_bf16(where))
