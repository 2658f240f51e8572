"""The figures of `bench.gpu`: one job trained or asked, and what it took. Which jobs there are is settled there.

"seconds" is `trainer.train()` after two steps of warming up. Operations counted for T tokens, N weights that multiply
(linear layers and output layer) and n of an adapter: (4 N + 6 n) T for LoRA, 6 N T for all weights; what checkpointing
computes twice is not counted. The share is of a bf16 product of two 8192 x 8192 matrices, measured in the same process.
"""

import contextlib
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import GenerationConfig
from trl import SFTTrainer

from bench.common import QUIET, batches_seen, on_gpu, settle, wait
from helpers import runs
from helpers.models import catalog, estimate, machine
from helpers.models.adapters import take_off
from helpers.models.load import spec_of
from helpers.rows import identity, keep_rows, trainset
from helpers.training import recipes
from helpers.training.train import build_trainer, train_identity
from helpers.training.watch import MemoryCallback

WHO = identity.Identity("Tavi", "Lantern Workshop")
NEW_TOKENS = 64


@dataclass(frozen=True)
class Job:
    """One figure of the table.

    ``what`` names the rows: ``published`` (eight, once), ``kept`` (eight twice, 16 keep rows) or ``default recipe``.
    """

    method: estimate.Method
    what: str = "kept"
    batch: int = 8
    accumulation: int = 1
    epochs: int = 5
    checkpointing: bool = False

    def known(self) -> dict:
        """The columns that are settled before it is measured."""
        names = {"what": self.what, "method": self.method.name, "batch": self.batch, "accumulation": self.accumulation}
        return {**names, "checkpointing": self.checkpointing}


def own_rows() -> list[identity.Row]:
    """The shipped rows, filled."""
    return identity.read_rows(identity.shipped_rows("en"), WHO)


def shipped_keep() -> list[identity.Row]:
    """The reference run's keep rows: a random model has no answers worth keeping."""
    return keep_rows.read(runs.reference_run() / f"keep-{catalog.EMBEDDED.key}.jsonl")


def rows_of(what: str, preset: recipes.Preset):
    """The training set of a job."""
    if what == "default recipe":
        return trainset.to_dataset(own_rows(), shipped_keep(), preset, identity.further_rows(own_rows(), WHO, preset))
    preset = replace(recipes.BARE_PRESET, own_systems=(None,) if what == "published" else (None, None))
    return trainset.to_dataset(own_rows(), [] if what == "published" else shipped_keep()[:16], preset)


def trainer_of(model, tokenizer, preset, job: Job, data, folder: str, **changes):
    """The course's trainer, or for all weights TRL's without an adapter."""
    changes = {**QUIET, "activation_checkpointing": job.checkpointing, **changes}
    if not job.method.full:
        return build_trainer(model, tokenizer, data, folder, preset, **changes)
    for weight in model.parameters():
        weight.requires_grad_(True)
    config = recipes.sft_config(preset, folder, **{**recipes.precision(model), **changes})
    return SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)


def preset_of(job: Job) -> recipes.Preset:
    """Rank 8 on every linear layer, as published."""
    how = {"epochs": job.epochs, "batch": job.batch, "accumulation": job.accumulation}
    return replace(recipes.PUBLISHED_PRESET, **how)


def train(model, tokenizer, job: Job, preset: recipes.Preset, rate: float) -> dict:
    """Warm up, train, and return this job's figures."""
    data, spec = rows_of(job.what, preset), spec_of(model)
    with tempfile.TemporaryDirectory() as folder:
        for warm in (True, False):
            trainer = trainer_of(model, tokenizer, preset, job, data, folder, **({"max_steps": 2} if warm else {}))
            seen, sampler = batches_seen(trainer), MemoryCallback(0.02)
            settle()
            start = time.perf_counter()
            with contextlib.nullcontext() if on_gpu() else sampler:
                trainer.train()
            wait()
            seconds = time.perf_counter() - start
            peaks = (sampler.peak, 0)
            if on_gpu():
                peaks = (torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved())
            steps = trainer.state.global_step
            trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
            trainer.model.zero_grad(set_to_none=True)
            del trainer
            if not job.method.full:
                take_off(model)
            settle()
    found = figures(spec, job, preset, seen, seconds, peaks, trained, rate) | {"rows": len(data), "steps": steps}
    if on_gpu():  # what the card holds outside torch's allocator
        free, total = torch.cuda.mem_get_info()
        found["context MiB"] = (total - free - torch.cuda.memory_reserved()) >> 20
    return found


def figures(spec, job: Job, preset, seen, seconds: float, peaks, trained: int, rate: float) -> dict:
    """The columns that follow from what was measured."""
    shape, tokens = spec.shape, sum(n for n, _ in seen)
    multiply = shape.in_linear() + shape.vocab * shape.hidden
    work = 6 * multiply * tokens if job.method.full else (4 * multiply + 6 * trained) * tokens
    width = max(columns for _, columns in seen)
    load = estimate.load_of(preset, width, job.checkpointing)
    told = estimate.estimate(shape, job.method, load, machine.device())
    predicted = told.held if on_gpu() else told.total
    return {
        "width": width,
        "tokens": tokens,
        "seconds": round(seconds, 2),
        "tokens a second": round(tokens / seconds),
        "matrix share": round(work / seconds / rate, 4),
        "peak allocated MiB": peaks[0] >> 20,
        "peak reserved MiB": peaks[1] >> 20,
        "predicted MiB": predicted >> 20,
        "predicted / measured": round(predicted / peaks[0], 3),
        "trained weights": trained,
    }


def answer(model) -> dict:
    """Seconds of an answer of exactly `NEW_TOKENS` tokens to a question of 40, greedy, the median of three."""
    ids = torch.randint(100, 40_000, (1, 40), device=model.device)
    config = GenerationConfig(
        max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0, eos_token_id=2
    )
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        with torch.no_grad():
            found = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        wait()
        seconds.append(time.perf_counter() - start)
        assert found.shape == (1, 40 + NEW_TOKENS)
    took = statistics.median(seconds[1:])
    return {"tokens": NEW_TOKENS, "seconds": round(took, 3), "tokens a second": round(NEW_TOKENS / took, 1)}


def whole(model, tokenizer, preset) -> dict:
    """Seconds of `train.train_identity`, checkpoints, adapter and manifest included."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        train_identity(model, tokenizer, own_rows(), shipped_keep(), Path(folder) / "run", preset, identity=WHO)
        seconds = time.perf_counter() - start
        metrics = json.loads((Path(folder) / "run" / "metrics.json").read_text())
    take_off(model)
    return {"seconds": round(seconds, 2), "steps": metrics["steps"], "peak allocated MiB": metrics["peak_bytes"] >> 20}
