"""Speed and memory of the course on this machine: `make bench` prints a table and writes out/bench.json.

Not a test: nothing fails for being slow. Every part runs in a process of its own, so that its peak of memory (the
resident set, sampled every 50 ms; about 0.4 GiB of it are Python and torch) is its own and not that of the part before.

Training is also given as a share of the machine's matrix rate, measured in the same process (float32, 2048 x 2048,
median of 12 products of 2 n^3 operations each). The operations counted for a row of T tokens, N weights of the base
model and n of the adapter are 4 N T + 6 n T: 2 forward through a weight, 2 backward for the gradient of its input and,
for the adapter alone, 2 for its own. N holds the embedding once, as the output layer. Attention itself (a few per cent
at these lengths), norms and the optimiser are not counted, so the share is a little low.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import psutil
import torch
import typer
from transformers import TrainerCallback

from bench.common import QUIET, batches_seen, matrix_rate
from helpers import files
from helpers.chat.generate import answers, stream
from helpers.models import machine
from helpers.models.load import load_model
from helpers.rows import keep_rows
from helpers.rows.identity import Identity, further_rows, read_rows, shipped_rows
from helpers.rows.trainset import to_dataset
from helpers.training import recipes
from helpers.training.train import build_trainer, make_keep_rows
from helpers.training.watch import MemoryCallback

PROBES, NEW_TOKENS, BATCH = 24, 24, 16
WARM_STEPS, STEPS = 4, 24
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
    rows = files.read_jsonl(files.data_dir() / "probes" / "en.jsonl")
    questions = [row["messages"] for row in rows[:: len(rows) // PROBES][:PROBES]]
    answers(model, tokenizer, questions[:1], max_new_tokens=4)  # the first call sets things up
    found, rate = {}, {}
    for batch in (1, BATCH):
        start = time.perf_counter()
        found[batch] = answers(model, tokenizer, questions, max_new_tokens=NEW_TOKENS, batch=batch)
        rate[batch] = len(questions) / (time.perf_counter() - start)
    if found[1] != found[BATCH]:
        raise AssertionError("a batch gave other answers than one question at a time")
    return {"answers_a_second": rate[1], "answers_a_second_batched": rate[BATCH], "speed_up": rate[BATCH] / rate[1]}


class _Clock(TrainerCallback):
    def __init__(self):
        self.times: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        self.times.append(time.perf_counter())


def training() -> dict:
    """Rows a second with the default preset over `STEPS` steps, and what share of the matrix rate that is."""
    preset = recipes.DEFAULT_PRESET
    model, tokenizer = load_model("embedded")
    who = Identity("Tavi", "Lantern Workshop")
    identity_rows = read_rows(shipped_rows(), who)
    questions = keep_rows.questions_for(preset)
    keep = make_keep_rows(model, tokenizer, questions, preset.first_sentence)
    before, clock = matrix_rate(2048, torch.float32), _Clock()
    with tempfile.TemporaryDirectory() as folder:
        changes = {"max_steps": WARM_STEPS + STEPS, **QUIET}
        data = to_dataset(identity_rows, keep, preset, further_rows(identity_rows, who, preset))
        trainer = build_trainer(model, tokenizer, data, Path(folder), preset, [clock], **changes)
        seen = batches_seen(trainer)
        trainer.train()
    rate = STEPS * preset.batch * preset.accumulation / (clock.times[-1] - clock.times[WARM_STEPS - 1])
    matrix = statistics.median([before, matrix_rate(2048, torch.float32)])
    counted = {name: p.numel() for name, p in trainer.model.named_parameters()}
    added = sum(n for name, n in counted.items() if "lora_" in name)
    tokens = statistics.mean(n for n, _ in seen[WARM_STEPS * preset.accumulation :]) / preset.batch
    flops = rate * tokens * (4 * (sum(counted.values()) - added) + 6 * added)
    return {
        "rows_a_second": rate,
        "tokens_a_row": tokens,
        "training_gflops": flops / 1e9,
        "matrix_gflops": matrix / 1e9,
        "share_of_matrix_rate": flops / matrix,
        "preset_seconds": len(data) * preset.epochs / rate,
    }


PARTS = {"load": load, "first token": first_token, "probing": probing, "training": training}
LINES = [  # name in the results, what it is called, unit, what we aim at on two idle cores
    ("load_seconds", "load the converted model", "s", "at most 2"),
    ("first_token_seconds", "first text of a chat answer", "s", "at most 1"),
    ("first_token_later_seconds", "the same, a later answer", "s", "at most 1"),
    ("answers_a_second", "answers, one at a time", "/s", ""),
    ("answers_a_second_batched", f"answers, {BATCH} at a time", "/s", ""),
    ("speed_up", "batch against one at a time, same answers", "x", "at least 5"),
    ("rows_a_second", "training, rows", "/s", ""),
    ("tokens_a_row", "tokens a row", "", ""),
    ("preset_seconds", "whole default training at that rate", "s", "at most 60"),
    ("training_gflops", "training, operations", "GFLOP/s", ""),
    ("matrix_gflops", "matrix products, operations", "GFLOP/s", ""),
    ("share_of_matrix_rate", "training as a share of that", "", ""),
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
        if part in results:
            print(f"  {'peak memory, ' + part:<44}{results[part]['peak_mib']:>9.0f} {'MiB':<8} at most 1741")


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
