"""What the notebooks import and do not teach: models on disk, batched answers, judging, plots, chat widgets.

It is not a training framework. The training itself is TRL's and PEFT's, and stands in notebook 03.
Modules are "rooms": each imports only from those above it in this list, so any of them can be read alone:
errors, runs, hardware, specs, memory, models, generate, identity, training, judge, probes, stats, plots,
execute, widgets, and the command line in ``__main__``.
"""

__version__ = "0.1.0"
