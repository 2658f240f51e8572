"""Time and memory of training on a GPU: `make bench-gpu`, or `python -m bench.gpu OUT [GROUP ...]`.

Not a test. Qwen's shapes carry random weights: time and memory do not depend on what the weights are, answers would.
Rows are those of the course, split into tokens by the embedded model's tokenizer (whose ids all exist in Qwen's larger
vocabulary), so a row is about as long as it would be. Each group runs in a process of its own, and every figure is
written to OUT/gpu.csv as soon as it is there, in place of the group's older ones; what fails is a line with its error.
How a figure is taken and counted stands in `bench.gpu_figures`.
"""

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from transformers import AutoTokenizer

from bench.common import Table, matrix_rate, on_gpu, settle
from bench.gpu_figures import Job, answer, preset_of, train, whole
from bench.shapes import DTYPES, random_model
from helpers import files
from helpers.models import catalog, embedded, machine
from helpers.models.estimate import FULL_BF16, FULL_FLOAT32, LORA_BF16, LORA_FLOAT32, QLORA
from helpers.models.load import load_model
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


def reference_rate() -> float:
    """Operations a second of a large bfloat16 product, the rate that shares are of."""
    return matrix_rate(8192 if on_gpu() else 1024, torch.bfloat16, 20)


def measure_shape(group: str, table: Table, jobs) -> None:
    """Every job of one of Qwen's shapes; a model is made anew only where the number format changes."""
    tokenizer, rate, have = AutoTokenizer.from_pretrained(embedded.embedded_dir()), reference_rate(), (None, None)
    for job in sorted(jobs, key=lambda j: (j.method.full, jobs.index(j))):

        def one(job=job):
            nonlocal have
            if have[0] != job.method.weights:
                have = (None, None)
                settle()
                have = (job.method.weights, random_model(SIZES[group], job.method))
            return train(have[1], tokenizer, job, preset_of(job), rate)

        table.add(job.known(), one)
        if job is jobs[0] or (job.method is QLORA and job is IN_FOUR[0]):
            table.add({"what": "answer", "method": job.method.name, "batch": 1}, lambda: answer(have[1]))
    table.add({"what": "matrix product"}, lambda: {"matrix share": f"{rate / 1e12:.0f} TFLOP/s is 1"})


def measure_embedded(table: Table) -> None:
    """The default recipe in two number formats: what more rows at once change and, in float32, the run folder."""
    preset, rate = recipes.preset_for(catalog.EMBEDDED), reference_rate()
    for method, batches in ((LORA_FLOAT32, (32, 8, preset.batch)), (LORA_BF16, (32, 8))):
        model, tokenizer = load_model("embedded", dtype=DTYPES[method.weights])
        table.add({"what": "answer", "method": method.name, "batch": 1}, lambda m=model: answer(m))
        for batch in batches:
            job, how = (
                Job(method, "default recipe", batch, 1, preset.epochs),
                replace(preset, batch=batch, accumulation=1),
            )
            table.add(job.known(), lambda m=model, t=tokenizer, j=job, h=how: train(m, t, j, h, rate))
            if method is LORA_FLOAT32 and batch in (8, preset.batch):
                known = {**job.known(), "what": "train_identity, run folder and all"}
                table.add(known, lambda m=model, t=tokenizer, h=how: whole(m, t, h))


def measure(group: str, path: Path) -> None:
    """Every figure of one group, in this process."""
    packages = ("torch", "transformers", "trl", "peft")
    versions = " ".join(f"{p} {version(p)}" for p in packages)
    weights = "of the model" if group == "embedded" else "random"
    always = {"device": machine.machine().name, "shape": group, "weights": weights, "versions": versions}
    table = Table(path, COLUMNS, always)
    measure_embedded(table) if group == "embedded" else measure_shape(group, table, GROUPS[group])


def main(
    out: Annotated[Path, typer.Argument(help="The folder for gpu.csv.")],
    groups: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(GROUPS)}; or all.")] = None,
    one: Annotated[bool, typer.Option("--one", hidden=True)] = False,
) -> None:
    """Measure time and memory of training, each group in a process of its own; BENCH_SECONDS (450) at most."""
    path = files.make_dir(out.resolve()) / "gpu.csv"
    if one:
        measure(groups[0], path)
        return
    groups = groups or list(GROUPS)
    if path.exists():
        before = pd.read_csv(path, dtype=str)
        files.write_atomic(path, before[~before["shape"].isin(groups)].to_csv(index=False))
    end = time.perf_counter() + float(os.environ.get("BENCH_SECONDS", "450"))
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    env = {"IDENTITY_MODEL": "embedded", **os.environ, **offline}
    for group in groups:
        print(f"== {group}", flush=True)
        command = [sys.executable, "-m", "bench.gpu", str(path.parent), group, "--one"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, timeout=max(1.0, end - time.perf_counter()), cwd=files.project_root(), env=env)
    print(f"Written: {path}")


if __name__ == "__main__":
    typer.run(main)
