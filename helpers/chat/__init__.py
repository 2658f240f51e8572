"""Asking a model: batched and streamed answers, conversations, comparisons, question files. Loads no TRL."""
