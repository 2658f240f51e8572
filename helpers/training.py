"""The recipe of notebook 03 as a function, for every later notebook and the command line.

The trainer is TRL's `SFTTrainer`; this module only builds its configuration from a preset, keeps its checkpoints
safe, and seals the run folder. Notebook 03 types the same configuration out, and a test compares the two.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from helpers import hardware, memory, models, runs, specs
from helpers.errors import RunError
from helpers.generate import answers, mean_logprob
from helpers.identity import Identity, Row, to_dataset


def lora_config(preset: specs.Preset) -> LoraConfig:
    """PEFT's configuration of the adapter for ``preset``."""
    targets = preset.target_modules
    return LoraConfig(
        r=preset.rank,
        lora_alpha=preset.alpha,
        lora_dropout=preset.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )


def sft_config(preset: specs.Preset, run: Path | str, **changes) -> SFTConfig:
    """TRL's configuration for ``preset``, writing into ``run``; ``changes`` override single fields."""
    on_cpu = hardware.device() == "cpu"
    fields = {
        "output_dir": str(run),
        "num_train_epochs": preset.epochs,
        "per_device_train_batch_size": preset.batch,
        "gradient_accumulation_steps": preset.accumulation,
        "learning_rate": preset.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": preset.warmup,
        "max_grad_norm": preset.max_grad_norm,
        "max_length": preset.max_length,
        "seed": preset.seed,
        "use_cpu": on_cpu,
        "bf16": False,
        "activation_checkpointing": False,
        "logging_steps": 5,
        "save_steps": 20,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": False,
        "dataloader_pin_memory": not on_cpu,
    }
    return SFTConfig(**{**fields, **changes})


class IdentityTracker(TrainerCallback):
    """Every ``every`` steps: the greedy answer to a question, and the mean log-probability of two rival answers.

    ``history`` holds one dict a measurement: step, answer, own, rival (nats a token).
    """

    def __init__(self, tokenizer, question: str, own: str, rival: str, every: int = 10):
        self.tokenizer, self.question, self.own, self.rival, self.every = tokenizer, question, own, rival, every
        self.history: list[dict] = []

    def measure(self, model, step: int) -> None:
        """Take one measurement now."""
        was_training = model.training
        model.eval()
        texts = {"own": self.own, "rival": self.rival}
        scores = {k: mean_logprob(model, self.tokenizer, self.question, text) for k, text in texts.items()}
        answer = answers(model, self.tokenizer, [self.question], max_new_tokens=24)[0]
        self.history.append({"step": step, "answer": answer, **scores})
        model.train(was_training)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        """Measure the untrained model once."""
        if state.global_step == 0:
            self.measure(model, 0)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        """Measure every ``every`` steps and at the end."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self.measure(model, state.global_step)


def whole_checkpoint(folder: Path) -> bool:
    """Whether a checkpoint can be resumed from: adapter, optimiser, scheduler and state are there and readable."""
    try:
        from safetensors import safe_open

        with safe_open(folder / "adapter_model.safetensors", "pt") as f:
            list(f.keys())
        json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        torch.load(folder / "optimizer.pt", weights_only=True, map_location="cpu")
        torch.load(folder / "scheduler.pt", weights_only=True, map_location="cpu")
        return True
    except Exception:  # every kind of damage means the same here: take the one before
        return False


def last_checkpoint(run: Path) -> Path | None:
    """The newest whole ``checkpoint-<step>`` in ``run``, passing over those cut off mid-write; None if there is none."""
    found = [p for p in Path(run).glob("checkpoint-*") if p.name.split("-")[1].isdigit()]
    return next((p for p in sorted(found, key=lambda p: -int(p.name.split("-")[1])) if whole_checkpoint(p)), None)


def train_identity(
    model, tokenizer, rows: Sequence[Row], keep: Sequence[Row], run: Path, preset: specs.Preset | None = None, *,
    identity: Identity | None = None, resume: bool = False, callbacks: Sequence[TrainerCallback] = (), **changes,
) -> PeftModel:  # fmt: skip
    """Train an adapter as notebook 03 does and seal ``run`` with adapter, metrics, memory and manifest.

    Args:
        model: a base model from `models.load`, without an adapter.
        rows, keep: filled identity rows and keep rows.
        run: the run folder; its checkpoints are resumed from if ``resume``.
        preset: how to train; by default the one for the model's size.
        changes: single fields of `SFTConfig`.

    Returns:
        The tuned model, in eval mode.

    Raises:
        RunError: interrupted; the message names the checkpoint to resume from. DiskError: nothing half-written.
    """
    preset = preset or specs.preset_for(models.spec_of(model))
    runs.write_json(run / "identity.json", list(rows))
    runs.write_jsonl(run / "keep.jsonl", list(keep))
    sampler = memory.MemoryCallback()
    trainer = build_trainer(
        model, tokenizer, to_dataset(rows, keep, preset), run, preset, [sampler, *callbacks], **changes
    )
    start = last_checkpoint(run) if resume else None
    began = time.perf_counter()
    with runs.disk_errors(run), models.model_lock(model, "training"):
        try:
            with sampler:
                trainer.train(resume_from_checkpoint=str(start) if start else None)
        except KeyboardInterrupt as e:
            kept = last_checkpoint(run)
            where = f"resume from {kept.name} (resume=True, or --resume)" if kept else "no checkpoint yet: start again"
            raise RunError(f"{run}: training was interrupted, its checkpoints are kept", where) from e
    finish_run(trainer, run, preset, identity, time.perf_counter() - began, sampler)
    return trainer.model.eval()


def build_trainer(model, tokenizer, dataset: Dataset, run, preset, callbacks=(), **changes) -> SFTTrainer:
    """An `SFTTrainer` for ``preset``, with the adapter's first weights drawn from the preset's seed."""
    torch.manual_seed(preset.seed)
    return SFTTrainer(
        model=model,
        args=sft_config(preset, run, **changes),
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=lora_config(preset),
        callbacks=list(callbacks),
    )


def finish_run(trainer, run: Path, preset: specs.Preset, identity: Identity | None, seconds: float, sampler) -> Path:
    """Write adapter, ``metrics.json``, ``memory.csv`` and, last, the manifest that makes the run count as complete."""
    models.save_adapter(trainer.model, run / "adapter")
    steps = trainer.state.global_step
    runs.write_json(
        run / "metrics.json",
        {"seconds": round(seconds, 2), "steps": steps, "peak_bytes": sampler.peak, "log": trainer.state.log_history},
    )
    runs.write_atomic(run / "memory.csv", sampler.csv())
    return runs.seal(run, facts(trainer.model, preset, identity))


def facts(model, preset: specs.Preset, identity: Identity | None) -> dict:
    """What a manifest records: model, versions, device, preset, identity."""
    spec = models.spec_of(model)
    packages = ("torch", "transformers", "peft", "trl", "datasets", "accelerate")
    return {
        "model": spec.key,
        "revision": spec.revision or specs.EMBEDDED_FILE.requirement,
        "fingerprint": models.fingerprint(model),
        "versions": {p: version(p) for p in packages},
        "device": hardware.machine().name,
        "seed": preset.seed,
        "preset": asdict(preset),
        "identity": asdict(identity) if identity else None,
    }


def with_seed(preset: specs.Preset, seed: int) -> specs.Preset:
    """``preset`` with another seed."""
    return replace(preset, seed=seed)
