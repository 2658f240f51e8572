"""Time and memory of training on a GPU: `make bench-gpu`, or `python tests/bench_gpu.py OUTDIR [GROUP ...]`.

Not a test. Qwen's shapes carry random weights: time and memory do not depend on what the weights are, answers would.
Rows are those of the course, split into tokens by the embedded model's tokenizer (whose ids all exist in Qwen's larger
vocabulary), so a row is about as long as it would be. Each group runs in a process of its own, and every figure is
written to OUTDIR/gpu.csv as soon as it is there; what fails is a line with its error.

"seconds" is `trainer.train()` after two steps of warming up. Operations counted for T tokens, N weights that multiply
(linear layers and output layer) and n of an adapter: (4 N + 6 n) T for LoRA, 6 N T for all weights; what checkpointing
computes twice is not counted. The share is of a bf16 product of two 8192 x 8192 matrices, measured in the same process.
"""

import argparse
import contextlib
import csv
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
os.environ.setdefault("IDENTITY_MODEL", "embedded")

import torch
from transformers import AutoTokenizer, BitsAndBytesConfig, GenerationConfig, Qwen2Config, Qwen2ForCausalLM
from transformers.quantizers import AutoHfQuantizer
from trl import SFTTrainer

from helpers import choose, estimate, hardware, identity, keep_rows, memory, models, runs, specs, training, trainset
from helpers.estimate import FULL_BF16, FULL_FLOAT32, LORA_BF16, LORA_FLOAT32, QLORA
from tests import older

WHO = identity.Identity("Tavi", "Lantern Workshop")
COLUMNS = (
    "device", "shape", "weights", "what", "method", "batch", "accumulation", "checkpointing", "rows", "steps", "width",
    "tokens", "seconds", "tokens a second", "matrix share", "peak allocated MiB", "peak reserved MiB",
    "predicted MiB", "predicted / measured", "trained weights", "context MiB", "versions", "error",
)  # fmt: skip
SIZES = {spec.key.split("-")[1]: spec for spec in specs.HUB_MODELS}
QUIET = {"save_strategy": "no", "logging_steps": 1000, "disable_tqdm": True}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "4-bit": torch.bfloat16}
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


def on_gpu() -> bool:
    """Whether this measures a GPU; on a CPU only times and the process's memory can be had."""
    return hardware.device() == "cuda"


def settle() -> None:
    """Wait for the GPU and forget what is no longer held."""
    gc.collect()
    if on_gpu():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def matrix_rate(n: int = 8192, products: int = 20) -> float:
    """Operations a second of a bf16 product of two (n, n) matrices of random numbers: the median of ``products``."""
    where = hardware.device()
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


def random_model(spec: specs.ModelSpec, method: estimate.Method):
    """A model of ``spec``'s shape with random weights on this device, in ``method``'s number format."""
    s = spec.shape
    config = Qwen2Config(
        hidden_size=s.hidden, num_hidden_layers=s.layers, num_attention_heads=s.heads, num_key_value_heads=s.kv_heads,
        intermediate_size=s.intermediate, vocab_size=s.vocab, tie_word_embeddings=s.tied, max_position_embeddings=32768,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(DTYPES[method.weights])
    try:
        with torch.device(hardware.device()):
            model = Qwen2ForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)
    model.identity_spec = spec
    assert sum(p.numel() for p in model.parameters()) == spec.parameters
    return (in_four_bits(model) if method.weights == "4-bit" else model).eval()


def in_four_bits(model):
    """``model`` with bitsandbytes' NF4 in place of its linear layers, as transformers does when it loads one."""
    import bitsandbytes as bnb

    named = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "lm_head" not in n]
    for name, old in named:
        options = {"compute_dtype": torch.bfloat16, "quant_type": "nf4", "compress_statistics": True}
        new = bnb.nn.Linear4bit(old.in_features, old.out_features, bias=old.bias is not None, device="meta", **options)
        kept = {"requires_grad": False, "quant_type": "nf4", "compress_statistics": True}
        new.weight = bnb.nn.Params4bit(old.weight.data, **kept).to(old.weight.device)
        if old.bias is not None:
            new.bias = old.bias
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, new)
        old.weight = None
    kept = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": torch.bfloat16}
    settings = BitsAndBytesConfig(load_in_4bit=True, **kept)
    model.is_loaded_in_4bit = model.is_quantized = True
    model.hf_quantizer, model.quantization_method = AutoHfQuantizer.from_config(settings), settings.quant_method
    settle()
    return model


