"""Where a process's memory goes during a training: samples over time, and the parts counted from the tensors.

On a CPU the measure is the resident set of this process (psutil); on CUDA the figures of torch's allocator: allocated
is what tensors hold, reserved what torch has taken from the GPU for them. Bytes and seconds. What a training will need
is not foretold here but in `models.estimate`.
"""

import threading
import time

import psutil
import torch
from transformers import TrainerCallback

from helpers.models import machine


def used() -> int:
    """Bytes in use now: allocated on the GPU, or this process's resident set."""
    return torch.cuda.memory_allocated() if machine.device() == "cuda" else psutil.Process().memory_info().rss


def parts(model, optimizer=None) -> dict[str, int]:
    """Bytes of base weights, adapter, gradients and optimiser state, counted from the tensors themselves."""
    named = list(model.named_parameters())
    state = optimizer.state.values() if optimizer is not None else ()
    return {
        "weights": _held([p.data for n, p in named if "lora_" not in n]),
        "adapter": _held([p.data for n, p in named if "lora_" in n]),
        "gradients": _held([p.grad for _, p in named if p.grad is not None]),
        "optimiser": _held([v for entry in state for v in entry.values() if torch.is_tensor(v)]),
    }


def _held(tensors) -> int:
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}  # shared ones count once
    return sum(storages.values())


class MemoryCallback(TrainerCallback):
    """Samples memory between ``with`` and its end; as a trainer's callback it also counts the parts in the first step.

    ``samples`` is a list of (seconds since start, bytes), taken every ``interval`` seconds by a thread. On CUDA it is
    (seconds, bytes allocated, bytes reserved), one a step with the peak within that step: torch keeps that peak itself,
    and a thread would only take time from the Python that launches the GPU's work. Torch keeps one such peak: use one
    of these at a time. ``parts`` is empty until the optimiser has its state.
    """

    def __init__(self, interval: float = 0.05):
        self.interval, self.samples = interval, []
        self.parts: dict[str, int] = {}
        self._gradients, self._start, self._done = 0, 0.0, threading.Event()

    @property
    def peak(self) -> int:
        """The largest sample, in bytes; 0 before the first."""
        return max((sample[1] for sample in self.samples), default=0)

    @property
    def reserved(self) -> int:
        """The most that torch had reserved at a sample, in bytes; 0 on a CPU."""
        return max((sample[2] for sample in self.samples if len(sample) > 2), default=0)

    def __enter__(self):
        """Start sampling, or go on with it."""
        self._start = self._start or time.perf_counter()
        if machine.device() == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self._take()
        self._done.clear()
        self._thread = threading.Thread(target=self._work, daemon=True, name="memory")
        self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        """Stop sampling."""
        self._done.set()
        self._thread.join()

    def _work(self) -> None:
        while machine.device() != "cuda" and not self._done.wait(self.interval):
            self._take()

    def _take(self) -> None:
        seconds = time.perf_counter() - self._start
        if machine.device() == "cuda":
            self.samples.append((seconds, torch.cuda.max_memory_allocated(), torch.cuda.memory_reserved()))
            torch.cuda.reset_peak_memory_stats()
        else:
            self.samples.append((seconds, used()))

    def csv(self) -> str:
        """The samples as CSV text with the columns ``seconds,bytes``, on CUDA with ``reserved`` as a third."""
        head = "seconds,bytes,reserved" if self.reserved else "seconds,bytes"
        return f"{head}\n" + "".join(f"{s:.2f},{','.join(map(str, rest))}\n" for s, *rest in self.samples)

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        """Count the gradients while they exist."""
        self._gradients = self._gradients or parts(model)["gradients"]

    def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs):
        """Count the parts after the first step; on CUDA take this step's sample."""
        if machine.device() == "cuda":
            self._take()
        if not self.parts and optimizer is not None:
            self.parts = {**parts(model, getattr(optimizer, "optimizer", optimizer)), "gradients": self._gradients}


def peak_parts(sampler: MemoryCallback) -> dict[str, int]:
    """What the peak of a training run consisted of, in bytes.

    Weights, adapter, gradients and optimiser are counted from tensors. "libraries" is what the process held besides
    before the first step, "activations" what came on top of all that at the peak.
    """
    counted = sampler.parts
    libraries = max(0, sampler.samples[0][1] - counted["weights"] - counted["adapter"])
    return {"libraries": libraries, **counted, "activations": max(0, sampler.peak - libraries - sum(counted.values()))}
