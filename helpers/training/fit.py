"""Training that runs out of memory goes on with fewer rows at once, and the same rows a step.

The gradient of a step is the mean over its rows' answer tokens, so half the batch with twice the accumulation is the
same step: only time is lost. How much memory is needed is not worked out here but in `models.estimate`.
"""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from helpers.errors import ResourceError
from helpers.models import estimate
from helpers.models.adapters import take_off
from helpers.models.load import spec_of
from helpers.training import recipes
from helpers.training.resume import last_checkpoint


def beforehand(model, preset: recipes.Preset, longest: int, say: Callable[[str], None]) -> dict[str, bool]:
    """Fields of `SFTConfig` for computing each layer twice, if this GPU's free memory needs it; ``say`` tells so.

    ``longest`` is the number of tokens of the longest row. Empty on other devices and for models of unknown sizes.
    """
    shape, method = spec_of(model).shape, method_of(model)
    if model.device.type != "cuda" or shape is None or method is None:
        return {}
    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    needed = estimate.estimate(shape, method, estimate.load_of(preset, longest))
    if needed.held - needed.parts["weights"] <= free:  # the weights are loaded already
        return {}
    say("Each layer is computed twice (activation checkpointing): otherwise this GPU's memory would not do.")
    return {"activation_checkpointing": True}


def method_of(model) -> estimate.Method | None:
    """With which of `estimate.METHODS` an adapter on ``model`` is trained; None for a format that is none of them."""
    kind = "4-bit" if getattr(model, "is_loaded_in_4bit", False) else str(model.dtype).removeprefix("torch.")
    return next((method for method in estimate.METHODS if method.weights == kind), None)


def train(
    build: Callable, model, run: Path, start: Path | None, watch: AbstractContextManager, say: Callable[[str], None]
):
    """Build a trainer and train; on too little memory tell the reader, and go on with one that needs less.

    Args:
        build: makes a trainer for ``model`` that saves into ``run``; takes fields of `SFTConfig` that are to differ.
        start: the checkpoint to begin from, or None. A further attempt begins from the newest whole one in ``run``.
        watch: entered for every attempt, such as a `memory.MemoryCallback`.

    Returns:
        The trainer that finished.

    Raises:
        ResourceError: one row at a time, each layer computed twice, is still too much.
    """
    changes: dict = {}
    while True:
        trainer = build(**changes)
        args = trainer.args
        try:
            with watch:
                trainer.train(resume_from_checkpoint=str(start) if start else None)
            return trainer
        except torch.OutOfMemoryError:  # nothing is freed in here: the traceback still holds the step's tensors
            pass
        del trainer
        take_off(model)
        gc.collect()
        torch.cuda.empty_cache()
        fields, line = less(args)
        changes, start = {**changes, **fields}, last_checkpoint(run)
        say(f"{line}, {f'going on from {start.name}' if start else 'from the first step'}.")


def less(args) -> tuple[dict, str]:
    """Fields of `SFTConfig` that need less memory than ``args``, and a line about them; raises `ResourceError`."""
    batch, accumulation = args.per_device_train_batch_size, args.gradient_accumulation_steps
    if batch > 1:
        factor = next(n for n in range(2, batch + 1) if batch % n == 0)  # half the rows, if their number is even
        fewer, more = batch // factor, accumulation * factor
        line = f"Out of memory with {batch} rows at once: now {fewer} at once and {more} times before each step"
        fields = {"per_device_train_batch_size": fewer, "gradient_accumulation_steps": more}
        return fields, f"{line}, so a step is still {batch * accumulation} rows"
    if not args.activation_checkpointing:
        line = "Out of memory with one row at once: now each layer is computed twice, which takes longer"
        return {"activation_checkpointing": True}, line
    raise ResourceError(
        "out of memory with one row at once and each layer computed twice",
        "take a smaller model (python -m helpers check shows what fits), load it in 4 bits (four_bit=True, "
        "--four-bit), or shorten the longest rows",
    )
