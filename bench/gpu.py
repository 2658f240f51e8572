"""Time and memory of training on a GPU: `make bench-gpu`, or `python -m bench.gpu OUTDIR [GROUP ...]`.

Not a test. Qwen's shapes carry random weights: time and memory do not depend on what the weights are, answers would.
Rows are those of the course, split into tokens by the embedded model's tokenizer (whose ids all exist in Qwen's larger
vocabulary), so a row is about as long as it would be. Each group runs in a process of its own, and every figure is
written to OUTDIR/gpu.csv as soon as it is there; what fails is a line with its error. How a figure is taken and counted
stands in `gpu_figures`.
"""

import argparse
import contextlib
import csv
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
os.environ.setdefault("IDENTITY_MODEL", "embedded")

import torch
from transformers import AutoTokenizer

from bench.gpu_figures import WHO, Job, answer, bare_loop, matrix_rate, preset_of, shipped_keep, train, whole
from bench.shapes import DTYPES, on_gpu, random_model, settle
from helpers.models import catalog, embedded, estimate, machine
from helpers.models.estimate import FULL_BF16, FULL_FLOAT32, LORA_BF16, LORA_FLOAT32, QLORA
from helpers.models.load import load_model
from helpers.rows import identity
from helpers.training import recipes

COLUMNS = (
    "device", "shape", "weights", "what", "method", "batch", "accumulation", "checkpointing", "rows", "steps", "width",
    "tokens", "seconds", "tokens a second", "matrix share", "peak allocated MiB", "peak reserved MiB",
    "predicted MiB", "predicted / measured", "trained weights", "context MiB", "versions", "error",
)  # fmt: skip
SIZES = {spec.key.split("-")[1]: spec for spec in catalog.HUB_MODELS}


KEPT, KEPT_AGAIN = Job(LORA_BF16), Job(LORA_BF16, checkpointing=True)
PUBLISHED = Job(LORA_BF16, "published", 1, 16, 10)
PUBLISHED_AT_ONCE = Job(LORA_BF16, "published", 8, 1, 10)
IN_FOUR = (Job(QLORA, checkpointing=True), Job(QLORA))
FULL = (Job(FULL_BF16), Job(FULL_FLOAT32), Job(LORA_FLOAT32))
GROUPS = {
    "7B": (KEPT_AGAIN, KEPT, PUBLISHED_AT_ONCE, PUBLISHED, *IN_FOUR),
    "embedded": (),
    "1.5B": (KEPT, KEPT_AGAIN, *FULL, *IN_FOUR),
    "0.5B": (KEPT, KEPT_AGAIN, *FULL, PUBLISHED, PUBLISHED_AT_ONCE),
    "3B": (KEPT, KEPT_AGAIN, *IN_FOUR),
}


class Table:
    """Lines of JSON, one a figure, written as they come."""

    def __init__(self, path: Path, group: str, weights: str):
        packages = ("torch", "transformers", "trl", "peft")
        versions = " ".join(f"{p} {version(p)}" for p in packages)
        self.path = path
        self.always = {"device": machine.machine().name, "shape": group, "weights": weights, "versions": versions}

    def add(self, what: str, measure, **known) -> None:
        """Take a figure, or its error, and write it."""
        start = time.perf_counter()
        try:
            found = measure()
        except Exception as e:
            found = {"error": f"{type(e).__name__}: {e}".splitlines()[0][:200]}
        context = {}
        if on_gpu():
            free, total = torch.cuda.mem_get_info()
            context = {"context MiB": (total - free - torch.cuda.memory_reserved()) >> 20}
        line = {**self.always, "what": what, **known, **context, **found}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        told = {k: line[k] for k in ("seconds", "peak allocated MiB", "predicted / measured", "error") if k in line}
        print(f"  {self.always['shape']} {what} {known} {told} ({time.perf_counter() - start:.0f} s)", flush=True)


