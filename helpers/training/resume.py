"""How a training goes on: from its checkpoints, after it was stopped, and with less memory after it ran out of it.

The gradient of a step is the mean over its rows' answer tokens, so half the batch with twice the accumulation is the
same step: only time is lost. (Not quite so with ``halves``, where each forward pass has means of its own.) How much
memory is needed is worked out in `models.estimate`.
"""

import contextlib
import gc
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open

from helpers.errors import ResourceError, RunError
from helpers.models import estimate
from helpers.models.adapters import take_off
from helpers.models.load import spec_of
from helpers.training import recipes


def whole_checkpoint(folder: Path) -> bool:
    """Whether a checkpoint can be resumed from: adapter, optimiser, scheduler, random state and step are all whole."""
    try:
        with safe_open(folder / "adapter_model.safetensors", "pt") as f:  # fails on a file that was cut off
            whole = bool(f.keys())
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            with zipfile.ZipFile(folder / name) as archive:  # torch's format; the archive carries checksums
                whole = whole and archive.testzip() is None
        return whole and "global_step" in json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    except Exception:  # every kind of damage means the same here: take the one before
        return False


def checkpoints(run: Path) -> list[Path]:
    """Every ``checkpoint-<step>`` in ``run``, newest first, whole or not."""
    found = [p for p in run.glob("checkpoint-*") if p.name.split("-")[1].isdigit()]
    return sorted(found, key=lambda p: -int(p.name.split("-")[1]))


def last_checkpoint(run: Path) -> Path | None:
    """The newest whole checkpoint in ``run``, passing over those cut off mid-write; None if there is none."""
    return next(filter(whole_checkpoint, checkpoints(run)), None)


@contextlib.contextmanager
def stoppable(trainer, view) -> Iterator[None]:
    """Within the block the trainer may be stopped (Ctrl-C, the square button); `RunError` then says how to go on.

    ``view`` is the callback from `show.training_view`: it is told of a stop, and taken off the trainer at the end.
    """
    try:
        yield
    except KeyboardInterrupt:
        step, last = trainer.state.global_step, last_checkpoint(Path(trainer.args.output_dir))
        if view.state == "training":
            view.redraw("stopped", trainer.state)
        whence = f"it goes on from {last.name}" if last else "there is no checkpoint yet, so it begins anew"
        cure = f"set RESUME = True and run this cell again: {whence}"
        raise RunError(f"training was stopped after step {step}", cure) from None
    finally:
        trainer.remove_callback(view)


def method_of(model) -> estimate.Method | None:
    """With which of `estimate.METHODS` an adapter on ``model`` is trained; None for a format that is none of them."""
    kind = "4-bit" if getattr(model, "is_loaded_in_4bit", False) else str(model.dtype).removeprefix("torch.")
    return next((method for method in estimate.METHODS if method.weights == kind), None)


def saving_memory(model, preset: recipes.Preset, longest: int, say: Callable[[str], None]) -> dict[str, bool]:
    """Fields of `SFTConfig` for computing each layer twice, if this GPU cannot hold ``longest`` tokens otherwise."""
    shape, method = spec_of(model).shape, method_of(model)
    if model.device.type != "cuda" or shape is None or method is None:
        return {}
    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    needed = estimate.estimate(shape, method, estimate.load_of(preset, longest))
    if needed.held - needed.parts["weights"] <= free:  # the weights are loaded already
        return {}
    say("Each layer is computed twice (activation checkpointing): otherwise this GPU's memory would not do.")
    return {"activation_checkpointing": True}


def train_with_less(build: Callable, model, run: Path, start: Path | None, watch, say: Callable[[str], None]):
    """Train; out of memory go on `with_less_memory` and ``say`` so; return the trainer that finished.

    ``build`` makes a trainer for ``model`` that saves into ``run``; it takes fields of `SFTConfig` that are to differ.
    The first attempt begins from the checkpoint ``start``, if any, a further one from the newest whole one in ``run``.
    ``watch``, such as a `watch.MemoryCallback`, is entered for each. Raises `ResourceError` if nothing helps.
    """
    changes: dict = {}
    while True:
        trainer = build(**changes)
        args = trainer.args
        with contextlib.suppress(torch.OutOfMemoryError), watch:
            trainer.train(resume_from_checkpoint=start and str(start))
            return trainer
        del trainer  # not within the block: there the error's traceback still held the step's tensors
        take_off(model)
        gc.collect()
        torch.cuda.empty_cache()
        fields, line = with_less_memory(args)
        changes, start = {**changes, **fields}, last_checkpoint(run)
        say(f"{line}, {f'going on from {start.name}' if start else 'from the first step'}.")


def with_less_memory(args) -> tuple[dict, str]:
    """Fields of `SFTConfig` that need less memory than ``args``, and a line about them; raises `ResourceError`."""
    batch, accumulation = args.per_device_train_batch_size, args.gradient_accumulation_steps
    if batch > 1:
        factor = next(n for n in range(2, batch + 1) if batch % n == 0)  # half the rows, if their number is even
        fewer, more = batch // factor, accumulation * factor
        line = f"Out of memory with {batch} rows at once: now {fewer} at once and {more} times before each step"
        fields = {"per_device_train_batch_size": fewer, "gradient_accumulation_steps": more}
        return fields, f"{line}, so a step is still {batch * accumulation} rows"
    if args.activation_checkpointing:
        what = "out of memory with one row at once and each layer computed twice"
        cure = "take a smaller model (python -m helpers check shows what fits), load it in 4 bits (four_bit=True, "
        raise ResourceError(what, f"{cure}--four-bit), or shorten the longest rows")
    line = "Out of memory with one row at once: now each layer is computed twice, which takes longer"
    return {"activation_checkpointing": True}, line
