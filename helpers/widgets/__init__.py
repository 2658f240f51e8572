"""Widgets for the notebooks: a chat, a comparison, a row editor, a live training. Thin shells over plain classes."""
