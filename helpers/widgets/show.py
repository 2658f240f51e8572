"""The functions that notebooks call: each shows its widget, or prints the static form where none can be shown."""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache

from IPython import get_ipython
from IPython.display import HTML, display
from transformers import TrainerCallback

from helpers.chat import generate
from helpers.chat.compare import CompareSession
from helpers.chat.conversation import ChatSession, plain
from helpers.models.adapters import adapter_scaled, model_lock
from helpers.models.load import context_length
from helpers.rows.edit import RowTable
from helpers.rows.identity import Identity
from helpers.rows.read import Row
from helpers.scenarios.brand import Product
from helpers.training.watch import ProgressBar
from helpers.widgets import quiz as quizzes
from helpers.widgets.boxes import ChatBox, CompareBox
from helpers.widgets.editor import RowEditor, print_table
from helpers.widgets.products import ProductsBox, ProductsSession
from helpers.widgets.shell import Box
from helpers.widgets.training_view import TrainingView


def is_static() -> bool:
    """Whether to print instead of showing a box: ``IDENTITY_STATIC=1``, or no notebook kernel."""
    return os.environ.get("IDENTITY_STATIC") == "1" or not hasattr(get_ipython(), "kernel")


@cache
def enable_colab() -> None:
    """Have Colab load widgets that are not its own, once; elsewhere nothing."""
    if "google.colab" in sys.modules:
        from google.colab import output

        output.enable_custom_widget_manager()


def put(box: Box) -> None:
    """Show ``box``, and under it a line for a page that cannot show it. The box hides that line."""
    enable_colab()
    display(box)
    display(box.unseen(), raw=True)


def print_answers(sessions: Mapping[str, ChatSession], questions: Sequence[str]) -> None:
    """Print what each of the labelled sessions' models answers to ``questions``, each asked afresh."""
    found = {}
    for label, one in sessions.items():
        how = {name: getattr(one, name) for name in ("system", "adapter", "max_new_tokens")}
        with model_lock(one.model, "answering a list of questions"), adapter_scaled(one.model, one.strength):
            found[label] = generate.answers(one.model, one.tokenizer, questions, **how)
    print("This box is live in JupyterLab. Its answers to the example questions (greedy decoding):")
    for i, question in enumerate(questions):
        print(f"\nYou: {plain(question)}", *(f"{label}: {plain(texts[i])}" for label, texts in found.items()), sep="\n")


def chat_box(
    model, tokenizer, *, system: str | None = None, adapter: bool = True, examples: Sequence[str] = ("Who are you?",),
    max_new_tokens: int = 96,
) -> None:  # fmt: skip
    """Show a `ChatSession` with ``examples`` to click on; without a browser print the answers to them."""
    session = ChatSession(model, tokenizer, system, adapter, max_new_tokens)
    if is_static():
        print_answers({"Model": session}, examples)
    else:
        put(ChatBox(session, examples))


def compare_box(
    model, tokenizer, *, variants: Mapping[str, Mapping] | None = None, attacks: Sequence[str] = (),
    examples: Sequence[str] = ("Who are you?", "Who wrote Hamlet?"), max_new_tokens: int = 64, blind: bool = False,
) -> None:  # fmt: skip
    """Show a `CompareSession` with ``examples`` and ``attacks`` to click on; without a browser print the answers.

    ``variants`` and the errors are the session's; ``blind`` starts with the columns shuffled and unnamed.
    """
    session = CompareSession(model, tokenizer, variants, max_new_tokens)
    if is_static():
        print_answers(session.variants, [*examples, *attacks])
    else:
        put(CompareBox(session, examples, attacks, blind))


def products(
    model, tokenizer, of: Sequence[Product], *, examples: Sequence[str] = ("Who are you?",), max_new_tokens: int = 48
) -> None:  # fmt: skip
    """Show a `ProductsSession` with the products ``of`` one model, and ``examples`` to click on.

    Without a browser print what each answers to the examples. Raises `AdapterError` for one without an adapter.
    """
    session = ProductsSession(model, tokenizer, of, max_new_tokens)
    if is_static():
        print_answers(session.variants, examples)
    else:
        put(ProductsBox(session, examples))


def row_editor(rows: Sequence[Row], who: Identity, model, tokenizer) -> RowTable:
    """Show identity and rows in an editor, or print them without a browser; the `RowTable` holds what they become."""
    table = RowTable(rows, who, tokenizer, context_length(model))
    if is_static():
        print_table(table)
    else:
        put(RowEditor(table))
    return table


def training_view() -> TrainerCallback:
    """Show loss, memory and time left of a training (without a browser, a bar); returns the trainer's callback."""
    if is_static():
        print("Loss, memory and time left are drawn here in JupyterLab while training goes on.")
        return ProgressBar()
    view = TrainingView()
    put(view)
    return view.progress


def quiz(name: str) -> None:
    """Show the questions of the notebook that begins with ``name`` ("03"); on paper, with the answers folded away."""
    questions = quizzes.read(name)
    if is_static():
        display(HTML(quizzes.as_html(questions)))
    else:
        put(quizzes.QuizBox(questions))
