"""In which number format a model is loaded on this device, and what is refused before minutes of loading are lost.

float32 for the embedded model, whose results are to be repeated bit by bit, and on a CPU for models outside the table;
16 bits otherwise: bfloat16 where the device has it in hardware, else float16 on a GPU and float32 on a CPU. 4-bit only
where it is asked for.
"""

import torch

from helpers.errors import ResourceError
from helpers.models import catalog, estimate, machine

FOUR_BIT_CURE = 'pip install -c constraints.txt -e ".[4bit]"'


def dtype_for(spec: catalog.ModelSpec, asked: torch.dtype | None = None) -> torch.dtype:
    """The number format for ``spec`` here, or the one ``asked`` for.

    Raises:
        ResourceError: bfloat16 on a GPU that only emulates it, or float16 on a CPU, which is not trained in.
    """
    where = machine.device()
    if asked is None:
        return torch.float32 if spec == catalog.EMBEDDED or (where == "cpu" and not spec.shape) else _native(where)
    if asked is torch.bfloat16 and where == "cuda" and not machine.native_bf16(where):
        name = torch.cuda.get_device_name()
        raise ResourceError(
            f"bfloat16 needs a GPU of compute capability 8.0 (Ampere) or newer, and {name} is older",
            "leave dtype out, or give dtype=torch.float16",
        )
    if asked is torch.float16 and where == "cpu":
        raise ResourceError(
            "float16 is a format for GPUs: a CPU is slow in it, and training overflows",
            "leave dtype out, or give dtype=torch.float32",
        )
    return asked


def _native(where: str) -> torch.dtype:
    if machine.native_bf16(where):
        return torch.bfloat16
    return torch.float16 if where == "cuda" else torch.float32


def four_bit(dtype: torch.dtype):
    """transformers' configuration for 4-bit weights: NF4 with double quantisation, computing in ``dtype``.

    Source: QLoRA, arXiv:2305.14314, section 3.

    Raises:
        ResourceError: no CUDA, or bitsandbytes is not installed.
    """
    if machine.device() != "cuda":
        raise ResourceError(
            "4-bit weights need an NVIDIA GPU, and torch sees none here",
            "leave four_bit (--four-bit) out; on a machine with a GPU install torch's CUDA build",
        )
    if not machine.has_bitsandbytes():
        raise ResourceError("4-bit weights need the package bitsandbytes, which is not installed", FOUR_BIT_CURE)
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def check_memory(spec: catalog.ModelSpec, dtype: torch.dtype, in_four_bit: bool = False) -> None:
    """Refuse a model of the table whose weights alone are more than the memory now free; raises `ResourceError`."""
    if spec.shape is None:
        return
    name = "4-bit" if in_four_bit else str(dtype).removeprefix("torch.")
    here = machine.machine()
    needed = estimate.weights_bytes(spec.shape, name)
    if needed <= here.memory_free:
        return
    smaller = [s for s in catalog.TABLE if estimate.weights_bytes(s.shape, name) <= here.memory_free]
    other = (
        f", or take MODEL={'embedded' if smaller[-1] == catalog.EMBEDDED else smaller[-1].hub_id!r}" if smaller else ""
    )
    free = f"{here.memory_free / catalog.GIB:.1f} GiB are free on {here.name}"
    raise ResourceError(
        f"{spec.key} needs {needed / catalog.GIB:.1f} GiB for its weights in {name}, and {free}",
        f"close other programs and notebooks{other}; python -m helpers check shows what fits",
    )
