"""Makes `data/reference/`: `python tests/make_reference.py adapter|full|curves`. Not a test, and not run by any.

Each part takes one to twenty minutes on two CPU cores. `curves` writes a row as soon as it is measured and goes on
where it was. The device and the command stand in the files, so nobody has to trust a table without knowing where it
was measured.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from trl import SFTTrainer

from helpers import hardware, identity, memory, models, runs, specs, sweep, training

WHO = identity.Identity("Tavi", "Lantern Workshop", ("TAVI",))
REFERENCE = runs.reference_run()
TABLES = ("recipes.csv", "full_tuning.csv", "curves.csv")


def rows_and_keep(model, tokenizer):
    """The shipped rows filled, and the base model's keep rows."""
    rows = identity.read_rows(identity.shipped_rows("en"), WHO)
    return rows, identity.make_keep_rows(
        model, tokenizer, identity.keep_questions("en", specs.DEFAULT_PRESET.keep_rows)
    )


def adapter() -> None:
    """Train the default recipe, round the adapter to bfloat16, score what is shipped, and seal the folder."""
    model, tokenizer = models.load("embedded")
    rows, keep = rows_and_keep(model, tokenizer)
    preset = specs.preset_for(specs.EMBEDDED)
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch)
        tuned = training.train_identity(model, tokenizer, rows, keep, run, preset, identity=WHO)
        REFERENCE.mkdir(parents=True, exist_ok=True)
        for name in ("identity.json", "metrics.json", "memory.csv"):
            shutil.copy(run / name, REFERENCE / name)
        runs.write_jsonl(REFERENCE / f"keep-{specs.EMBEDDED.key}.jsonl", keep)
        models.save_adapter(tuned, REFERENCE / "adapter", dtype=torch.bfloat16)
        facts = training.facts(tuned, preset, WHO)
    model, tokenizer = models.load("embedded")
    scores = sweep.scores(models.load_adapter(model, REFERENCE), tokenizer, WHO)
    print(json.dumps(scores))
    runs.write_json(REFERENCE / "scores.json", scores)
    tables = {name: (REFERENCE / name).read_text() for name in TABLES if (REFERENCE / name).exists()}
    for name in tables:  # measured apart from the run, so not part of what its manifest seals
        (REFERENCE / name).unlink()
    runs.seal(REFERENCE, {**facts, "command": "python tests/make_reference.py adapter"})
    for name, text in tables.items():
        runs.write_atomic(REFERENCE / name, text)


def full() -> None:
    """Measure full fine-tuning against LoRA, each in a process of its own: seconds and peak memory."""
    measured = [
        json.loads(subprocess.check_output([sys.executable, __file__, "one", kind]).splitlines()[-1])
        for kind in ("full", "lora")
    ]
    table = pd.DataFrame(measured).assign(device=hardware.machine().name, command="python tests/make_reference.py full")
    runs.write_atomic(REFERENCE / "full_tuning.csv", table.to_csv(index=False))
    print(table)


def one(kind: str) -> None:
    """One epoch over 24 rows with all weights or with the adapter trained; prints a line of JSON."""
    model, tokenizer = models.load("embedded")
    rows = identity.read_rows(identity.shipped_rows("en"), WHO)
    keep = identity.read_keep_rows(REFERENCE / f"keep-{specs.EMBEDDED.key}.jsonl")[:8]
    preset = specs.DEFAULT_PRESET
    data, sampler = identity.to_dataset(rows, keep, preset), memory.MemoryCallback()
    with tempfile.TemporaryDirectory() as scratch:
        config = training.sft_config(preset, scratch, num_train_epochs=1, save_strategy="no")
        lora = training.lora_config(preset) if kind == "lora" else None
        trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer, peft_config=lora,
                             callbacks=[sampler])  # fmt: skip
        trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        began = time.perf_counter()
        with sampler:
            trainer.train()
    result = {"method": {"full": "all weights", "lora": "LoRA"}[kind], "trained weights": trained}
    print(
        json.dumps(
            {**result, "seconds": round(time.perf_counter() - began, 1), "peak MiB": round(sampler.peak / 2**20)}
        )
    )


def curves(*seeds: str) -> None:
    """The rate sweep of notebook 03 for each seed, continued where it was."""
    model, tokenizer = models.load("embedded")
    rows = identity.read_rows(identity.shipped_rows("en"), WHO)
    keep = identity.read_keep_rows(REFERENCE / f"keep-{specs.EMBEDDED.key}.jsonl")
    recipes = sweep.rate_recipes([int(s) for s in seeds] or [42])
    print(sweep.run(model, tokenizer, rows, keep, WHO, recipes, REFERENCE / "curves.csv"))


if __name__ == "__main__":
    {"adapter": adapter, "full": full, "one": one, "curves": curves}[sys.argv[1]](*sys.argv[2:])
