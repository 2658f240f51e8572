"""Speed and memory of the course on this machine: `make bench` prints a table and writes out/bench.json.

Not a test: nothing fails for being slow. Every part runs in a process of its own, so that its peak of memory (the
resident set, sampled every 50 ms; about 0.4 GiB of it are Python and torch) is its own and not that of the part before.

What training costs, by rows a step, number format and blocks, is measured in `bench.training`.
"""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Annotated

import pandas as pd
import psutil
import torch
import typer

from bench import training
from helpers import files
from helpers.chat.generate import answers, stream
from helpers.measure import probes
from helpers.models import machine
from helpers.models.load import load_model
from helpers.training.watch import MemoryCallback

PROBES, NEW_TOKENS, BATCH = 24, 24, 16
OUT = files.project_root() / "out" / "bench.json"


def load() -> dict:
    """Seconds from nothing (imports done) to a model that can answer."""
    start = time.perf_counter()
    load_model("embedded")
    return {"load_seconds": time.perf_counter() - start}


def first_token() -> dict:
    """Seconds from asking to the first text on the screen, for the first answer after loading and a later one."""
    model, tokenizer = load_model("embedded")
    seconds = []
    for question in ("Who are you?", "What can you do for me today?"):
        start = time.perf_counter()
        pieces = stream(model, tokenizer, question, max_new_tokens=NEW_TOKENS)
        next(pieces)
        seconds.append(time.perf_counter() - start)
        pieces.close()
    return {"first_token_seconds": seconds[0], "first_token_later_seconds": seconds[1]}


def probing() -> dict:
    """Answers a second one at a time and in a batch, over shipped probes; raises if the answers differ."""
    model, tokenizer = load_model("embedded")
    questions = [probe["messages"] for probe in probes.sample(probes.load_probes("en", "test"), PROBES)]
    answers(model, tokenizer, questions[:1], max_new_tokens=4)  # the first call sets things up
    found, rate = {}, {}
    for batch in (1, BATCH):
        start = time.perf_counter()
        found[batch] = answers(model, tokenizer, questions, max_new_tokens=NEW_TOKENS, batch=batch)
        rate[batch] = len(questions) / (time.perf_counter() - start)
    if found[1] != found[BATCH]:
        raise AssertionError("a batch gave other answers than one question at a time")
    return {"answers_a_second": rate[1], "answers_a_second_batched": rate[BATCH], "speed_up": rate[BATCH] / rate[1]}


WAYS = {how.name: how for how in training.WAYS}
PARTS = {
    "load": load,
    "first token": first_token,
    "probing": probing,
    **{name: partial(training.measure, how) for name, how in WAYS.items()},
}
LINES = [  # name in the results, what it is called, unit, what we aim at on two idle cores
    ("load_seconds", "load the converted model", "s", "at most 2"),
    ("first_token_seconds", "first text of a chat answer", "s", "at most 1"),
    ("first_token_later_seconds", "the same, a later answer", "s", "at most 1"),
    ("answers_a_second", "answers, one at a time", "/s", ""),
    ("answers_a_second_batched", f"answers, {BATCH} at a time", "/s", ""),
    ("speed_up", "batch against one at a time, same answers", "x", "at least 5"),
]


def measure(part: str) -> dict:
    """Run one part in this process and add its peak memory in MiB."""
    with MemoryCallback() as sampler:
        found = PARTS[part]()
    return {**found, "peak_mib": sampler.peak / 2**20}


def facts() -> dict:
    """The machine and the versions that the numbers belong to, and how busy other processes kept it."""
    return {
        "when": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "device": machine.machine().name,
        "cores": machine.cores(),
        "threads": machine.set_threads(),
        "memory_gib": machine.memory()[0] / 2**30,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "busy_percent_before": psutil.cpu_percent(interval=1.0),
        "versions": {p: version(p) for p in ("torch", "transformers", "peft", "trl")},
    }


def show(results: dict) -> None:
    """Print the table."""
    here = results["machine"]
    values = {name: value for part in PARTS for name, value in results.get(part, {}).items()}
    print(f"{here['device']}, {here['threads']} threads, {here['memory_gib']:.1f} GiB, {here['cpu_capability']}")
    print(f"torch {here['versions']['torch']}; {here['busy_percent_before']:.0f}% busy before the start")
    for name, label, unit, aim in LINES:
        if name in values:
            print(f"  {label:<44}{values[name]:>9.2f} {unit:<8} {aim}".rstrip())
    for part in PARTS:
        if part in results and part not in WAYS:
            print(f"  {'peak memory, ' + part:<44}{results[part]['peak_mib']:>9.0f} {'MiB':<8} at most 1741")
    if trained := {part: results[part] for part in WAYS if part in results}:
        table = pd.DataFrame(trained).T.rename(columns=lambda name: name.replace("_", " "))
        print(table.round(2).to_string())


def main(parts: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(PARTS)}; or all.")] = None) -> None:
    """Measure the course's speed and memory on the CPU, print a table, and write out/bench.json."""
    os.environ.update(IDENTITY_DEVICE="cpu", HF_HUB_OFFLINE="1")  # the course's reference; the parts inherit it
    results: dict = {"machine": facts()}
    fresh = multiprocessing.get_context("spawn")
    for part in parts or PARTS:
        print(f"{part} ...", flush=True)
        with ProcessPoolExecutor(1, mp_context=fresh) as process:
            results[part] = process.submit(measure, part).result()
    files.write_json(OUT, results)
    show(results)
    print(f"Written: {OUT.relative_to(files.project_root())}")


if __name__ == "__main__":
    typer.run(main)
