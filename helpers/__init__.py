"""What the notebooks import and do not teach: models on disk, batched answers, judging, plots, chat widgets.

It is not a training framework: TRL and PEFT train, in notebook 03. A folder imports only from those before it:
`errors`, `files`, `runs`; `models`; `rows` and `chat`; `training`; `measure`; `widgets`; `course` runs the notebooks,
and `__main__` is the command line.
"""

import os
import warnings

# No telemetry, from any library that asks: read when huggingface_hub is imported (see also `models.hub`).
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# One GPU is enough for every notebook, and TRL refuses a process that sees several (see `train.build_trainer`).
# A launcher such as accelerate gives each of its processes one and says so in LOCAL_RANK.
if "LOCAL_RANK" not in os.environ:
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
# transformers warns about its own use of a name it has deprecated, once a model; nobody here can act on it.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)

__version__ = "0.1.0"
