"""How much memory a training will need, from a model's sizes, before anything is loaded. It only computes.

Counted are the parts that a training step holds, in bytes:

- weights: parameters x bytes each. 4-bit touches the linear layers alone: half a byte a weight, one byte of scale for
  64 weights, and four for 256 scales (NF4 with double quantisation, QLoRA, arXiv:2305.14314, section 3); the rest
  stays in 16 bits.
- adapter, gradients, optimiser: n trained weights of a LoRA take r (inputs + outputs) each (arXiv:2106.09685, section
  4.1); a gradient is as large as its weight, AdamW keeps two moments. Adapters are float32 beside 16-bit weights (PEFT
  casts them) and bfloat16 beside 4-bit ones (TRL does).
- activations: what autograd saves on the way forward, read off the modules of transformers and PEFT and compared with
  the tensors it really saves in tests/test_estimate.py. With checkpointing only the input of each layer is kept, and
  one layer is computed again at a time (Chen et al., arXiv:1604.06174). The gradients flowing through one layer take
  about as much as the layer saved.
- logits: TRL's loss goes over the vocabulary in tiles of 32768 and never holds all logits at once; on a GPU it looks at
  the answers' tokens alone, taken as half of all. The loss is done before gradients flow through the layers, and on a
  GPU its memory is then used again for them: there only what the loss takes beyond one layer's gradients counts.
- context: what is there before any tensor: Python and its libraries on a CPU, CUDA's kernels on a GPU (both measured,
  the latter on an H100).

Where only some blocks carry an adapter, nothing is saved below the first of them, unless with checkpointing.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from helpers.models.catalog import GIB, TABLE, ModelSpec, Shape

if TYPE_CHECKING:
    from helpers.training import recipes

MIB = 2**20
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "4-bit": 2}  # of one activation
FOUR_BIT = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes a weight
TILE = 32_768  # words of the vocabulary that TRL's loss looks at together (trl.trainer.utils)
CONTEXT = {"cpu": 450 * MIB, "cuda": 780 * MIB}
WORKSPACE = {"cpu": 0, "cuda": 64 * MIB}  # cuBLAS's and cuBLASLt's on Hopper, taken from torch's allocator
SCORED = {"cpu": 1.0, "cuda": 0.5}  # share of the tokens that the loss looks at
TILE_COPIES = {"cpu": 8, "cuda": 0}  # float32 copies of a tile of logits; a fused kernel needs none on CUDA
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Method:
    """What is trained, and the number format of the weights: ``float32``, ``bfloat16``, ``float16`` or ``4-bit``."""

    name: str
    weights: str
    full: bool = False


LORA_FLOAT32, LORA_BF16, LORA_FP16, QLORA = (
    Method("LoRA float32", "float32"),
    Method("LoRA bf16", "bfloat16"),
    Method("LoRA fp16", "float16"),
    Method("QLoRA 4-bit", "4-bit"),
)
FULL_FLOAT32, FULL_BF16 = Method("full float32", "float32", full=True), Method("full bf16", "bfloat16", full=True)
METHODS = (LORA_FLOAT32, LORA_BF16, LORA_FP16, QLORA)


@dataclass(frozen=True)
class Load:
    """What goes through the model at once, and which adapter: ``batch`` rows of ``width`` tokens, padding included.

    ``blocks`` are the first decoder layer that carries an adapter and the one after the last; None for all.
    """

    batch: int = 8
    width: int = 128
    rank: int = 8
    targets: tuple[str, ...] = (*ATTENTION, *MLP)
    checkpointing: bool = False
    blocks: tuple[int, int] | None = None

    def adapted(self, layers: int) -> int:
        """How many of ``layers`` decoder layers carry an adapter."""
        return len(range(layers)[slice(*self.blocks)]) if self.blocks else layers

    def passed(self, layers: int) -> int:
        """How many of ``layers`` decoder layers the gradients go through: from the first that carries an adapter up."""
        return max(0, layers - self.blocks[0]) if self.blocks else layers

    @property
    def tokens(self) -> int:
        """Tokens of a forward pass."""
        return self.batch * self.width


def load_of(preset: "recipes.Preset", width: int = 128, checkpointing: bool = False) -> Load:
    """The `Load` of a preset's training, with rows of at most ``width`` tokens."""
    named = preset.target_modules
    targets = (*ATTENTION, *MLP) if named == "all-linear" else (named,) if isinstance(named, str) else tuple(named)
    return Load(preset.batch, width, preset.rank, targets, checkpointing, preset.blocks)


