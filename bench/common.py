"""What several benchmarks measure in the same way: the matrix rate, the batches a trainer is given, rows of a table."""

import csv
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from helpers.models import machine

QUIET = {"save_strategy": "no", "logging_steps": 1000, "disable_tqdm": True}


def on_gpu() -> bool:
    """Whether this measures a GPU; on a CPU only times and the process's memory can be had."""
    return machine.device() == "cuda"


def wait() -> None:
    """Wait until the GPU has done what it was given."""
    if on_gpu():
        torch.cuda.synchronize()


def settle() -> None:
    """Wait for the GPU and forget what is no longer held."""
    gc.collect()
    wait()
    if on_gpu():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def matrix_rate(n: int, dtype: torch.dtype, products: int = 12) -> float:
    """Operations a second of a product of two (n, n) matrices of random numbers: the median of ``products``."""
    a, b = (torch.randn(n, n, device=machine.device(), dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(products + 5):
        start = time.perf_counter()
        a @ b
        wait()
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 / statistics.median(seconds[5:])


def batches_seen(trainer) -> list[tuple[int, int]]:
    """A list that will hold (tokens without padding, columns) of every batch the trainer is given."""
    seen, collate = [], trainer.data_collator

    def collating(rows):
        batch = collate(rows)
        # Without padding all rows of a batch stand end to end, and there is no mask.
        tokens = batch["attention_mask"].sum() if "attention_mask" in batch else batch["input_ids"].numel()
        seen.append((int(tokens), batch["input_ids"].shape[1]))
        return batch

    trainer.data_collator = collating
    return seen


class Table:
    """Rows written to the CSV file ``path`` as they come, after those it holds; ``always`` is told in each."""

    def __init__(self, path: Path, columns: tuple[str, ...], always: dict):
        self.path, self.columns, self.always = path, columns, always

    def add(self, known: dict, measure: Callable[[], dict]) -> None:
        """Write ``known`` and what ``measure`` returns, or in the column ``error`` what went wrong."""
        start = time.perf_counter()
        try:
            found = measure()
        except Exception as e:
            found = {"error": f"{type(e).__name__}: {e}"[-1500:]}
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self.columns, restval="")
            if not file.tell():
                writer.writeheader()
            writer.writerow({**self.always, **known, **found})
        print(f"  {time.perf_counter() - start:.0f} s", known, found, flush=True)
