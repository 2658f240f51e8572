"""Small runs as ms-swift, LLaMA-Factory and TRL leave them, written anew; and the one fault that is found in one."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from helpers.measure import diagnose

QWEN = "Qwen/Qwen2.5-0.5B-Instruct"
FACTORY = {"learning_rate": 5e-5, "num_train_epochs": 3.0, "per_device_train_batch_size": 4, "template": "qwen",
           "gradient_accumulation_steps": 8, "dataset": "identity,alpaca_en_demo"}  # fmt: skip
SWIFT = {"model": QWEN, "template": "qwen2_5", "system": None, "learning_rate": 1e-4, "num_train_epochs": 1.0,
         "per_device_train_batch_size": 1, "gradient_accumulation_steps": 16, "global_world_size": 1, "save_steps": 100,
         "dataset": ["AI-ModelScope/alpaca-gpt4-data-en#500", "swift/self-cognition#500"], "tuner_type": "lora",
         "model_name": ["Tavi", "Tavi"], "model_author": ["Lantern", "Lantern"], "swift_version": "4.0.0"}  # fmt: skip


def state(losses, steps, planned=None, rate=1e-4, **more):
    every = max(1, steps // max(1, len(losses)))
    log = [{"loss": x, "learning_rate": rate, "grad_norm": 1.5, "step": n * every} for n, x in enumerate(losses, 1)]
    told = {"global_step": steps, "max_steps": planned or steps, "log_history": log, "save_steps": 100}
    return {**told, "num_train_epochs": 3, "train_batch_size": 1, **more}


def adapter(folder: Path, b=0.01, base=QWEN, **config) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    told = {"peft_type": "LORA", "r": 8, "lora_alpha": 32, "target_modules": ["q_proj"], "init_lora_weights": True}
    write(folder / "adapter_config.json", {**told, "base_model_name_or_path": base, **config})
    layer = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    weights = {f"{layer}A.weight": torch.ones(8, 4), f"{layer}B.weight": torch.full((4, 8), b)}
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def write(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def factory(folder: Path, told=FACTORY, b=0.0004, losses=(3.21, 3.17, 3.16), steps=9, base=QWEN, **more) -> Path:
    adapter(folder, b, base, lora_alpha=16)
    write(folder / "trainer_state.json", state(losses, steps, rate=5e-5, **more))
    write(folder / "training_args.yaml", "".join(f"{key}: {value}\n" for key, value in told.items()))
    write(folder / "all_results.json", {"epoch": 3.0, "train_loss": 3.18})
    (folder / "training_args.bin").write_bytes(pickle.dumps(Bomb()))
    return folder


def swift(folder: Path, steps=94, b=0.01, losses=(2.5, 0.9, 0.3, 0.2), planned=None, version="v0-2026", **args) -> Path:
    part = adapter(folder / version / f"checkpoint-{steps}", b)
    write(part / "trainer_state.json", state(losses, steps, planned))
    lines = [{"loss": x, "global_step/max_steps": f"{n}/{planned or steps}"} for n, x in enumerate(losses)]
    lines.append({"train_runtime": 9.0, "global_step/max_steps": f"{planned or steps}/{planned or steps}"})
    write(folder / version / "logging.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    for place in (part, folder / version):
        write(place / "args.json", {**SWIFT, **args})
    return folder


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


def found(run, *causes, **how) -> diagnose.Finding | None:
    """The one fault that is found, or the first of several; all else is told as what the files cannot decide."""
    said = diagnose.diagnose(run, **how)
    assert all(finding.evidence and finding.cure for finding in said)
    assert [f.cause for f in said if f.severity != diagnose.UNTOLD] == list(causes)
    assert diagnose.as_text(said)
    return said[0]
