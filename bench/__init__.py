"""Measurements of speed and memory, on CPU and GPU; each module is a command."""
