"""The recipe of notebook 03 as functions, for every later notebook and the command line: keep rows, training, the run.

TRL's `SFTTrainer` trains. Notebook 03 types the same configuration out, and a test compares the two.
"""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import Dataset, disable_progress_bars
from peft import PeftModel
from transformers import PrinterCallback, TrainerCallback
from trl import SFTTrainer

from helpers import files, runs
from helpers.chat import kept
from helpers.errors import RunError
from helpers.models import catalog, machine
from helpers.models.adapters import model_lock, save_adapter, take_off
from helpers.models.load import context_length, fingerprint, spec_of
from helpers.rows import keep_rows, trainset
from helpers.rows.identity import Identity, further_rows
from helpers.rows.read import Row
from helpers.training import begun, going_on, recipes
from helpers.training.resume import checkpoints, last_checkpoint, saving_memory, train_with_less, whole_checkpoint
from helpers.training.watch import MemoryCallback, ProgressBar

disable_progress_bars()  # four bars of datasets for eight rows; the training has its own


def make_keep_rows(
    model, tokenizer, questions: Sequence[str], first_sentence=True, max_new_tokens=64,
    say: Callable[[str], None] = print,
) -> list[Row]:  # fmt: skip
    """Keep rows from the base model's own greedy answers, shipped ones where they are; see `keep_rows.from_answers`.

    Code may take `keep_rows.CODE_TOKENS`. ``say`` is called with the line of `kept.base_answers`, which tells how many
    are shipped.
    """
    found, code = {}, keep_rows.about_code()
    for longest, is_code in ((max_new_tokens, False), (keep_rows.CODE_TOKENS, True)):
        if asked := [question for question in questions if (question in code) == is_code]:
            answers, said = kept.base_answers(model, tokenizer, asked, longest, batch=48, progress="keep rows")
            say(said)
            found |= zip(asked, answers, strict=True)
    return keep_rows.from_answers(questions, [found[question] for question in questions], first_sentence)


def train_identity(
    model, tokenizer, rows: Sequence[Row], keep: Sequence[Row], run: Path, preset: recipes.Preset | None = None, *,
    identity: Identity | None = None, resume: bool = False, start: Path | str | None = None,
    callbacks: Sequence[TrainerCallback] = (), say: Callable[[str], None] = print, asked: dict | None = None, **changes,
) -> PeftModel:  # fmt: skip
    """Train an adapter as notebook 03 does, seal the run folder ``run``, and return the tuned model in eval mode.

    Args:
        model: a base model from `load.load_model`; an adapter on it is taken off once rows and folder are checked.
        rows, keep: filled identity rows and keep rows. With an ``identity`` the preset's further wordings are added.
        preset: how to train; by default the one for the model's size.
        resume: go on from the newest whole checkpoint in ``run``, if there is one.
        start: a run or adapter folder whose weights the training begins with, instead of new ones; nothing is written
            there. Rank, targets and blocks are that adapter's.
        say: called with a line for each change that saves memory, see `resume`.
        asked: what the command line was asked for, to be kept in the run's record.
        changes: single fields of `SFTConfig`.

    Raises `RunError` if ``run`` holds another run or was begun otherwise, or if training was interrupted (it names the
    checkpoint to resume from), `BusyError` if somebody else trains into ``run``, `IdentityError` for a row that is too
    long, `ResourceError` if one row takes too much memory, `AdapterError` for a ``start`` of no use, `DiskError`.
    """
    run, preset = Path(run), preset or recipes.preset_for(spec_of(model))
    begun.check_place(run)
    if start:
        going_on.check_apart(run, start)
    first = going_on.read(start, run if resume else None)
    preset = first.shape(preset) if first else preset
    context = min(context_length(model), preset.max_length)
    trainset.check_lengths(rows, tokenizer, context)  # names the row by its number
    data = trainset.to_dataset(rows, keep, preset, further_rows(rows, identity, preset))
    longest = trainset.check_fit(data, tokenizer, context)
    record = begun.of(model, preset, identity, data, asked, first and first.origin)
    with files.locked(run, "training"):
        last = begun.check(run, model, record, rows, keep, resume)
        with model_lock(model, "training"), _clean_up_on_failure(run, model):
            if first:
                first.check(model)
            if last is None:
                begun.forget(run)
                begun.write(run, record)
                files.write_json(run / "identity.json", list(rows))
                files.write_jsonl(run / "keep.jsonl", list(keep))
            base, began, sampler = take_off(model), time.perf_counter(), MemoryCallback()
            changes = {**saving_memory(base, preset, longest, say), **changes}
            build = partial(
                build_trainer, base, tokenizer, data, run, preset, [sampler, *callbacks], first=first, **changes
            )
            trainer = train_with_less(build, base, run, last, sampler, say)
            finish_run(trainer, run, preset, identity, time.perf_counter() - began, sampler)
    tuned = trainer.model.eval()
    del trainer, build  # with them go the optimiser and the gradients
    tuned.zero_grad()
    machine.release_memory()
    return tuned


@contextlib.contextmanager
def _clean_up_on_failure(run: Path, model) -> Iterator[None]:
    # Whatever ends a training early: the caller's model is a base model again, and only whole checkpoints stay. Without
    # one nothing stays that would be in the way of another start.
    made = not run.exists()
    try:
        yield
    except BaseException as e:
        take_off(model)
        (run / "README.md").unlink(missing_ok=True)  # TRL's model card; see finish_run
        for broken in (p for p in checkpoints(run) if not whole_checkpoint(p)):
            shutil.rmtree(broken, ignore_errors=True)
        way = "start again"
        if kept := last_checkpoint(run):
            way = f"resume from {kept.name}" + begun.way_on(run)
        elif not (run / runs.MANIFEST).exists():
            begun.forget(run)
            with contextlib.suppress(OSError):
                run.rmdir() if made else None
        if isinstance(e, KeyboardInterrupt):
            stays = "its checkpoints are kept" if kept else "it had no checkpoint yet"
            raise RunError(f"{run}: training was interrupted, {stays}", way) from e
        with files.disk_errors(run, f"free some space, then {way}"):
            raise


