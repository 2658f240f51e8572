"""Training that runs out of memory goes on with fewer rows at once, and the same rows a step.

The gradient of a step is the mean over its rows' answer tokens, so half the batch with twice the accumulation is the
same step: only time is lost. It says so whenever it changes something. How much memory is needed is worked out in
`estimate`.
"""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from helpers.errors import ResourceError
from helpers.models import estimate
from helpers.models.load import spec_of
from helpers.training import recipes

CURE = (
    "take a smaller model (python -m helpers check shows what fits), load it in 4 bits (four_bit=True, --four-bit), "
    "or shorten the longest rows"
)


def smaller(batch: int, accumulation: int) -> tuple[int, int] | None:
    """The next smaller batch that keeps the rows a step, with its accumulation; None below one row.

    Halves an even batch; otherwise divides it by its smallest factor.
    """
    factor = next((n for n in range(2, batch + 1) if batch % n == 0), None)
    return (batch // factor, accumulation * factor) if factor else None


def needs_checkpointing(model, preset: recipes.Preset, longest: int) -> bool:
    """Whether training fits this GPU's free memory only if each layer is computed twice.

    Args:
        model: the base model, on its device.
        longest: tokens of the longest row.

    Returns:
        False on other devices and for models whose sizes are not in the table.
    """
    shape, method = spec_of(model).shape, method_of(model)
    if model.device.type != "cuda" or shape is None or method is None:
        return False
    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    there = estimate.estimate(shape, method, estimate.load_of(preset, longest))
    return there.held - there.parts["weights"] > free  # the weights are loaded already


def method_of(model) -> estimate.Method | None:
    """With which of `estimate.METHODS` an adapter on ``model`` is trained; None for a format that is none of them."""
    kind = "4-bit" if getattr(model, "is_loaded_in_4bit", False) else str(model.dtype).removeprefix("torch.")
    return next((method for method in estimate.METHODS if method.weights == kind), None)


def train(
    build: Callable[..., Any], release: Callable[[], object], start: Path | None, again: Callable[[], Path | None],
    watch: AbstractContextManager, say: Callable[[str], None] = print,
) -> Any:  # fmt: skip
    """Build a trainer, train, and on too little memory build another that needs less, until one is through.

    Args:
        build: makes a trainer; takes fields of `SFTConfig` that are to differ.
        release: takes what the failed trainer has put on the model off again.
        start: the checkpoint to begin from, or None.
        again: the newest whole checkpoint at the time of a further attempt, or None.
        watch: entered for every attempt, such as a `memory.Sampler`.
        say: called with a line for the reader before each further attempt.

    Returns:
        The trainer that was through.

    Raises:
        ResourceError: one row at a time, each layer computed twice, is still too much.
    """
    changes: dict[str, Any] = {}
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
        release()
        gc.collect()
        torch.cuda.empty_cache()
        changes, line = _less(args)
        start = again()
        say(f"{line}, {f'going on from {start.name}' if start else 'from the first step'}.")


def _less(args) -> tuple[dict[str, Any], str]:
    batch, accumulation = args.per_device_train_batch_size, args.gradient_accumulation_steps
    checkpointing = bool(args.activation_checkpointing)
    if fewer := smaller(batch, accumulation):
        line = f"Out of memory with {batch} rows at once: now {fewer[0]} at once and {fewer[1]} times before each step"
        return _fields(*fewer, checkpointing), f"{line}, so a step is still {batch * accumulation} rows"
    if not checkpointing:
        line = "Out of memory with one row at once: now each layer is computed twice, which takes longer"
        return _fields(batch, accumulation, True), line
    raise ResourceError("out of memory with one row at once and each layer computed twice", CURE)


def _fields(batch: int, accumulation: int, checkpointing: bool) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "activation_checkpointing": checkpointing,
    }
