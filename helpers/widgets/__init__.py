"""Chat widgets: thin ipywidgets shells over plain classes that need no browser."""

from helpers.widgets.boxes import chat_box, compare_box

__all__ = ["chat_box", "compare_box"]