class Readable(TrainerCallback):
    """Gives checkpoints the mode that new files get here: safetensors writes them for one user alone."""

    def on_save(self, args, state, control, **kwargs):
        """Mend the newest."""
        files.follow_umask(Path(args.output_dir, f"checkpoint-{state.global_step}"))


class HalvesTrainer(SFTTrainer):
    """TRL's trainer for examples of two kinds that take turns: the loss is the sum of each kind's own mean.

    Short answers about identity would otherwise weigh less than long ordinary ones. The rows come in order, and an even
    number at a time: of one row alone there is one kind.
    """

    loss_is_scaled_for_ga = False  # transformers then divides the sum by the number of forward passes

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of a batch, a tensor without dimensions; ``labels`` are (batch, tokens), -100 where none is due."""
        labels = inputs["labels"]
        # Without padding all examples are one row, and each begins at position 0.
        starts = inputs["position_ids"] == 0 if "position_ids" in inputs else torch.ones_like(labels[:, :1])
        kinds = (starts.cumsum(1 if len(labels) == 1 else 0) - 1).expand_as(labels)[:, 1:] % 2
        labels, due = labels[:, 1:], labels[:, 1:] != -100
        at = due.any(0).nonzero()[
            :, 0
        ]  # the output layer is as large as a third of the blocks: only where a loss is due
        inputs = {key: value for key, value in inputs.items() if key != "labels"}
        outputs = model(**inputs, use_cache=False, logits_to_keep=at)
        logits, labels, due, kinds = outputs.logits.float().transpose(1, 2), labels[:, at], due[:, at], kinds[:, at]
        losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")  # 0 where the label is -100
        found = [due & (kinds == kind) for kind in range(2)]
        loss = sum(losses[here].mean() for here in found if here.any())
        return (loss, outputs) if return_outputs else loss


def build_trainer(model, tokenizer, dataset: Dataset, run, preset, callbacks=(), first=None, **changes) -> SFTTrainer:
    """An `SFTTrainer` for ``preset``; the adapter's first weights are those of ``first``, a `going_on.Start`, or drawn
    from the preset's seed.

    It uses one GPU, also where several are seen: without a launcher, transformers would ask for `nn.DataParallel`
    (`TrainingArguments.n_gpu`), which TRL refuses. Several GPUs: see `to_trl`.
    """
    torch.manual_seed(preset.seed)
    config = recipes.sft_config(preset, run, **{**recipes.precision(model), **changes})
    config._n_gpu = min(config.n_gpu, 1)  # as transformers does itself for a model that is spread over devices
    trainer = (HalvesTrainer if preset.halves else SFTTrainer)(
        model=first.on(model) if first else model, args=config, train_dataset=dataset, processing_class=tokenizer,
        peft_config=None if first else recipes.lora_config(preset), callbacks=[ProgressBar(), Readable(), *callbacks],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer


def finish_run(trainer, run: Path, preset: recipes.Preset, identity: Identity | None, seconds: float, sampler) -> Path:
    """Write adapter, ``metrics.json``, ``memory.csv`` and, last, the manifest that makes the run count as complete.

    Raises `RunError` for an adapter that is no numbers any more: such a model answers with one character.
    """
    if not all(p.isfinite().all() for p in trainer.model.parameters() if p.requires_grad):
        cure = "train in a new run folder, with a smaller learning rate, or in float32 (load_model(..., torch.float32))"
        raise RunError(f"{run}: the training diverged, and the adapter holds no numbers any more", cure)
    save_adapter(trainer.model, run / "adapter")
    (run / "README.md").unlink(missing_ok=True)  # TRL's model card, which holds this machine's paths
    state, args = trainer.state, trainer.args
    metrics = {"seconds": round(seconds, 2), "steps": state.global_step, "peak_bytes": sampler.peak}
    files.write_json(run / "metrics.json", {**metrics, "log": state.log_history})
    files.write_atomic(run / "memory.csv", sampler.csv())
    # With too little memory fewer rows were taken at once than the preset says.
    files.follow_umask(run)  # also the checkpoints of a trainer that was built by hand
    preset = replace(preset, batch=args.per_device_train_batch_size, accumulation=args.gradient_accumulation_steps)
    facts = run_facts(trainer.model, preset, identity, trainer.processing_class)
    origin = begun.read(run).origin if begun.recorded(run) else None
    return runs.seal(run, {**facts, "begun_from": origin} if origin else facts)


def template_hash(tokenizer) -> str:
    """SHA-256 of the chat template: a model tuned under one answers as another under another."""
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def run_facts(model, preset: recipes.Preset, identity: Identity | None, tokenizer) -> dict:
    """What a manifest records: model, versions, device, preset, identity and chat template."""
    spec = spec_of(model)
    return {
        "model": spec.key,
        "revision": catalog.EMBEDDED_FILE.requirement if spec == catalog.EMBEDDED else spec.revision,
        "fingerprint": fingerprint(model),
        "versions": {p: version(p) for p in ("torch", "transformers", "peft", "trl", "datasets", "accelerate")},
        "device": machine.machine().name,
        "seed": preset.seed,
        "preset": asdict(preset),
        "identity": asdict(identity) if identity else None,
        "template": template_hash(tokenizer),
    }
