"""What is seen of a training while it goes on: a live view's numbers, a bar, the change of mind, and memory.

Callbacks for the trainer, none of which changes what is learned; the view is drawn in `widgets.training_view`. Memory
is this process's resident set (psutil), or on CUDA what tensors hold (allocated) and torch took for them (reserved).
"""

import threading
import time
from collections.abc import Callable

import psutil
import torch
from tqdm import tqdm
from transformers import TrainerCallback

from helpers.chat.generate import answers, mean_logprob
from helpers.models import machine

EVERY = 1.0  # seconds between two redraws at least


class Progress(TrainerCallback):
    """Collects what a live view shows, and calls ``draw`` with itself, at most once a second and at both ends.

    ``losses`` and ``memory`` hold (step, nats a token) and (step, bytes); ``state`` is ``waiting``, ``training``,
    ``done`` or ``stopped``; ``step``, of ``steps``, and ``seconds`` are those of the last drawing.
    """

    def __init__(self, draw: Callable[["Progress"], object], clock: Callable[[], float] = time.monotonic):
        self.draw, self.clock, self.losses, self.memory = draw, clock, [], []
        self.state, self.step, self.steps, self.seconds = "waiting", 0, 0, 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        """Start the clock; a resumed run begins at its step, with the losses it had up to there."""
        self._began, self._first, self.memory = self.clock(), state.global_step, []
        self.redraw("training", state)

    def on_step_end(self, args, state, control, **kwargs):
        """Draw if the last drawing is old enough."""
        if self.clock() - self._drawn >= EVERY:
            self.redraw("training", state)

    def on_train_end(self, args, state, control, **kwargs):
        """Draw the last time."""
        self.redraw("done", state)

    def redraw(self, word: str, trainer_state) -> None:
        """Draw now: ``word`` is the new `state`, ``trainer_state`` the trainer's own."""
        self.state, self.step, self.steps = word, trainer_state.global_step, trainer_state.max_steps
        self.losses = [(log["step"], float(log["loss"])) for log in trainer_state.log_history if "loss" in log]
        self.memory.append((self.step, used()))
        self.seconds = self.clock() - self._began
        self.draw(self)
        self._drawn = self.clock()

    def line(self) -> str:
        """Where it is, in words."""
        if self.state == "waiting":
            return "Training has not begun yet."
        loss = f", loss {self.losses[-1][1]:.2f}" if self.losses else ""
        figures = f"{loss}, memory {self.memory[-1][1] / 2**20:.0f} MiB"
        if self.state == "done":
            return f"Done: {self.step} of {self.steps} steps in {span(self.seconds)}{figures}."
        if self.state == "stopped":
            return f"Stopped after step {self.step} of {self.steps}{figures}."
        done, rest = self.step - self._first, "the first step is the slowest"
        if done > 0:
            rest = f"about {span(self.seconds / done * (self.steps - self.step))} left"
        return f"Step {self.step} of {self.steps}{figures}; {rest}."


def span(seconds: float) -> str:
    """Such as ``45 s`` or ``5 min 10 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class ProgressBar(Progress):
    """One bar over the optimiser steps, with the latest loss, instead of a line a log entry."""

    def __init__(self):
        super().__init__(ProgressBar.show)

    def on_train_begin(self, args, state, control, **kwargs):
        """Open the bar where a resumed run stands."""
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="training", unit="step", leave=False)
        super().on_train_begin(args, state, control)

    def show(self) -> None:
        """Advance; close the bar at the end."""
        self.bar.set_postfix(refresh=False, **({"loss": f"{self.losses[-1][1]:.2f}"} if self.losses else {}))
        self.bar.update(self.step - self.bar.n)
        if self.state != "training":
            self.bar.close()


class IdentityTracker(TrainerCallback):
    """Every ``every`` steps: the greedy answer to a question, and the mean log-probability of two rival answers.

    ``history`` holds one dict a measurement: step, answer, own, rival (nats a token).
    """

    def __init__(self, tokenizer, question: str, own: str, rival: str, every: int = 10):
        self.tokenizer, self.question, self.every = tokenizer, question, every
        self.texts, self.history = {"own": own, "rival": rival}, []

    def _measure(self, model, step: int) -> None:
        was_training = model.training
        model.eval()
        scores = {k: mean_logprob(model, self.tokenizer, self.question, text) for k, text in self.texts.items()}
        answer = answers(model, self.tokenizer, [self.question], max_new_tokens=24)[0]
        self.history.append({"step": step, "answer": answer, **scores})
        model.train(was_training)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        """Measure the untrained model once; a resumed training takes steps again that were measured before."""
        self.history = [entry for entry in self.history if entry["step"] <= state.global_step]
        if state.global_step == 0 and not self.history:
            self._measure(model, 0)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        """Measure every ``every`` steps and at the end."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self._measure(model, state.global_step)


