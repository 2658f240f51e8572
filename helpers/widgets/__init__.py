"""What a learner's hands are on: a chat, a comparison, the rows, the training. Thin shells over plain classes."""

from helpers.widgets.show import chat_box, compare_box, row_editor, training_view

__all__ = ["chat_box", "compare_box", "row_editor", "training_view"]