@dataclass(frozen=True)
class Estimate:
    """Bytes by part. ``held`` is what torch's allocator will show at the peak, ``total`` what the device must have."""

    parts: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes, context included."""
        return sum(self.parts.values())

    @property
    def held(self) -> int:
        """Bytes without the context."""
        return self.total - self.parts["context"]


def adapter_weights(shape: Shape, load: Load) -> int:
    """Trained weights of the LoRA adapter."""
    return load.adapted(shape.layers) * sum(load.rank * sum(shape.linear()[name]) for name in load.targets)


def estimate(shape: Shape, method: Method, load: Load, where: str = "cuda") -> Estimate:
    """The peak of a training step in parts (bytes): formula and sources in the module's text."""
    size, trained = BYTES[method.weights], shape.parameters() if method.full else adapter_weights(shape, load)
    each = 4 if not method.full and method.weights in ("bfloat16", "float16") else size
    copies = trained * size if each > size else 0  # autocast's 16-bit copies of the adapter
    saved, kept = _layer(shape, method, load), _kept(shape, method, load)
    head = _logits(shape, method, load, where)
    head = max(0, head - saved) if where == "cuda" else head
    through = kept + (2 if load.checkpointing else 1) * saved  # the layer in work, and its gradients
    parts = {
        "weights": weights_bytes(shape, method.weights),
        "adapter": 0 if method.full else trained * each + copies,
        "gradients": trained * each,
        "optimiser": 2 * trained * each,
        "activations": through + 4 * shape.hidden * load.tokens + _unpacked(shape, method),
        "logits": head,
        "context": CONTEXT[where],
    }
    if method.full:  # gradients come as activations go: at the peak there is the larger of the two, not their sum
        embedding = (4 + size) * shape.vocab * shape.hidden  # its gradient in float32, and as it is kept
        parts["activations"] = max(kept + embedding - parts["gradients"], saved)
    parts["activations"] += WORKSPACE[where]
    return Estimate({name: int(size) for name, size in parts.items()})


def weights_bytes(shape: Shape, weights: str) -> float:
    """Bytes of all weights in the number format ``weights``, which is one of `BYTES`."""
    if weights != "4-bit":
        return shape.parameters() * BYTES[weights]
    return shape.in_linear() * FOUR_BIT + (shape.parameters() - shape.in_linear()) * 2


def _unpacked(shape: Shape, method: Method) -> int:
    # bitsandbytes unpacks one weight matrix at a time, for the product with it.
    return 2 * shape.hidden * shape.intermediate if method.weights == "4-bit" else 0


def _kept(shape: Shape, method: Method, load: Load) -> int:
    if load.checkpointing:
        return shape.layers * BYTES[method.weights] * shape.hidden * load.tokens
    return load.passed(shape.layers) * _layer(shape, method, load)


def _layer(shape: Shape, method: Method, load: Load) -> int:
    """Bytes that autograd saves in one decoder layer."""
    size, hidden, wide = BYTES[method.weights], shape.hidden, shape.intermediate
    keys = hidden if load.batch > 1 else hidden // shape.heads * shape.kv_heads  # repeated where rows are padded
    norms = 2 * 4 * hidden  # their inputs in float32
    attention = size * (2 * hidden + 2 * keys) + 4 * shape.heads + (size * load.width if load.batch > 1 else 0)
    mlp = 3 * size * wide  # gate, its SiLU, up
    return load.tokens * (norms + attention + mlp + _inputs(shape, method, load))


