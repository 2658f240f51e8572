"""The recipe of notebook 03 as a function, for every later notebook and the command line.

The trainer is TRL's `SFTTrainer`; this module only builds its configuration from a preset, keeps its checkpoints
safe, and seals the run folder. Notebook 03 types the same configuration out, and a test compares the two.
"""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import Dataset, disable_progress_bars
from peft import PeftModel
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from helpers import files, runs
from helpers.errors import RunError
from helpers.models import catalog, machine
from helpers.models.adapters import model_lock, save_adapter, take_off
from helpers.models.load import context_length, fingerprint, spec_of
from helpers.rows.identity import Identity, further_rows
from helpers.rows.read import Row
from helpers.rows.trainset import check_fit, check_lengths, to_dataset
from helpers.training import fit, memory, recipes
from helpers.training.resume import checkpoints, last_checkpoint, whole_checkpoint
from helpers.training.watch import ProgressBar

disable_progress_bars()  # four bars of datasets for eight rows; the training has its own


def train_identity(
    model, tokenizer, rows: Sequence[Row], keep: Sequence[Row], run: Path, preset: recipes.Preset | None = None, *,
    identity: Identity | None = None, resume: bool = False, callbacks: Sequence[TrainerCallback] = (),
    say: Callable[[str], None] = print, **changes,
) -> PeftModel:  # fmt: skip
    """Train an adapter as notebook 03 does and seal ``run`` with adapter, metrics, memory and manifest.

    Args:
        model: a base model from `load.load_model`; an adapter on it is taken off.
        rows, keep: filled identity rows and keep rows. With an ``identity`` the preset's further wordings are added.
        run: the run folder; its checkpoints are resumed from if ``resume``.
        preset: how to train; by default the one for the model's size. Where that needs more memory than there is,
            fewer rows are taken at once and as many a step, and each layer is computed twice.
        say: called with a line for each such change.
        changes: single fields of `SFTConfig`.

    Returns:
        The tuned model, in eval mode.

    Raises:
        RunError: ``run`` holds another run, or training was interrupted; then it names the checkpoint to resume from.
        IdentityError: a row is too long. DiskError: whole checkpoints are kept, nothing half-written stays.
        ResourceError: too little memory for a single row.
    """
    model, preset = take_off(model), preset or recipes.preset_for(spec_of(model))
    further = further_rows(rows, identity, preset)
    room, data = min(context_length(model), preset.max_length), to_dataset(rows, keep, preset, further)
    check_lengths(rows, tokenizer, room)
    longest = check_fit(data, tokenizer, room)
    _settle(run, rows, keep, resume)
    began, sampler = time.perf_counter(), memory.MemoryCallback()
    watching = [sampler, *callbacks]
    with model_lock(model, "training"), _safely(run, model):
        if fit.needs_checkpointing(model, preset, longest):
            say("Each layer is computed twice (activation checkpointing): otherwise this GPU's memory would not do.")
            changes = {"activation_checkpointing": True, **changes}
        trainer = fit.train(
            lambda **less: build_trainer(model, tokenizer, data, run, preset, watching, **{**changes, **less}),
            lambda: take_off(model),
            last_checkpoint(run) if resume else None,
            lambda: last_checkpoint(run),
            sampler,
            say,
        )
        finish_run(trainer, run, _as_trained(preset, trainer.args), identity, time.perf_counter() - began, sampler)
    return trainer.model.eval()


def _as_trained(preset: recipes.Preset, args: SFTConfig) -> recipes.Preset:
    return replace(preset, batch=args.per_device_train_batch_size, accumulation=args.gradient_accumulation_steps)


