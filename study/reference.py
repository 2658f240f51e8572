"""The reference run in `data/reference`, what full fine-tuning costs beside it, and the search for hard questions."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from trl import SFTTrainer

from helpers import files, runs
from helpers.chat import generate
from helpers.measure import judge
from helpers.models import catalog, machine
from helpers.models.adapters import save_adapter, take_off
from helpers.models.load import load_model
from helpers.rows import keep_rows, trainset
from helpers.training import recipes
from helpers.training.train import make_keep_rows, run_facts, train_identity
from helpers.training.watch import MemoryCallback
from study import arms
from study.ask import WHO

REFERENCE = runs.reference_run()
KEEP = f"keep-{catalog.EMBEDDED.key}.jsonl"


def adapter() -> None:
    """Train the quick recipe, round the adapter to bfloat16, and write the reference run (two minutes)."""
    model, tokenizer = load_model("embedded")
    preset = recipes.preset_for(catalog.EMBEDDED)
    questions = keep_rows.questions_for(preset)
    keep = make_keep_rows(model, tokenizer, questions, preset.first_sentence)
    with tempfile.TemporaryDirectory() as scratch:
        run, sealed = Path(scratch) / "run", Path(scratch) / "sealed"
        tuned = train_identity(model, tokenizer, arms.eight_rows(), keep, run, preset, identity=WHO)
        save_adapter(tuned, sealed / "adapter", dtype=torch.bfloat16)
        for name in ("identity.json", "metrics.json", "memory.csv"):
            shutil.copy(run / name, sealed / name)
        files.write_jsonl(sealed / KEEP, keep)
        facts = run_facts(tuned, preset, WHO, tokenizer)
        # Sealed before it is copied: the tables in the folder were measured apart from the run.
        runs.seal(sealed, {**facts, "command": "python -m study adapter"})
        shutil.copytree(sealed, REFERENCE, dirs_exist_ok=True)


def full() -> None:
    """Measure full fine-tuning against LoRA, each in a process of its own: seconds and peak memory (three minutes)."""
    measured = []
    for kind in ("full", "lora"):
        command = [sys.executable, "-m", "study", "one", kind]
        said = subprocess.check_output(command, text=True, cwd=files.project_root())
        measured.append(json.loads(said.strip().split("\n")[-1]))
    table = pd.DataFrame(measured).assign(device=machine.machine().name, command="python -m study full")
    files.write_atomic(REFERENCE / "full_tuning.csv", table.to_csv(index=False))
    print(table)


def one(kind: str) -> None:
    """One epoch over 24 rows with all weights (``full``) or the adapter (``lora``) trained; prints a line of JSON."""
    model, tokenizer = load_model("embedded")
    preset = recipes.Preset(extra_wordings=0, attack_rows=0, late_identity_rows=0, late_keep_rows=0)
    data = trainset.to_dataset(arms.eight_rows(), keep_rows.read(REFERENCE / KEEP)[:8], preset)
    sampler = MemoryCallback()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SFTTrainer(
            model=model, args=recipes.sft_config(preset, scratch, num_train_epochs=1, save_strategy="no"),
            train_dataset=data, processing_class=tokenizer, callbacks=[sampler],
            peft_config=recipes.lora_config(preset) if kind == "lora" else None,
        )  # fmt: skip
        trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        began = time.perf_counter()
        with sampler:
            trainer.train()
    figures = {"seconds": round(time.perf_counter() - began, 1), "peak MiB": round(sampler.peak / 2**20)}
    print(json.dumps({"method": "LoRA" if kind == "lora" else "all weights", "trained weights": trained, **figures}))


def mine(seeds: list[int] | None = None) -> None:
    """Find the questions of the pool that tuned models take for questions about themselves: ``keep/hard-en.jsonl``.

    It trains one model a seed (by default twelve) without hard questions, and sorts by how many of them leaked.
    """
    model, tokenizer = load_model("embedded")
    pool = [row["question"] for row in files.read_jsonl(files.data_dir() / "keep" / "pool-en.jsonl")]
    fit = {row["instruction"] for row in make_keep_rows(model, tokenizer, pool)}
    preset, hits = replace(recipes.Preset(), blocks=(10, 30), batch=4, learning_rate=1.4e-3), Counter()
    keep = make_keep_rows(model, tokenizer, keep_rows.questions("en", preset.keep_questions), first_sentence=False)
    for seed in seeds or range(12):
        tuned = arms.train(model, tokenizer, keep, replace(preset, seed=seed))
        said = generate.answers(tuned, tokenizer, pool, max_new_tokens=24, batch=64, progress=f"seed {seed}")
        hits.update(q for q, a in zip(pool, said, strict=True) if judge.leaked(a, WHO) == "leaked")
        model = take_off(tuned)
    hard = [{"question": q, "hits": n} for q, n in hits.most_common() if q in fit]
    files.write_jsonl(files.data_dir() / "keep" / "hard-en.jsonl", hard)