def rows_of(what: str, preset: specs.Preset):
    """The training set of a job."""
    own = identity.read_rows(identity.shipped_rows("en"), WHO)
    if what == "default recipe":
        return trainset.to_dataset(own, shipped_keep(), preset, identity.further_rows(own, WHO, preset))
    preset = replace(specs.BARE_PRESET, own_systems=(None,) if what == "published" else (None, None))
    return trainset.to_dataset(own, [] if what == "published" else shipped_keep()[:16], preset)


def shipped_keep():
    """The reference run's keep rows: a random model has no answers worth keeping."""
    return keep_rows.read(runs.reference_run() / f"keep-{specs.EMBEDDED.key}.jsonl")


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
        return training.build_trainer(model, tokenizer, data, folder, preset, **changes)
    for weight in model.parameters():
        weight.requires_grad_(True)
    config = training.sft_config(preset, folder, **{**training.precision(model), **changes})
    return SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)


def preset_of(job: Job) -> specs.Preset:
    """Rank 8 on every linear layer, as published."""
    how = {"epochs": job.epochs, "batch": job.batch, "accumulation": job.accumulation}
    return replace(specs.PUBLISHED_PRESET, **how)


def train(model, tokenizer, job: Job, preset: specs.Preset, rate: float) -> dict:
    """Warm up, train, and return this job's figures."""
    data, spec = rows_of(job.what, preset), models.spec_of(model)
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
                models.take_off(model)
            settle()
    return figures(spec, job, preset, seen, seconds, peaks, trained, rate) | {"rows": len(data), "steps": steps}


def figures(spec, job: Job, preset, seen, seconds: float, peaks, trained: int, rate: float) -> dict:
    """The columns that follow from what was measured."""
    shape, tokens = spec.shape, sum(n for n, _ in seen)
    multiply = shape.in_linear() + shape.vocab * shape.hidden
    work = 6 * multiply * tokens if job.method.full else (4 * multiply + 6 * trained) * tokens
    width = max(columns for _, columns in seen)
    load = estimate.load_of(preset, width, job.checkpointing)
    told = estimate.estimate(shape, job.method, load, hardware.device())
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


class Table:
    """Lines of JSON, one a figure, written as they come."""

    def __init__(self, path: Path, group: str, weights: str):
        packages = ("torch", "transformers", "trl", "peft")
        versions = " ".join(f"{p} {version(p)}" for p in packages)
        self.path = path
        self.always = {"device": hardware.machine().name, "shape": group, "weights": weights, "versions": versions}

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
    tokenizer, rate, have = AutoTokenizer.from_pretrained(choose.embedded_dir()), matrix_rate(), (None, None)
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
    """The default recipe as it stands, and what a larger batch, bf16, no checkpoints on disk, and no trainer change."""
    rate = matrix_rate()
    for method in (LORA_FLOAT32, LORA_BF16):
        embedded_in(table, method, rate)


def embedded_in(table: Table, method: estimate.Method, rate: float) -> None:
    """The same in one number format."""
    preset, keep = specs.preset_for(specs.EMBEDDED), shipped_keep()
    own = identity.read_rows(identity.shipped_rows("en"), WHO)
    model, tokenizer = models.load("embedded", dtype=DTYPES[method.weights])
    for batch in (8, 4, preset.batch):
        job = Job(method, "default recipe", batch, 1, preset.epochs)
        how = replace(preset, batch=batch, accumulation=1)
        table.add("default recipe", lambda j=job, h=how: train(model, tokenizer, j, h, rate), **known_of(job))
    for batch in (8, preset.batch):
        how = replace(preset, batch=batch, accumulation=1)
        known = {"method": method.name, "batch": batch, "accumulation": 1}
        table.add("train_identity, run folder and all", lambda h=how: whole(model, tokenizer, own, keep, h), **known)
        table.add("a bare loop", lambda h=how: bare_loop(model, tokenizer, h), **known)
    table.add("answer", lambda: answer(model), method=method.name, batch=1)


def whole(model, tokenizer, own, keep, preset) -> dict:
    """Seconds of `training.train_identity`, checkpoints, adapter and manifest included."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        training.train_identity(model, tokenizer, own, keep, Path(folder) / "run", preset, identity=WHO)
        seconds = time.perf_counter() - start
        metrics = json.loads((Path(folder) / "run" / "metrics.json").read_text())
    models.take_off(model)
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
    models.take_off(model)
    return {"seconds": round(each * total, 2), "steps": total}


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
        older.accept()
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
