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
from trl import SFTTrainer

from helpers import files, runs
from helpers.errors import IdentityError, RunError
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
        model: a base model from `load.load_model`; an adapter on it is taken off once rows and folder are checked.
        rows, keep: filled identity rows and keep rows. With an ``identity`` the preset's further wordings are added.
        run: the run folder; its checkpoints are resumed from if ``resume``.
        preset: how to train; by default the one for the model's size. With too little memory see `fit`.
        say: called with a line for each change that saves memory.
        changes: single fields of `SFTConfig`.

    Returns the tuned model, in eval mode.

    Raises:
        RunError: ``run`` holds another run, or training was interrupted; then it names the checkpoint to resume from.
        IdentityError: a row is too long. ResourceError: too little memory for a single row.
        DiskError: whole checkpoints are kept, nothing half-written stays.
    """
    preset = preset or recipes.preset_for(spec_of(model))
    data, longest = _checked(model, tokenizer, rows, keep, preset, identity)
    _check_folder(run, rows, keep, resume)
    with model_lock(model, "training"):
        _check_folder(run, rows, keep, resume)  # once more: whoever held the model may have trained into it
        files.write_json(run / "identity.json", list(rows))
        files.write_jsonl(run / "keep.jsonl", list(keep))
        base, began, sampler = take_off(model), time.perf_counter(), memory.MemoryCallback()
        with _safely(run, base):
            changes = {**fit.beforehand(base, preset, longest, say), **changes}

            def build(**less):
                return build_trainer(base, tokenizer, data, run, preset, [sampler, *callbacks], **{**changes, **less})

            trainer = fit.train(build, base, run, last_checkpoint(run) if resume else None, sampler, say)
            finish_run(trainer, run, preset, identity, time.perf_counter() - began, sampler)
    return trainer.model.eval()


def _checked(model, tokenizer, rows, keep, preset: recipes.Preset, identity: Identity | None) -> tuple[Dataset, int]:
    # The training set, and the tokens of its longest row.
    context = min(context_length(model), preset.max_length)
    check_lengths(rows, tokenizer, context)  # names the row by its number
    data = to_dataset(rows, keep, preset, further_rows(rows, identity, preset))
    return data, check_fit(data, tokenizer, context)


def _check_folder(run: Path, rows: Sequence[Row], keep: Sequence[Row], resume: bool) -> None:
    # A run is never overwritten, and never goes on with rows that it was not begun with.
    if (run / runs.MANIFEST).exists():
        raise RunError(f"{run}: this run is finished", "load its adapter, or train in a new run folder")
    if not resume and ((run / "adapter").exists() or checkpoints(run)):
        raise RunError(f"{run}: an unfinished run is here", "resume it (resume=True, or --resume), or use a new folder")
    for path, now in ((run / "identity.json", rows), (run / "keep.jsonl", keep)):
        if resume and checkpoints(run) and path.exists():
            text = path.read_text(encoding="utf-8")  # keep rows may be none at all
            was = json.loads(text) if path.suffix == ".json" else files.parse_jsonl(text, path, IdentityError)
            if was != list(now):
                what = f"{path}: these are not the rows that this run was begun with"
                raise RunError(what, "train in a new run folder")


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
    (`TrainingArguments.n_gpu`), which TRL refuses. Several GPUs: see `to_trl`.
    """
    torch.manual_seed(preset.seed)
    config = recipes.sft_config(preset, run, **{**recipes.precision(model), **changes})
    config._n_gpu = min(config.n_gpu, 1)  # as transformers does itself for a model that is spread over devices
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
    state, args = trainer.state, trainer.args
    metrics = {"seconds": round(seconds, 2), "steps": state.global_step, "peak_bytes": sampler.peak}
    files.write_json(run / "metrics.json", {**metrics, "log": state.log_history})
    files.write_atomic(run / "memory.csv", sampler.csv())
    # With too little memory fewer rows were taken at once than the preset says.
    preset = replace(preset, batch=args.per_device_train_batch_size, accumulation=args.gradient_accumulation_steps)
    return runs.seal(run, run_facts(trainer.model, preset, identity, trainer.processing_class))


def template_hash(tokenizer) -> str:
    """SHA-256 of the chat template: a model tuned under one answers as another under another."""
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def run_facts(model, preset: recipes.Preset, identity: Identity | None, tokenizer) -> dict:
    """What a manifest records: model, versions, device, preset, identity and chat template."""
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
        "template": template_hash(tokenizer),
    }
