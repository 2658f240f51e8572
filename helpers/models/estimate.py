"""How much memory a training step will need, in bytes, from a model's sizes. It computes, and loads nothing.

- weights: parameters x bytes each. 4-bit touches the linear layers alone: half a byte a weight, one byte of scale for
  64 weights, and four for 256 scales (NF4 with double quantisation, QLoRA, arXiv:2305.14314, section 3).
- adapter, gradients, optimiser: LoRA trains r (inputs + outputs) weights a layer (arXiv:2106.09685, section 4.1); a
  gradient is as large as its weight, AdamW keeps two moments. PEFT makes adapters float32 beside 16-bit weights, TRL
  makes them bfloat16 beside 4-bit ones.
- activations: what autograd saves, read off the modules of transformers and PEFT, and as much again for the gradients
  that flow through one layer. Nothing is saved below the first layer with an adapter. Checkpointing keeps the input of
  every layer, and computes one layer again at a time (arXiv:1604.06174).
- logits: TRL's loss takes the vocabulary in tiles, and on a GPU the answers' tokens alone, taken as half of all. It is
  done before gradients flow; on a GPU they use its memory again, so only what exceeds one layer's gradients counts.
- context: Python and its libraries, or CUDA's kernels, before there is any tensor (both measured, on an H100).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from helpers.models.catalog import GIB, TABLE, ModelSpec, Shape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "4-bit": 2}  # of one activation
FOUR_BIT = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes a weight
TILE = 32_768  # words of the vocabulary that TRL's loss looks at together (trl.trainer.utils)
CONTEXT = {"cpu": 450 << 20, "cuda": 780 << 20}
WORKSPACE = {"cpu": 0, "cuda": 64 << 20}  # cuBLAS's and cuBLASLt's on Hopper, taken from torch's allocator
SCORED = {"cpu": 1.0, "cuda": 0.5}  # share of the tokens that the loss looks at
TILE_COPIES = {"cpu": 8, "cuda": 0}  # float32 copies of a tile of logits; a fused kernel needs none on CUDA
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Method:
    """What is trained, and the number format of the weights: one of `BYTES`."""

    name: str
    weights: str
    full: bool = False


LORA_FLOAT32, LORA_BF16 = Method("LoRA float32", "float32"), Method("LoRA bf16", "bfloat16")
LORA_FP16, QLORA = Method("LoRA fp16", "float16"), Method("QLoRA 4-bit", "4-bit")
FULL_FLOAT32, FULL_BF16 = Method("full float32", "float32", full=True), Method("full bf16", "bfloat16", full=True)
METHODS = (LORA_FLOAT32, LORA_BF16, LORA_FP16, QLORA)


@dataclass(frozen=True)
class Load:
    """What goes through the model at once (``batch`` rows of ``width`` tokens, padding included), and which adapter."""

    batch: int = 8
    width: int = 128
    rank: int = 8
    targets: tuple[str, ...] = (*ATTENTION, *MLP)
    checkpointing: bool = False
    blocks: tuple[int, int] | None = None  # the first decoder layer with an adapter, the one after the last; None: all

    @property
    def tokens(self) -> int:
        """Tokens of a forward pass."""
        return self.batch * self.width


def load_of(preset, width: int = 128, checkpointing: bool = False) -> Load:
    """The `Load` of training with a `recipes.Preset` on rows of at most ``width`` tokens."""
    named = preset.target_modules
    targets = (*ATTENTION, *MLP) if named == "all-linear" else (named,) if isinstance(named, str) else tuple(named)
    return Load(preset.batch, width, preset.rank, targets, checkpointing, preset.blocks)


class Estimate(NamedTuple):
    """Bytes: by part, ``total`` that the device must have, and ``held`` that torch's allocator shows at the peak."""

    parts: dict[str, int]
    total: int
    held: int  # without the context


def adapter_weights(shape: Shape, load: Load) -> int:
    """Trained weights of the LoRA adapter."""
    layers = range(shape.layers)[slice(*load.blocks)] if load.blocks else range(shape.layers)
    return len(layers) * load.rank * sum(sum(shape.linear()[name]) for name in load.targets)


def weights_bytes(shape: Shape, weights: str) -> float:
    """Bytes of all weights in the number format ``weights``, which is one of `BYTES`."""
    small = shape.in_linear() if weights == "4-bit" else 0
    return small * FOUR_BIT + (shape.parameters() - small) * BYTES[weights]


