"""What leaves this machine: the model card of a tuned model."""