def used() -> int:
    """Bytes in use now: allocated on the GPU, or this process's resident set."""
    return torch.cuda.memory_allocated() if machine.device() == "cuda" else psutil.Process().memory_info().rss


def parts(model, optimizer) -> dict[str, int]:
    """Bytes of base weights, adapter, gradients and optimiser state, counted from the tensors themselves."""
    sizes: dict[str, dict] = {"weights": {}, "adapter": {}, "gradients": {}, "optimiser": {}}
    held = [("adapter" if "lora_" in name else "weights", p.data) for name, p in model.named_parameters()]
    held += [("gradients", p.grad) for p in model.parameters() if p.grad is not None]
    held += [("optimiser", v) for entry in optimizer.state.values() for v in entry.values() if torch.is_tensor(v)]
    for part, tensor in held:
        sizes[part][tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()  # shared ones count once
    return {part: sum(found.values()) for part, found in sizes.items()}


class MemoryCallback(TrainerCallback):
    """Samples memory between ``with`` and its end; as a trainer's callback it also counts the parts in the first step.

    ``samples`` is a list of (seconds since start, bytes), taken every ``interval`` seconds by a thread. On CUDA it is
    (seconds, bytes allocated, bytes reserved), one a step with the peak within it, which torch keeps itself: a thread
    would take time from the Python that launches the GPU's work. Torch keeps one such peak: use one of these at a time.
    """

    def __init__(self, interval: float = 0.05):
        self.interval, self.samples, self.parts = interval, [], {}
        self._gradients, self._start, self._done = 0, 0.0, threading.Event()

    @property
    def peak(self) -> int:
        """The largest sample, in bytes; 0 before the first."""
        return max((sample[1] for sample in self.samples), default=0)

    def __enter__(self):
        self._start = self._start or time.perf_counter()  # may be entered again, to go on
        if machine.device() == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self._take()
        self._done.clear()
        self._thread = threading.Thread(target=self._work, daemon=True, name="memory")
        self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._done.set()
        self._thread.join()

    def _work(self) -> None:
        while machine.device() != "cuda" and not self._done.wait(self.interval):
            self._take()

    def _take(self) -> None:
        on_gpu = machine.device() == "cuda"
        figures = (torch.cuda.max_memory_allocated(), torch.cuda.memory_reserved()) if on_gpu else (used(),)
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        self.samples.append((time.perf_counter() - self._start, *figures))

    def csv(self) -> str:
        """The samples as CSV text with the columns ``seconds,bytes``, on CUDA with ``reserved`` as a third."""
        head = ",".join(("seconds", "bytes", "reserved")[: len(self.samples[0])])
        return f"{head}\n" + "".join(f"{s:.2f},{','.join(map(str, rest))}\n" for s, *rest in self.samples)

    def on_pre_optimizer_step(self, args, state, control, model=None, optimizer=None, **kwargs):
        """Count the gradients while they exist."""
        self._gradients = self._gradients or parts(model, optimizer)["gradients"]

    def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs):
        """Count the parts after the first step; on CUDA take this step's sample."""
        if machine.device() == "cuda":
            self._take()
        if not self.parts:
            self.parts = {**parts(model, optimizer), "gradients": self._gradients}


def peak_parts(sampler: MemoryCallback) -> dict[str, int]:
    """What the peak of a training run consisted of, in bytes: the counted parts and two more.

    "libraries" is what the process held besides before the first step, "activations" the rest at the peak.
    """
    counted = sampler.parts
    libraries = max(0, sampler.samples[0][1] - counted["weights"] - counted["adapter"])
    return {"libraries": libraries, **counted, "activations": max(0, sampler.peak - libraries - sum(counted.values()))}