def known_of(job: Job) -> dict:
    """The columns that are settled before a job is measured."""
    names = {"method": job.method.name, "batch": job.batch, "accumulation": job.accumulation}
    return {**names, "checkpointing": job.checkpointing}


def measure_shape(group: str, table: Table, jobs) -> None:
    """Every job of one of Qwen's shapes; a model is made anew only where the number format changes."""
    tokenizer, rate, have = AutoTokenizer.from_pretrained(embedded.embedded_dir()), matrix_rate(), (None, None)
    for job in sorted(jobs, key=lambda j: (j.method.full, jobs.index(j))):

        def one(job=job):
            nonlocal have
            if have[0] != job.method.weights:
                have = (None, None)
                settle()
                have = (job.method.weights, random_model(SIZES[group], job.method))
            return train(have[1], tokenizer, job, preset_of(job), rate)

        table.add(job.what, one, **known_of(job))
        if job is jobs[0] or (job.method is QLORA and job is IN_FOUR[0]):
            table.add("answer", lambda: answer(have[1]), method=job.method.name, batch=1)
    table.add("matrix product", lambda: {"tokens a second": "", "matrix share": f"{rate / 1e12:.0f} TFLOP/s is 1"})


def measure_embedded(table: Table) -> None:
    """The default recipe: what more rows at once, bf16, the run folder, and the trainer itself change."""
    rate, own = matrix_rate(), recipes.preset_for(catalog.EMBEDDED).batch
    embedded_in(table, LORA_FLOAT32, rate, (32, 8, 4, own), (8, own))
    embedded_in(table, LORA_BF16, rate, (32, 8), ())


def embedded_in(table: Table, method: estimate.Method, rate: float, batches, closer) -> None:
    """The same in one number format: rows at once, and those of them for which the parts are told apart."""
    preset, keep = recipes.preset_for(catalog.EMBEDDED), shipped_keep()
    own = identity.read_rows(identity.shipped_rows("en"), WHO)
    model, tokenizer = load_model("embedded", dtype=DTYPES[method.weights])
    table.add("answer", lambda: answer(model), method=method.name, batch=1)
    for batch in batches:
        job = Job(method, "default recipe", batch, 1, preset.epochs)
        how = replace(preset, batch=batch, accumulation=1)
        table.add("default recipe", lambda j=job, h=how: train(model, tokenizer, j, h, rate), **known_of(job))
        if batch in closer:
            known = {"method": method.name, "batch": batch, "accumulation": 1}
            table.add("a bare loop", lambda h=how: bare_loop(model, tokenizer, h), **known)
            table.add(
                "train_identity, run folder and all", lambda h=how: whole(model, tokenizer, own, keep, h), **known
            )


def gather(folder: Path) -> None:
    """The lines of all groups as gpu.csv."""
    lines = [json.loads(t) for p in sorted(folder.glob("gpu-*.jsonl")) for t in p.read_text().splitlines()]
    with (folder / "gpu.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(lines)
    print(f"{len(lines)} figures, {sum('error' in line for line in lines)} errors: {folder / 'gpu.csv'}", flush=True)


def main() -> None:
    """Measure the groups one after another, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("groups", nargs="*", default=list(GROUPS), metavar="GROUP")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.one:
        (group,) = asked.groups
        random = "of the model" if group == "embedded" else "random"
        table = Table(asked.out / f"gpu-{group}.jsonl", group, random)
        measure_embedded(table) if group == "embedded" else measure_shape(group, table, GROUPS[group])
        return
    end = time.perf_counter() + float(os.environ.get("BENCH_SECONDS", "450"))
    for group in asked.groups:
        (asked.out / f"gpu-{group}.jsonl").unlink(missing_ok=True)
        print(f"== {group}", flush=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            command = [sys.executable, __file__, str(asked.out), group, "--one"]
            subprocess.run(command, timeout=max(1.0, end - time.perf_counter()))
        gather(asked.out)


if __name__ == "__main__":
    main()
