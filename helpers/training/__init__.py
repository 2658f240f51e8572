"""The recipe: presets, training with TRL, resuming, what a training shows while it runs."""
