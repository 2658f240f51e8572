"""The figures of `bench_gpu`: one job trained or asked, and what it took. Which jobs there are is settled there.

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

from bench.shapes import on_gpu, settle
from helpers import runs
from helpers.models import catalog, estimate, machine
from helpers.models.adapters import take_off
from helpers.models.estimate import LORA_FLOAT32
from helpers.models.load import spec_of
from helpers.rows import identity, keep_rows, trainset
from helpers.training import memory, recipes
from helpers.training.train import build_trainer, train_identity

WHO = identity.Identity("Tavi", "Lantern Workshop")
QUIET = {"save_strategy": "no", "logging_steps": 1000, "disable_tqdm": True}
NEW_TOKENS = 64


@dataclass(frozen=True)
class Job:
    """One figure of the table. ``rows``: ``published`` (eight, once) or ``kept`` (eight twice, with 16 keep rows)."""

    method: estimate.Method
    what: str = "kept"
    batch: int = 8
    accumulation: int = 1
    epochs: int = 5
    checkpointing: bool = False


def matrix_rate(n: int = 8192, products: int = 20) -> float:
    """Operations a second of a bf16 product of two (n, n) matrices of random numbers: the median of ``products``."""
    where = machine.device()
    n = n if on_gpu() else 1024
    a, b = (torch.randn(n, n, device=where, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(products + 5):
        start = time.perf_counter()
        a @ b
        if on_gpu():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 / statistics.median(seconds[5:])


def rows_of(what: str, preset: recipes.Preset):
    """The training set of a job."""
    own = identity.read_rows(identity.shipped_rows("en"), WHO)
    if what == "default recipe":
        return trainset.to_dataset(own, shipped_keep(), preset, identity.further_rows(own, WHO, preset))
    preset = replace(recipes.BARE_PRESET, own_systems=(None,) if what == "published" else (None, None))
    return trainset.to_dataset(own, [] if what == "published" else shipped_keep()[:16], preset)


def shipped_keep():
    """The reference run's keep rows: a random model has no answers worth keeping."""
    return keep_rows.read(runs.reference_run() / f"keep-{catalog.EMBEDDED.key}.jsonl")


def watch(trainer) -> list[tuple[int, int]]:
    """A list that will hold (tokens without padding, columns) of every batch the trainer is given."""
    seen, collate = [], trainer.data_collator

    def collating(rows):
        batch = collate(rows)
        seen.append((int(batch["attention_mask"].sum()), batch["attention_mask"].shape[1]))
        return batch

    trainer.data_collator = collating
    return seen


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
            seen, sampler = watch(trainer), memory.Sampler(0.02)
            settle()
            start = time.perf_counter()
            with contextlib.nullcontext() if on_gpu() else sampler:
                trainer.train()
            if on_gpu():
                torch.cuda.synchronize()
            seconds = time.perf_counter() - start
            peaks = (torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()) if on_gpu() else None
            peaks = peaks or (sampler.peak, 0)
            steps, trained = (
                trainer.state.global_step,
                sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
            )
            trainer.model.zero_grad(set_to_none=True)
            del trainer
            if not job.method.full:
                take_off(model)
            settle()
    return figures(spec, job, preset, seen, seconds, peaks, trained, rate) | {"rows": len(data), "steps": steps}


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
        if on_gpu():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        assert found.shape == (1, 40 + NEW_TOKENS)
    took = statistics.median(seconds[1:])
    return {"tokens": NEW_TOKENS, "seconds": round(took, 3), "tokens a second": round(NEW_TOKENS / took, 1)}


def whole(model, tokenizer, own, keep, preset) -> dict:
    """Seconds of `train.train_identity`, checkpoints, adapter and manifest included."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        train_identity(model, tokenizer, own, keep, Path(folder) / "run", preset, identity=WHO)
        seconds = time.perf_counter() - start
        metrics = json.loads((Path(folder) / "run" / "metrics.json").read_text())
    take_off(model)
    return {"seconds": round(seconds, 2), "steps": metrics["steps"], "peak allocated MiB": metrics["peak_bytes"] >> 20}


def bare_loop(model, tokenizer, preset, steps: int = 60) -> dict:
    """Seconds of the recipe's steps without a trainer: what the model itself takes."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(LORA_FLOAT32, batch=preset.batch, epochs=preset.epochs)
        trainer = trainer_of(model, tokenizer, preset, job, rows_of("default recipe", preset), folder)
    loader, tuned = trainer.get_train_dataloader(), trainer.model.train()
    adam = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], lr=1e-4, fused=on_gpu())
    total, done, start = len(loader) * preset.epochs, 0, 0.0
    warm = min(5, len(loader) // 2)
    for batch in loader:
        if done == warm:
            if on_gpu():
                torch.cuda.synchronize()
            start = time.perf_counter()
        with torch.autocast(model.device.type, model.dtype, enabled=model.dtype is not torch.float32):
            found = tuned(**batch, fused_lm_head=True)
        found.loss.backward()
        adam.step()
        adam.zero_grad()
        if (done := done + 1) == steps:
            break
    if on_gpu():
        torch.cuda.synchronize()
    each = (time.perf_counter() - start) / (done - warm)
    take_off(model)
    return {"seconds": round(each * total, 2), "steps": total}
