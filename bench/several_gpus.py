"""What the exported folder does on two GPUs: `python -m bench.several_gpus OUT PLACE`. No test runs it.

It runs TRL's own command line on a folder made by `train --to-trl`, unchanged: the embedded model on one GPU and on
two (a whole copy each, the same rows a step), and a model of Qwen2.5-7B's shape with random weights on one GPU, on two
with a whole copy each, and sharded over two. Random weights serve for seconds and memory, never for answers. Every
result goes to ``OUT/several_gpus.csv`` as soon as it is there, and its log beside it. Needs about 20 GB of disk.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
import typer
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.common import Table, settle
from bench.shapes import random_model
from helpers import files, runs
from helpers.chat import generate
from helpers.measure import judge, probes
from helpers.models import catalog, embedded
from helpers.models.adapters import load_adapter
from helpers.models.estimate import LORA_BF16
from helpers.models.load import load_model
from helpers.rows.identity import Identity, read_rows, shipped_rows
from helpers.training import from_file, to_trl

WHO = Identity("Tavi", "Lantern Workshop", ("TAVI",))
KEEP = runs.reference_run() / "keep-SmolLM2-135M-Instruct.jsonl"
STEPS = 12  # of the large model: enough for a rate and the peak
TRL = [sys.executable, "-c", "from trl.cli import main; main()", "sft", "--config", "sft.yaml"]
COLUMNS = (
    "model", "profile", "rows a step", "steps", "seconds", "seconds a step", "peak MiB by card", "own rows named",
    "own rows exact", "dev identity", "dev leak", "adapter in plain PEFT", "device", "torch", "trl", "accelerate",
    "error",
)  # fmt: skip


def on_cards() -> list[int]:
    """MiB that each card holds now, as nvidia-smi tells it."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return [int(line) for line in subprocess.check_output(query, text=True).split()]


class CardSampler(threading.Thread):
    """The most memory that came onto each card, in MiB: CUDA's context and the allocator's cache included."""

    def __init__(self):
        super().__init__(daemon=True)
        self.before, self.peak, self.done = on_cards(), [], threading.Event()

    def run(self) -> None:
        """Look three times a second until told to stop."""
        while not self.done.wait(0.3):
            now = [card - was for card, was in zip(on_cards(), self.before, strict=True)]
            self.peak = [max(pair) for pair in zip(now, self.peak or now, strict=True)]


def export(choice: str, folder: Path) -> Path:
    """The folder that `train --to-trl` writes for the model ``choice``."""
    request = from_file.Request(str(shipped_rows("en")), choice, WHO.name, WHO.developer, keep=str(KEEP))
    to_trl.export(request, folder)
    settle()
    return folder


