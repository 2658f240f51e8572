"""Base models and adapters: which there are, what this machine can hold, getting them, loading them."""
