"""Speed and memory of the course on this machine: `make bench` prints a table and writes out/bench.json.

Not a test: nothing fails for being slow. Every part runs in a process of its own, so that its peak of memory (the
resident set, sampled every 50 ms; about 0.4 GiB of it are Python and torch) is its own and not that of the part before.

Training is also given as a share of the machine's matrix rate, measured in the same process (float32, 2048 x 2048,
median of 12 products of 2 n^3 operations each). The operations counted for a row of T tokens, N weights of the base
model and n of the adapter:

    4 N T + 6 n T

Forward through a weight takes 2 operations a token, backward through it another 2 for the gradient of its input and 2
for its own; LoRA leaves the last out for the base model (6 N T would be full fine-tuning). N holds the embedding
once: SmolLM2 looks it up for nothing and multiplies by it at the end. Attention itself (a few per cent at these
lengths), norms and the optimiser are not counted, so the share is a little low.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
import torch
from transformers import TrainerCallback

from helpers import files
from helpers.chat.generate import answers, stream
from helpers.models import machine
from helpers.models.load import load_model
from helpers.rows import keep_rows
from helpers.rows.identity import (
    Identity,
    further_rows,
    read_rows,
    shipped_rows,  # fmt: skip
)
from helpers.rows.trainset import to_dataset
from helpers.training import memory, recipes
from helpers.training.keep import make_keep_rows
from helpers.training.train import build_trainer

MIB = 2**20
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


def matrix_rate(n: int = 2048, products: int = 12) -> float:
    """Operations a second of a float32 product of two (n, n) matrices: the median of ``products``."""
    a, b = torch.rand(n, n), torch.rand(n, n)
    seconds = []
    for _ in range(products + 2):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 / statistics.median(seconds[2:])


class _Clock(TrainerCallback):
    def __init__(self):
        self.times: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        self.times.append(time.perf_counter())


def _count_tokens(trainer) -> list[int]:
    """A list that will hold the tokens of every batch the trainer is given, padding left out."""
    counts, collate = [], trainer.data_collator

    def counting(rows):
        batch = collate(rows)
        counts.append(int(batch["attention_mask"].sum()))
        return batch

    trainer.data_collator = counting
    return counts


def training() -> dict:
    """Rows a second with the default preset over `STEPS` steps, and what share of the matrix rate that is."""
    preset = recipes.DEFAULT_PRESET
    model, tokenizer = load_model("embedded")
    who = Identity("Tavi", "Lantern Workshop")
    identity_rows = read_rows(shipped_rows(), who)
    keep = make_keep_rows(
        model,
        tokenizer,
        keep_rows.questions(n=preset.keep_questions, hard=preset.hard_questions),
        preset.first_sentence,
    )
    before, clock = matrix_rate(), _Clock()
    with tempfile.TemporaryDirectory() as folder:
        changes = {"max_steps": WARM_STEPS + STEPS, "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1000}
        data = to_dataset(identity_rows, keep, preset, further_rows(identity_rows, who, preset))
        trainer = build_trainer(model, tokenizer, data, Path(folder), preset, [clock], **changes)
        lengths = _count_tokens(trainer)
        trainer.train()
    passes = slice(WARM_STEPS * preset.accumulation, (WARM_STEPS + STEPS) * preset.accumulation)
    rate = STEPS * preset.batch * preset.accumulation / (clock.times[-1] - clock.times[WARM_STEPS - 1])
    machine = statistics.median([before, matrix_rate()])
    counted = {name: p.numel() for name, p in trainer.model.named_parameters()}
    added = sum(n for name, n in counted.items() if "lora_" in name)
    tokens = statistics.mean(lengths[passes]) / preset.batch
    flops = rate * tokens * (4 * (sum(counted.values()) - added) + 6 * added)
    return {
        "rows_a_second": rate,
        "tokens_a_row": tokens,
        "training_gflops": flops / 1e9,
        "matrix_gflops": machine / 1e9,
        "share_of_matrix_rate": flops / machine,
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
    with memory.Sampler() as sampler:
        found = PARTS[part]()
    return {**found, "peak_mib": sampler.peak / MIB}


def run_apart(part: str) -> dict:
    """Run one part in a process of its own; its last line is the result."""
    command = [sys.executable, __file__, part]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def facts() -> dict:
    """The machine and the versions that the numbers belong to, and how busy other processes kept it."""
    here = machine.machine()
    packages = ("torch", "transformers", "peft", "trl")
    return {
        "when": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "device": here.name,
        "cores": here.cores,
        "threads": machine.set_threads(),
        "memory_gib": here.memory_total / 2**30,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "busy_percent_before": psutil.cpu_percent(interval=1.0),
        "versions": {p: version(p) for p in packages},
    }


def show(results: dict) -> None:
    """Print the table."""
    values = {name: value for part in PARTS for name, value in results[part].items()}
    machine = results["machine"]
    print(f"{machine['device']}, {machine['threads']} threads, {machine['memory_gib']:.1f} GiB,", end=" ")
    print(f"{machine['cpu_capability']}, torch {machine['versions']['torch']}; ", end="")
    print(f"{machine['busy_percent_before']:.0f}% busy before the start")
    for name, label, unit, aim in LINES:
        print(f"  {label:<44}{values[name]:>9.2f} {unit:<8} {aim}".rstrip())
    for part in PARTS:
        print(f"  {'peak memory, ' + part:<44}{results[part]['peak_mib']:>9.0f} {'MiB':<8} at most 1741")


def main() -> None:
    """Measure every part, print the table, write the JSON; or with a part's name, measure that one."""
    os.environ.update(IDENTITY_DEVICE="cpu", HF_HUB_OFFLINE="1")  # the course's reference; the parts inherit it
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
        return
    results: dict = {"machine": facts()}
    for number, part in enumerate(PARTS, 1):
        print(f"[{number}/{len(PARTS)}] {part} ...", flush=True)
        results[part] = run_apart(part)
    files.write_json(OUT, results)
    show(results)
    print(f"Written: {OUT.relative_to(files.project_root())}")


if __name__ == "__main__":
    main()
