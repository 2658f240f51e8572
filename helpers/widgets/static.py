"""What is printed where no widget can be shown: the same answers as plain text, the same on every run."""

import os
from collections.abc import Mapping, Sequence

from IPython import get_ipython

from helpers.chat import generate
from helpers.chat.compare import CompareSession
from helpers.chat.conversation import plain
from helpers.models.adapters import adapter_scaled, model_lock

STATIC = "This box is live in JupyterLab. Its answers to the example questions (greedy decoding):"


def is_static() -> bool:
    """Whether to print instead of showing a box: ``IDENTITY_STATIC=1``, or no notebook kernel."""
    return os.environ.get("IDENTITY_STATIC") == "1" or not hasattr(get_ipython(), "kernel")


def print_chat(model, tokenizer, questions: Sequence[str], **how) -> None:
    """Print what the model answers to ``questions``, each asked afresh."""
    print(STATIC)
    for question, answer in zip(questions, generate.answers(model, tokenizer, questions, **how), strict=True):
        print(f"\nYou: {plain(question)}\nModel: {plain(answer)}")


def print_compare(
    model, tokenizer, arms: Mapping[str, Mapping] | None, questions: Sequence[str], max_new_tokens: int
) -> None:
    """Print what every arm answers to ``questions``, each asked afresh; raises as `CompareSession` does."""
    found = {}
    for label, arm in CompareSession(model, tokenizer, arms, max_new_tokens).arms.items():
        how = {"system": arm.system, "adapter": arm.adapter, "max_new_tokens": max_new_tokens}
        with model_lock(model, "answering a list of questions"), adapter_scaled(model, arm.strength):
            found[label] = generate.answers(model, tokenizer, questions, **how)
    print(STATIC)
    for i, question in enumerate(questions):
        print(f"\nYou: {plain(question)}", *(f"{label}: {plain(texts[i])}" for label, texts in found.items()), sep="\n")