def _settle(run: Path, rows: Sequence[Row], keep: Sequence[Row], resume: bool) -> None:
    # A run is never overwritten, and never goes on with rows that it was not begun with.
    if (run / runs.MANIFEST).exists():
        raise RunError(f"{run}: this run is finished", "load its adapter, or train in a new run folder")
    if not resume and ((run / "adapter").exists() or checkpoints(run)):
        raise RunError(f"{run}: an unfinished run is here", "resume it (resume=True, or --resume), or use a new folder")
    for path, now, write in (
        (run / "identity.json", rows, files.write_json),
        (run / "keep.jsonl", keep, files.write_jsonl),
    ):
        if resume and checkpoints(run) and path.exists() and _rows_in(path) != list(now):
            raise RunError(f"{path}: these are not the rows that this run was begun with", "train in a new run folder")
        write(path, list(now))


def _rows_in(path: Path) -> list:
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


@contextlib.contextmanager
def _safely(run: Path, model) -> Iterator[None]:
    # Whatever ends a training early: the caller's model is a base model again, and only whole checkpoints stay.
    try:
        with files.disk_errors(run, "free some space, then resume (resume=True, or --resume)"):
            yield
    except BaseException as e:
        take_off(model)
        (run / "README.md").unlink(missing_ok=True)  # TRL's model card; see finish_run
        for broken in (p for p in checkpoints(run) if not whole_checkpoint(p)):
            shutil.rmtree(broken, ignore_errors=True)
        if not isinstance(e, KeyboardInterrupt):
            raise
        kept = last_checkpoint(run)
        where = f"resume from {kept.name} (resume=True, or --resume)" if kept else "no checkpoint yet: start again"
        raise RunError(f"{run}: training was interrupted, its checkpoints are kept", where) from e


def build_trainer(model, tokenizer, dataset: Dataset, run, preset, callbacks=(), **changes) -> SFTTrainer:
    """An `SFTTrainer` for ``preset``, with the adapter's first weights drawn from the preset's seed.

    It uses one GPU, also where several are seen: without a launcher, transformers would ask for `nn.DataParallel`
    (`TrainingArguments.n_gpu`), which TRL refuses. Several GPUs: see `trl_export`.
    """
    torch.manual_seed(preset.seed)
    config = recipes.sft_config(preset, run, **{**recipes.precision(model), **changes})
    if config.n_gpu > 1:
        config._n_gpu = 1  # as transformers does itself for a model that is spread over devices
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=recipes.lora_config(preset),
        callbacks=[ProgressBar(), *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def finish_run(trainer, run: Path, preset: recipes.Preset, identity: Identity | None, seconds: float, sampler) -> Path:
    """Write adapter, ``metrics.json``, ``memory.csv`` and, last, the manifest that makes the run count as complete."""
    save_adapter(trainer.model, run / "adapter")
    (run / "README.md").unlink(missing_ok=True)  # TRL's model card, which holds this machine's paths
    steps = trainer.state.global_step
    files.write_json(
        run / "metrics.json",
        {"seconds": round(seconds, 2), "steps": steps, "peak_bytes": sampler.peak, "log": trainer.state.log_history},
    )
    files.write_atomic(run / "memory.csv", sampler.csv())
    return runs.seal(run, run_facts(trainer.model, preset, identity, trainer.processing_class))


def template_hash(tokenizer) -> str:
    """SHA-256 of the chat template: a model tuned under one answers as another under another."""
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def run_facts(model, preset: recipes.Preset, identity: Identity | None, tokenizer=None) -> dict:
    """What a manifest records: model, versions, device, preset, identity; with a ``tokenizer`` its chat template."""
    spec = spec_of(model)
    packages = ("torch", "transformers", "peft", "trl", "datasets", "accelerate")
    return {
        "model": spec.key,
        "revision": catalog.EMBEDDED_FILE.requirement if spec == catalog.EMBEDDED else spec.revision,
        "fingerprint": fingerprint(model),
        "versions": {p: version(p) for p in packages},
        "device": machine.machine().name,
        "seed": preset.seed,
        "preset": asdict(preset),
        "identity": asdict(identity) if identity else None,
        **({"template": template_hash(tokenizer)} if tokenizer is not None else {}),
    }
