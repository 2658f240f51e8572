"""What the notebooks import. TRL and PEFT do the training (`helpers.training`); notebook 03 shows it typed out."""

import os
import warnings

# No telemetry, from any library that asks: read when huggingface_hub is imported (see also `models.locate`).
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# One GPU is enough for a notebook, and TRL refuses several; a launcher such as accelerate sets LOCAL_RANK and chooses.
if "LOCAL_RANK" not in os.environ:
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
# transformers warns about its own use of a name it has deprecated, once a model; nobody here can act on it.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
