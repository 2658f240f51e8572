"""Several seats on one machine: `python -m bench.seats [SEATS] [ONLY]`, by default 3 kernels with 01, 02 and 04.

Every seat executes the notebooks headless in a process of its own, with one thread and a home of its own, all on one
copy of the converted weights that may be read only. Prints one seat alone, then all at once: seconds, and the peak of
memory of each kernel (MiB, the resident set; what is shared between kernels is counted in each).
"""

import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from helpers.models import embedded


def seat(home: Path, only: str) -> subprocess.Popen:
    """Start executing the notebooks as a seat of its own."""
    here = {
        "IDENTITY_HOME": str(home), "IDENTITY_THREADS": "1", "OMP_NUM_THREADS": "1", "IDENTITY_STATIC": "1",
        "IDENTITY_MODEL": "embedded", "IDENTITY_DEVICE": "cpu", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "helpers", "run", "--only", only, "--out", str(home / "out")]
    return subprocess.Popen(
        command, env=os.environ | here, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def together(seats: int, only: str) -> None:
    """Run so many seats at once and print how each went; raises `RuntimeError` if one failed."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        running = [seat(Path(folder) / str(n), only) for n in range(seats)]
        said = [process.communicate()[0] for process in running]
        seconds = time.monotonic() - began
    if any(process.returncode for process in running):
        raise RuntimeError("a seat failed:\n" + "\n".join(said))
    print(f"{seats} at once: {seconds:.0f} s")
    for n, text in enumerate(said, 1):
        rows = re.findall(r"^(\d\d)_\S+ +([\d.]+) +(\d+)  done$", text, re.M)
        print(f"  seat {n}: " + ", ".join(f"{name} {float(s):.0f} s {mib} MiB" for name, s, mib in rows))


def main(
    seats: Annotated[int, typer.Argument(help="How many at once.")] = 3,
    only: Annotated[str, typer.Argument(help="Which notebooks.")] = "01,02,04",
) -> None:
    """Measure one seat, then all at once, on weights that nobody may write to meanwhile."""
    folder = embedded.embedded_dir()
    before = {path: path.stat().st_mode for path in [folder, *folder.iterdir()]}
    writable = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
    try:
        for path, mode in before.items():
            path.chmod(mode & ~writable)
        for n in (1, seats):
            together(n, only)
    finally:
        for path, mode in before.items():
            path.chmod(mode)


if __name__ == "__main__":
    typer.run(main)
