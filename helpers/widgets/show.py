"""The functions that notebooks call: each shows its widget, or prints the static form where none can be shown.

They return None, or the plain thing a notebook goes on with, so that a cell ending in one shows it once.
"""

from collections.abc import Mapping, Sequence

from IPython.display import display
from transformers import TrainerCallback

from helpers.models.load import context_length
from helpers.rows.edit import RowTable
from helpers.rows.identity import Identity
from helpers.rows.read import Row
from helpers.training.watch import ProgressBar
from helpers.widgets import static
from helpers.widgets.chat import ChatBox
from helpers.widgets.compare import CompareBox
from helpers.widgets.editor import RowEditor, print_table
from helpers.widgets.training_view import TrainingView


def chat_box(
    model, tokenizer, *, system: str | None = None, adapter: bool = True, examples: Sequence[str] = ("Who are you?",),
    max_new_tokens: int = 96,
) -> None:  # fmt: skip
    """Show a chat with ``model``; without a browser print its answers to ``examples``, each asked afresh.

    Args:
        system: system text; None leaves the chat template's default, ``""`` sends an empty one.
        adapter: False chats with the base model under the adapter.
        examples: questions to click on.
        max_new_tokens: the longest answer, in tokens.

    Returns:
        None; `ChatBox` is the widget itself.
    """
    how = {"system": system, "adapter": adapter, "max_new_tokens": max_new_tokens}
    if static.is_static():
        return static.print_chat(model, tokenizer, examples, **how)
    return display(ChatBox(model, tokenizer, examples=examples, **how))


def compare_box(
    model, tokenizer, *, arms: Mapping[str, Mapping] | None = None,
    examples: Sequence[str] = ("Who are you?", "Who wrote Hamlet?"), attacks: Sequence[str] = (),
    max_new_tokens: int = 64, blind: bool = False,
) -> None:  # fmt: skip
    """Show arms of one model side by side; without a browser print their answers to the suggested questions.

    Args:
        arms: label -> ``system``, ``adapter`` and ``strength`` as in `ChatSession`; None for base against tuned.
        examples, attacks: questions and attacks to click on.
        max_new_tokens: the longest answer, in tokens.
        blind: start with the columns shuffled and unnamed.

    Returns:
        None; `CompareBox` is the widget itself.

    Raises:
        AdapterError, HelpersError: see `CompareSession`.
    """
    if static.is_static():
        return static.print_compare(model, tokenizer, arms, [*examples, *attacks], max_new_tokens)
    how = {"arms": arms, "examples": examples, "attacks": attacks, "max_new_tokens": max_new_tokens, "blind": blind}
    return display(CompareBox(model, tokenizer, **how))


def row_editor(rows: Sequence[Row], who: Identity, model, tokenizer) -> RowTable:
    """Show the identity and its rows in a table that can be edited; without a browser print them.

    Returns:
        The `RowTable`: its ``identity`` and ``rows`` are what was made of them by the time they are read.
    """
    table = RowTable(rows, who, tokenizer, context_length(model))
    if static.is_static():
        print_table(table)
    else:
        display(RowEditor(table))
    return table


def training_view() -> TrainerCallback:
    """Show loss, memory and time left while a training goes on; without a browser it is a progress bar.

    Returns:
        The callback to give to the trainer.
    """
    if static.is_static():
        print("Loss, memory and time left are drawn here in JupyterLab while training goes on.")
        return ProgressBar()
    view = TrainingView()
    display(view)
    return view.progress
