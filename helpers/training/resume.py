"""Which checkpoints of a run can be resumed from, and a training in a notebook that is stopped to go on later."""

import contextlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import safe_open

from helpers.errors import RunError


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
    found = [p for p in Path(run).glob("checkpoint-*") if p.name.split("-")[1].isdigit()]
    return sorted(found, key=lambda p: -int(p.name.split("-")[1]))


def last_checkpoint(run: Path) -> Path | None:
    """The newest whole checkpoint in ``run``, passing over those cut off mid-write; None if there is none."""
    return next(filter(whole_checkpoint, checkpoints(run)), None)


@contextlib.contextmanager
def stoppable(trainer, view=None) -> Iterator[None]:
    """Within the block the trainer may be stopped (Ctrl-C, the square button); `RunError` then says how to go on.

    ``view`` is a callback for this training alone, from `show.training_view`: told of a stop, taken off at the end.
    """
    try:
        yield
    except KeyboardInterrupt:
        step, last = trainer.state.global_step, last_checkpoint(Path(trainer.args.output_dir))
        if hasattr(view, "stopped"):
            view.stopped(step)
        whence = f"it goes on from {last.name}" if last else "there is no checkpoint yet, so it begins anew"
        cure = f"set RESUME = True and run this cell again: {whence}"
        raise RunError(f"training was stopped after step {step}", cure) from None
    finally:
        if view is not None:
            trainer.remove_callback(view)
