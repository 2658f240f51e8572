"""Which checkpoints of a run can be resumed from: training may have been cut off while one was being written."""

import json
import zipfile
from pathlib import Path

from safetensors import safe_open


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