def _inputs(shape: Shape, method: Method, load: Load) -> int:
    # Inputs of the layers that are trained, in bytes a token. Under autocast PEFT's cast gives each its own copy.
    size, hidden, wide = BYTES[method.weights], shape.hidden, shape.intermediate
    if method.full:  # both norms' normalised and final outputs; the MLP's product
        return 4 * size * hidden + size * wide
    linear = shape.linear()
    ranks = size * load.rank * len(load.targets)
    if method.weights in ("bfloat16", "float16"):
        return size * sum(linear[name][0] for name in load.targets) + ranks
    shared = any(name in load.targets for name in ATTENTION[:3]) + any(name in load.targets for name in MLP[:2])
    return size * (shared * hidden + ("down_proj" in load.targets) * wide) + ranks


def _logits(shape: Shape, method: Method, load: Load, where: str) -> int:
    # One tile, its copies, and the gradient of the last hidden state in float32.
    width, scored = min(shape.vocab, TILE), load.tokens * SCORED[where]
    tile = scored * width * (BYTES[method.weights] + 4 * TILE_COPIES[where])
    return tile + 4 * load.tokens * shape.hidden


@dataclass(frozen=True)
class Choice:
    """A way of training that fits: the model, the method, whether it needs checkpointing, and its estimate."""

    spec: ModelSpec
    method: Method
    checkpointing: bool
    estimate: Estimate


def methods_here(where: str, native_bf16: bool, four_bit: bool = False) -> tuple[Method, ...]:
    """The LoRA methods that this device is for, the best first.

    On a GPU 16 bits: bfloat16 where it is native, float16 before Ampere; then 4-bit if bitsandbytes is there. On a CPU
    float32, whose results can be repeated bit by bit; bfloat16 after it, where the CPU has it.
    """
    if where == "cpu":
        return (LORA_FLOAT32, LORA_BF16) if native_bf16 else (LORA_FLOAT32,)
    return (LORA_BF16 if native_bf16 else LORA_FP16, *((QLORA,) if four_bit else ()))


def fitting(
    spec: ModelSpec, methods: tuple[Method, ...], free: int, load: Load | None = None, where: str = "cuda"
) -> Choice | None:
    """The first of ``methods`` with which training ``spec`` stays within ``free`` bytes; None if none does.

    Checkpointing costs time (every layer is computed twice), so it is taken only where it would not fit without.
    """
    if spec.shape is None:
        return None
    for method in methods:
        for checkpointing in (False, True):
            found = estimate(spec.shape, method, replace(load or Load(), checkpointing=checkpointing), where)
            if found.total <= free:
                return Choice(spec, method, checkpointing, found)
    return None


def best(methods: tuple[Method, ...], free: int, where: str = "cuda", load: Load | None = None) -> Choice | None:
    """The largest model of the table under Apache-2.0 that can be trained within ``free`` bytes; None if none can."""
    free_to_use = [spec for spec in reversed(TABLE) if spec.licence == "Apache-2.0"]
    return next(filter(None, (fitting(spec, methods, free, load, where) for spec in free_to_use)), None)


def table(free: int, where: str = "cuda", load: Load | None = None) -> list[str]:
    """Lines of a table for the reader: GiB for each model and method, without and with checkpointing.

    A number in brackets does not fit into ``free`` bytes.
    """
    lines = [f"{'memory in GiB, plain / checkpointed':38}" + "".join(f"{m.name:>18}" for m in METHODS)]
    for spec in TABLE:
        cells = []
        for method in METHODS:
            loads = [replace(load or Load(), checkpointing=c) for c in (False, True)]
            sizes = [estimate(spec.shape, method, one, where).total for one in loads]
            cells.append(" / ".join(f"{s / GIB:.1f}" if s <= free else f"({s / GIB:.1f})" for s in sizes))
        lines.append(f"{spec.key:38}" + "".join(f"{cell:>18}" for cell in cells))
    return lines
