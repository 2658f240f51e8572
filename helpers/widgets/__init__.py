"""Thin ipywidgets shells over plain classes that need no browser."""