def train(exported: Path, place: Path, profile: str, *more: str) -> dict:
    """Run TRL's command line in a copy of ``exported``; seconds, steps and peak memory. Raises if it fails."""
    shutil.copytree(exported, place)
    command = [*TRL, "--accelerate_config", f"{profile}.yaml", *more]
    if profile != "one_gpu":
        command += ["--num_processes", "2"]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    env.pop("CUDA_VISIBLE_DEVICES", None)  # importing helpers chose one GPU for this process, not for its children
    sampler = CardSampler()
    sampler.start()
    with open(place / "log.txt", "w") as log:
        done = subprocess.run(command, cwd=place, env=env, stdout=log, stderr=subprocess.STDOUT, timeout=400)
    sampler.done.set()
    sampler.join()
    if done.returncode:
        raise RuntimeError((place / "log.txt").read_text()[-3000:])
    newest = max((place / "adapter").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    state = json.loads((newest / "trainer_state.json").read_text())
    seconds = _seconds_in(place / "log.txt")
    told = {"profile": profile, "steps": state["global_step"], "seconds": round(seconds, 1)}
    return {**told, "seconds a step": round(seconds / state["global_step"], 3), "peak MiB by card": sampler.peak}


def _seconds_in(log: Path) -> float:
    # The trainer prints its last entry, {'train_runtime': '12.3', ...}, after the last checkpoint was written.
    text = log.read_text()
    after = text[text.rindex("train_runtime") + len("train_runtime") :]
    return float("".join(c for c in after.split(",")[0] if c.isdigit() or c == "."))


def identity_check(adapter: Path) -> dict:
    """Own rows and dev questions asked of the embedded model with ``adapter``."""
    base, tokenizer = load_model("embedded")
    tuned = load_adapter(base, adapter)
    rows = read_rows(shipped_rows("en"), WHO)
    said = generate.answers(tuned, tokenizer, [row["instruction"] for row in rows], max_new_tokens=40)
    named = [judge.verdict(a, WHO) == "own" for a in said]
    judged = {}
    for name, axis in (("dev identity", "identity"), ("dev leak", "ordinary")):
        asked = probes.run_probes(tuned, tokenizer, probes.load_probes("en", "dev", axis), WHO, batch=128)
        hits = asked["ok"] if axis == "identity" else asked["verdict"] == "leaked"
        judged[name] = f"{int(hits.sum())} of {len(hits)}"
    exact = [a == row["output"] for a, row in zip(said, rows, strict=True)]
    return {"own rows named": f"{sum(named)} of 8", "own rows exact": f"{sum(exact)} of 8", **judged}


def loads_in_plain_peft(base: Path, adapter: Path) -> dict:
    """Whether PEFT alone puts ``adapter`` whole on the model in ``base``, with B weights that were trained."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    tuned = PeftModel.from_pretrained(model, str(adapter))
    b = [p for n, p in tuned.named_parameters() if "lora_B" in n]
    trained = sum(bool(p.any()) for p in b)
    return {"adapter in plain PEFT": f"yes, {trained} of {len(b)} B matrices trained"}


def embedded_model(place: Path, table: Table) -> None:
    """The default recipe, four rows a step, on one GPU, and on two with the same rows a step."""
    folder, rows = export("embedded", place / "small"), 4

    def run(profile: str, batch: int) -> dict:
        result = train(folder, place / f"small-{profile}", profile, "--per_device_train_batch_size", str(batch))
        return {**result, "rows a step": rows, **identity_check(place / f"small-{profile}" / "adapter")}

    table.add({"model": catalog.EMBEDDED.key}, lambda: run("one_gpu", rows))
    table.add({"model": catalog.EMBEDDED.key}, lambda: run("ddp", rows // 2))


def large(place: Path, table: Table) -> None:
    """A few steps of the 7B's shape with random weights: on one GPU, sharded over two, and as two whole copies."""
    base = place / "Qwen2.5-7B-Instruct"
    if not base.exists():
        random_model(catalog.HUB_MODELS[0], LORA_BF16).save_pretrained(base)
        AutoTokenizer.from_pretrained(embedded.embedded_dir()).save_pretrained(base)  # whose ids the 7B has too
    folder = export(str(base), place / "large")

    def run(profile: str) -> dict:
        batch = 8 if profile == "one_gpu" else 4
        more = ("--per_device_train_batch_size", str(batch), "--max_steps", str(STEPS))
        result = train(folder, place / f"large-{profile}", profile, *more)
        return {**result, "rows a step": 8, **loads_in_plain_peft(base, place / f"large-{profile}" / "adapter")}

    for profile in ("one_gpu", "fsdp2", "ddp"):
        table.add({"model": "Qwen2.5-7B shape, random weights"}, lambda p=profile: run(p))


PARTS = {"embedded": embedded_model, "large": large}


def main(
    out: Annotated[Path, typer.Argument(help="The folder for several_gpus.csv and the logs.")],
    place: Annotated[Path, typer.Argument(help="The folder to work in: new or empty, on a disk with 20 GB.")],
    parts: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(PARTS)}; or both.")] = None,
) -> None:
    """Measure what the folder that `train --to-trl` writes does on two GPUs."""
    path = files.make_dir(out) / "several_gpus.csv"
    path.unlink(missing_ok=True)
    always = {"device": f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"}
    always |= {package: version(package) for package in ("torch", "trl", "accelerate")}
    for part in parts or PARTS:
        PARTS[part](files.make_dir(place), Table(path, COLUMNS, always))
    for log in place.glob("*/log.txt"):
        shutil.copy(log, out / f"{log.parent.name}.log")


if __name__ == "__main__":
    typer.run(main)
