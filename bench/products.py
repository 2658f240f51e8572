"""Three products: one base model with three adapters against three models, a switch, and a mixed batch.

`python -m bench.products` prints a table and writes out/products.json. Each part runs in a process of its own, asks
each product a question, and then counts its memory: on a GPU what torch holds, on a CPU the process's share (PSS; about
0.3 GiB of it are Python and torch). The three models have their adapters merged in and weights of their own, as from
three files: copies read from one file would share its pages. The adapters are untrained, of the recipe's shape.
"""

import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import psutil
import torch
import typer
from peft import get_peft_model

from bench import cpu
from bench.common import on_gpu, settle, wait
from helpers import files
from helpers.chat.generate import answers
from helpers.models.adapters import load_adapter, save_adapter, take_off
from helpers.models.load import load_model, spec_of
from helpers.scenarios import brand, voices
from helpers.training import recipes

SWITCHES, TOKENS, BATCH = 60, 24, 16
QUESTIONS = [item["question"] for item in brand.questions() if item["kind"] in ("name", "maker", "base")]
OUT = files.project_root() / "out" / "products.json"


def _adapters(model, folder: Path) -> dict[str, Path]:
    # Untrained, each from a seed of its own.
    found = {}
    for seed, product in enumerate(brand.load()):
        torch.manual_seed(seed)
        tuned = get_peft_model(model, recipes.lora_config(recipes.scenario_preset(spec_of(model))))
        found[product.key] = save_adapter(tuned, folder / product.key)
        take_off(tuned)
    return found


def _bytes(*models) -> int:
    return sum(p.numel() * p.element_size() for model in models for p in model.parameters())


def _memory() -> float:
    if on_gpu():
        return torch.cuda.memory_allocated() / 2**20
    here = psutil.Process().memory_full_info()
    return getattr(here, "pss", here.rss) / 2**20


def _seconds(do) -> float:
    wait()
    start = time.perf_counter()
    do()
    wait()
    return time.perf_counter() - start


def three_adapters(model_name: str, folder: Path) -> dict:
    """One base model with three adapters: sizes, a switch, and the same answers by groups and in mixed batches."""
    model, tokenizer = load_model(model_name)
    saved, base = _adapters(model, folder), _bytes(model)
    start = time.perf_counter()
    tuned = voices.attach(model, saved)
    wait()
    found = {"attach_seconds": time.perf_counter() - start, "base_mib": base / 2**20}
    found["three_adapters_mib"] = (_bytes(tuned) - base) / 2**20
    keys = [*saved] * SWITCHES
    switches = [_seconds(lambda key=key: tuned.set_adapter(key, inference_mode=True)) for key in keys]
    found["switch_ms"] = 1000 * statistics.median(switches)
    asked, keys = [q for q in QUESTIONS for _ in saved], [*saved] * len(QUESTIONS)
    how = {"max_new_tokens": TOKENS, "batch": BATCH}
    answers(tuned, tokenizer, asked[:1], max_new_tokens=4)  # the first call sets things up
    for mixed, name in ((False, "groups_seconds"), (True, "mixed_seconds")):
        ask = partial(voices.answers_as, tuned, tokenizer, asked, keys, mixed=mixed, **how)
        found[name] = _seconds(ask)
    return {**found, "answers": len(asked), "memory_mib": _memory()}


def three_models(model_name: str, folder: Path) -> dict:
    """Three models in memory, each with its adapter merged in."""
    model, tokenizer = load_model(model_name)
    saved = _adapters(model, folder)
    del model
    settle()
    made, start = [], time.perf_counter()
    for path in saved.values():
        made.append(load_adapter(load_model(model_name)[0], path).merge_and_unload())
        for weight in made[-1].parameters():
            weight.data = weight.data.clone()
    wait()
    found = {"load_three_seconds": time.perf_counter() - start, "three_models_mib": _bytes(*made) / 2**20}
    for one in made:
        answers(one, tokenizer, QUESTIONS[:1], max_new_tokens=4)
    return {**found, "memory_mib": _memory()}


PARTS = {"three adapters": three_adapters, "three models": three_models}
LINES = [  # name in the results, what it is called, unit
    ("base_mib", "weights of the base model", "MiB"),
    ("three_adapters_mib", "three adapters beside it", "MiB"),
    ("three_models_mib", "weights of three models", "MiB"),
    ("attach_seconds", "attach three adapters", "s"),
    ("load_three_seconds", "load three models and merge", "s"),
    ("switch_ms", "switch to another product", "ms"),
    ("groups_seconds", "answers, one product after the other", "s"),
    ("mixed_seconds", "the same answers in mixed batches", "s"),
    ("answers", "how many answers", ""),
]


def measure(part: str, model_name: str) -> dict:
    """Run one part in this process."""
    with tempfile.TemporaryDirectory() as folder:
        return PARTS[part](model_name, Path(folder))


def main(model: Annotated[str, typer.Option(help="embedded, a Hub id or a folder.")] = "embedded") -> None:
    """Measure three products on one model and on three, print a table, and write out/products.json."""
    results: dict = {"machine": cpu.facts(), "model": model}
    fresh = multiprocessing.get_context("spawn")
    for part in PARTS:
        with ProcessPoolExecutor(1, mp_context=fresh) as process:
            results[part] = process.submit(measure, part, model).result()
    files.write_json(OUT, results)
    values = {name: value for part in PARTS for name, value in results[part].items()}
    for name, label, unit in LINES:
        print(f"  {label:<44}{values[name]:>9.2f} {unit}".rstrip())
    for part in PARTS:
        print(f"  {'memory in use, ' + part:<44}{results[part]['memory_mib']:>9.2f} MiB")
    print(f"Written: {OUT.relative_to(files.project_root())}")


if __name__ == "__main__":
    typer.run(main)
