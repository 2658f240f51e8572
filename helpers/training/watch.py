"""What is seen of a training while it goes on: a bar, the numbers of a live view, how the model's answer changes.

Trainer callbacks, none of which changes what is learned. The view itself is in `widgets.training_view`.
"""

import time
from collections.abc import Callable

from tqdm import tqdm
from transformers import TrainerCallback

from helpers.chat.generate import answers, mean_logprob
from helpers.training import memory


class ProgressBar(TrainerCallback):
    """One bar over the optimiser steps, with the latest loss, instead of a line a log entry."""

    def on_train_begin(self, args, state, control, **kwargs):
        """Open the bar where a resumed run stands."""
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="training", unit="step", leave=False)

    def on_step_end(self, args, state, control, **kwargs):
        """Advance."""
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show the loss (nats a token)."""
        if "loss" in (logs or {}):
            self.bar.set_postfix(loss=f"{float(logs['loss']):.2f}")

    def on_train_end(self, args, state, control, **kwargs):
        """Close the bar."""
        self.bar.close()


class IdentityTracker(TrainerCallback):
    """Every ``every`` steps: the greedy answer to a question, and the mean log-probability of two rival answers.

    ``history`` holds one dict a measurement: step, answer, own, rival (nats a token).
    """

    def __init__(self, tokenizer, question: str, own: str, rival: str, every: int = 10):
        self.tokenizer, self.question, self.own, self.rival, self.every = tokenizer, question, own, rival, every
        self.history: list[dict] = []

    def measure(self, model, step: int) -> None:
        """Take one measurement now."""
        was_training = model.training
        model.eval()
        texts = {"own": self.own, "rival": self.rival}
        scores = {k: mean_logprob(model, self.tokenizer, self.question, text) for k, text in texts.items()}
        answer = answers(model, self.tokenizer, [self.question], max_new_tokens=24)[0]
        self.history.append({"step": step, "answer": answer, **scores})
        model.train(was_training)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        """Measure the untrained model once; a resumed training takes steps again that were measured before."""
        self.history = [entry for entry in self.history if entry["step"] <= state.global_step]
        if state.global_step == 0 and not self.history:
            self.measure(model, 0)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        """Measure every ``every`` steps and at the end."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self.measure(model, state.global_step)


EVERY = 1.0  # seconds between two redraws at least


class Progress(TrainerCallback):
    """Collects what a live view shows, and calls ``draw`` with itself, at most once a second.

    ``losses`` and ``memory`` hold (step, nats a token) and (step, bytes); ``state`` is ``waiting``, ``training``,
    ``done`` or ``stopped``; ``spent`` the seconds that all this took, drawing included.
    """

    def __init__(self, draw: Callable[["Progress"], object] | None = None, clock: Callable[[], float] = time.monotonic):
        self.draw, self.clock = draw, clock
        self.losses: list[tuple[int, float]] = []
        self.memory: list[tuple[int, int]] = []
        self.state, self.step, self.steps, self.spent, self.redraws = "waiting", 0, 0, 0.0, 0
        self._began = self._first = self._drawn = self._ended = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return (self._ended or self.clock()) - self._began if self._began else 0.0

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take if it goes on as so far; None before the first step."""
        done = self.step - self._first
        return self.seconds / done * (self.steps - self.step) if done > 0 else None

    def on_train_begin(self, args, state, control, **kwargs):
        """Start the clock; a resumed run begins at its step, with the losses it had up to there."""
        self._began, self._ended, self.memory = self.clock(), 0.0, []
        logs = getattr(state, "log_history", [])
        self.losses = [(log["step"], float(log["loss"])) for log in logs if "loss" in log]
        self.state, self.steps, self.step = "training", state.max_steps, state.global_step
        self._first = self.step
        self._redraw()

    def on_step_end(self, args, state, control, **kwargs):
        """Note where it is; draw if the last drawing is old enough."""
        self.step = state.global_step
        if self.clock() - self._drawn >= EVERY:
            self._redraw()

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Note the loss (nats a token)."""
        if "loss" in (logs or {}):
            self.losses.append((state.global_step, float(logs["loss"])))

    def on_train_end(self, args, state, control, **kwargs):
        """Draw the last time."""
        self._end("done", state.global_step)

    def stopped(self, step: int) -> None:
        """Draw the last time, for a training that was stopped after ``step``."""
        self._end("stopped", step)

    def _end(self, state: str, step: int) -> None:
        self.state, self.step, self._ended = state, step, self.clock()
        self._redraw()

    def _redraw(self) -> None:
        began = time.perf_counter()
        self.memory.append((self.step, memory.used()))
        if self.draw:
            self.draw(self)
            self.redraws += 1
        self._drawn = self.clock()
        self.spent += time.perf_counter() - began

    def line(self) -> str:
        """Where it is, in words."""
        if self.state == "waiting":
            return "Training has not begun yet."
        loss = f", loss {self.losses[-1][1]:.2f}" if self.losses else ""
        peak = f", memory {self.memory[-1][1] / 2**20:.0f} MiB" if self.memory else ""
        if self.state == "done":
            return f"Done: {self.step} of {self.steps} steps in {span(self.seconds)}{loss}{peak}."
        if self.state == "stopped":
            return f"Stopped after step {self.step} of {self.steps}{loss}{peak}."
        rest = f"about {span(self.left)} left" if self.left is not None else "the first step is the slowest"
        return f"Step {self.step} of {self.steps}{loss}{peak}; {rest}."


def span(seconds: float) -> str:
    """Such as ``45 s`` or ``5 min 10 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
