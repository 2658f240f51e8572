"""What a reader sees while a model trains: one bar, and how the model comes to change its mind."""

from tqdm import tqdm
from transformers import TrainerCallback

from helpers.generate import answers, mean_logprob


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