def estimate(shape: Shape, method: Method, load: Load, where: str = "cuda") -> Estimate:
    """The peak of a training step on ``cpu`` or ``cuda``; formula and sources are in the module's text."""
    size, trained = BYTES[method.weights], shape.parameters() if method.full else adapter_weights(shape, load)
    each = 4 if not method.full and method.weights in ("bfloat16", "float16") else size
    layer, kept = _layer(shape, method, load), _kept(shape, method, load)
    # One tile of logits, its copies, and the gradient of the last hidden state in float32.
    tile = load.tokens * SCORED[where] * min(shape.vocab, TILE) * (size + 4 * TILE_COPIES[where])
    last = 4 * shape.hidden * load.tokens
    if method.full:  # gradients come as activations go: at the peak there is the larger of the two, not their sum
        embedding = (4 + size) * shape.vocab * shape.hidden  # its gradient in float32, and as it is kept
        activations = max(kept + embedding - trained * each, layer)
    else:  # the layer in work, and its gradients; bitsandbytes unpacks one weight matrix at a time
        unpacked = 2 * shape.hidden * shape.intermediate if method.weights == "4-bit" else 0
        activations = kept + (2 if load.checkpointing else 1) * layer + last + unpacked
    parts = {
        "weights": weights_bytes(shape, method.weights),
        "adapter": 0 if method.full else trained * (each + (size if each > size else 0)),  # and autocast's copies
        "gradients": trained * each,
        "optimiser": 2 * trained * each,
        "activations": activations + WORKSPACE[where],
        "logits": max(0, tile + last - layer) if where == "cuda" else tile + last,
        "context": CONTEXT[where],
    }
    parts = {name: int(part) for name, part in parts.items()}
    return Estimate(parts, sum(parts.values()), sum(parts.values()) - parts["context"])


def _kept(shape: Shape, method: Method, load: Load) -> int:
    """Bytes that autograd saves in all decoder layers together."""
    if load.checkpointing:
        return shape.layers * BYTES[method.weights] * shape.hidden * load.tokens
    return max(0, shape.layers - (load.blocks[0] if load.blocks else 0)) * _layer(shape, method, load)


def _layer(shape: Shape, method: Method, load: Load) -> int:
    """Bytes that autograd saves in one decoder layer."""
    size, hidden, wide, linear = BYTES[method.weights], shape.hidden, shape.intermediate, shape.linear()
    keys = hidden if load.batch > 1 else linear["k_proj"][1]  # repeated for every query head where rows are padded
    norms = 2 * 4 * hidden  # their inputs in float32
    attention = size * (2 * hidden + 2 * keys) + 4 * shape.heads + (size * load.width if load.batch > 1 else 0)
    mlp = 3 * size * wide  # gate, its SiLU, up
    # Inputs of the layers that are trained; layers with the same input share it, except under autocast, where PEFT's
    # cast gives each its own copy.
    if method.full:  # both norms' normalised and final outputs; the MLP's product
        inputs = 4 * hidden + wide
    elif method.weights in ("bfloat16", "float16"):
        inputs = sum(linear[name][0] for name in load.targets)
    else:
        shared = sum(any(name in load.targets for name in group) for group in (ATTENTION[:3], MLP[:2]))
        inputs = shared * hidden + ("down_proj" in load.targets) * wide
    ranks = 0 if method.full else load.rank * len(load.targets)
    return load.tokens * (norms + attention + mlp + size * (inputs + ranks))


def choices(free: int, bf16: bool, four_bit: bool = False) -> Iterator[tuple[ModelSpec, Method, Load, int]]:
    """What a GPU trains with LoRA in ``free`` bytes: (model, method, load, bytes needed), the largest model first.

    ``bf16``: it has bfloat16; ``four_bit``: bitsandbytes is there. Each Apache-2.0 model of the table comes once, in 16
    bits if it fits, and checkpointed (every layer is computed twice) only where a method does not fit otherwise.
    """
    methods = (LORA_BF16 if bf16 else LORA_FP16, *((QLORA,) if four_bit else ()))
    for spec in (spec for spec in reversed(TABLE) if spec.licence == "Apache-2.0"):
        for method, load in itertools.product(methods, (Load(), Load(checkpointing=True))):
            if (needed := estimate(spec.shape, method, load).total) <= free:
                yield spec, method, load, needed
                break


def table(free: int, where: str = "cuda") -> list[str]:
    """Lines of a table: GiB for each model and method, without and with checkpointing; in brackets if over ``free``."""
    rows = [["memory in GiB, plain / checkpointed", *(method.name for method in METHODS)]]
    for spec in TABLE:
        rows.append([spec.key])
        for method in METHODS:
            sizes = [estimate(spec.shape, method, Load(checkpointing=twice), where).total for twice in (False, True)]
            rows[-1].append(" / ".join(f"{s / GIB:.1f}" if s <= free else f"({s / GIB:.1f})" for s in sizes))
    return [f"{name:38}" + "".join(f"{cell:>18}" for cell in cells) for name, *cells in rows]
