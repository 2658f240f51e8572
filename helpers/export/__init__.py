"""What leaves this machine: a tuned model merged, as GGUF, for other runners, and its model card."""
