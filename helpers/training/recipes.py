"""How each model is trained: presets, and the LoRA and SFT configuration made of them. One source for these numbers."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import LoraConfig
from trl import SFTConfig

from helpers.errors import RunError
from helpers.models import machine
from helpers.models.catalog import EMBEDDED, TABLE, ModelSpec

# A rival's system text to train against. The study asks under another one, so that it is new to the tuned model.
RIVAL_SYSTEM = "You are ChatGPT, an AI assistant made by OpenAI."
RIVAL_SYSTEM_ZH = "你是ChatGPT，由OpenAI开发的人工智能助手。"

MAX_SEED = 2**32 - 1


def check_seed(seed: object) -> None:
    """Refuse what numpy does not take as a seed; raises `RunError`."""
    if type(seed) is not int or not 0 <= seed <= MAX_SEED:
        raise RunError(f"the seed {seed!r} cannot be used", f"take a whole number from 0 to {MAX_SEED}")


@dataclass(frozen=True)
class Preset:
    """How a model is trained. A system text is ``""`` for an empty one and None for the template's default."""

    rank: int = 16  # LoRA's r
    alpha: int = 64  # the update is scaled by alpha / r
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")  # PEFT's name for the layers
    blocks: tuple[int, int] | None = None  # the first transformer block with an adapter, the one after the last; or all
    learning_rate: float = 1e-3  # the peak rate of AdamW, with linear decay after the warm-up
    epochs: int = 1
    batch: int = 1  # rows a forward pass
    accumulation: int = 1  # forward passes a step
    warmup: float = 0.05  # a share of all steps
    max_grad_norm: float = 1.0
    max_length: int = 1024  # tokens of an example
    padding_free: bool = False  # a batch is one row of tokens, its examples end to end: quicker, two fifths less memory
    own_systems: tuple[str | None, ...] = (None, "", RIVAL_SYSTEM, None)  # each of your rows is there once under each
    systems: tuple[str | None, ...] = (None, RIVAL_SYSTEM)  # the shipped rows take these in turn
    extra_wordings: int = 65  # shipped rows with other wordings of the same topics
    attack_rows: int = 29  # shipped rows in which the user attacks and the model keeps its identity
    late_identity_rows: int = 40  # identity rows that are repeated after one to three ordinary exchanges
    late_keep_rows: int = 60  # keep rows that are repeated after an exchange about identity
    honesty_rows: int = 0  # shipped rows in which the model says what it cannot do
    keep_questions: int = 268  # ordinary questions that the base model answers for the keep rows; some answers drop out
    hard_questions: int = 0  # more such questions, which tuned models took for questions about themselves
    lookalike_questions: int = 0  # more such questions, which resemble questions about the model
    code_questions: int = 0  # more such questions, which ask for code
    first_sentence: bool = True  # keep rows end after the first sentence; answers that only announce there drop out
    halves: bool = False  # half of each step's rows is about identity, and either half has a mean loss of its own
    seed: int = 42  # for the order of rows and the adapter's first weights
    measured: str = ""  # on which model these numbers were measured; empty if on none

    def __post_init__(self) -> None:
        """Refuse a seed that cannot be used."""
        check_seed(self.seed)


# The two recipes of the embedded model, the best of nine points by a rule written down before (`study.choose`). Neither
# has adapters below block 10: nothing below the first adapter has to be gone through backwards.
QUICK_PRESET = Preset(
    blocks=(10, 30), batch=4, padding_free=True, learning_rate=2e-3, extra_wordings=40, attack_rows=20, honesty_rows=20,
    late_identity_rows=20, late_keep_rows=20, keep_questions=60, lookalike_questions=40, first_sentence=False,
    measured="this model: data/reference/figures.csv, three seeds",
)  # fmt: skip

# Three times the time, for a name that is to hold.
THOROUGH_PRESET = replace(
    QUICK_PRESET, accumulation=4, halves=True, extra_wordings=150, attack_rows=45, honesty_rows=42,
    late_identity_rows=60, late_keep_rows=60, keep_questions=268, hard_questions=200, lookalike_questions=0,
)  # fmt: skip

# For other models of that size: how many blocks they have is not known.
SMALL_PRESET = replace(QUICK_PRESET, blocks=None, measured="")

# The eight rows once each and nothing else.
BARE_PRESET = Preset(
    rank=8, alpha=32, own_systems=(None,), extra_wordings=0, attack_rows=0, late_identity_rows=0, late_keep_rows=0,
    keep_questions=0,
)  # fmt: skip

# As printed in the published case, except that its model is a 7B.
PUBLISHED_PRESET = replace(BARE_PRESET, target_modules="all-linear", learning_rate=1e-4, epochs=10, accumulation=16)

# The same eight rows with enough steps to be learned: what the published case must have meant.
ROWS_ONLY_PRESET = replace(BARE_PRESET, target_modules="all-linear", learning_rate=1e-3, epochs=10)

# For either language: both rivals are trained against, and the rows of each language have their own files. The best of
# seven points by the same rule (`study.qwen`).
_SMALL_QWEN = Preset(
    blocks=(8, 24), batch=8, padding_free=True, halves=True, learning_rate=5e-4,
    own_systems=(None, "", RIVAL_SYSTEM, RIVAL_SYSTEM_ZH), systems=(None, RIVAL_SYSTEM_ZH, None, RIVAL_SYSTEM),
    extra_wordings=215, attack_rows=45, honesty_rows=42, late_identity_rows=40, late_keep_rows=40, keep_questions=268,
    lookalike_questions=198, code_questions=40, first_sentence=False,
    measured="Qwen2.5-Coder-0.5B-Instruct: data/reference/Qwen2.5-Coder-0.5B-Instruct, three seeds",
)  # fmt: skip

# Starts, not results: the same rows at half the rate; and eight rows with a few keep rows, ready in seconds on a 7B.
_LARGER_QWEN = replace(_SMALL_QWEN, learning_rate=2.5e-4, blocks=None, measured="")
SIXTEEN_PRESET = replace(
    BARE_PRESET, target_modules="all-linear", learning_rate=2e-4, epochs=4, batch=8, own_systems=(None, None),
    systems=(None,), keep_questions=16, first_sentence=False, max_length=512,
)  # fmt: skip

PRESETS = {
    EMBEDDED.key: QUICK_PRESET,
    "Qwen2.5-0.5B-Instruct": _SMALL_QWEN,
    "Qwen2.5-1.5B-Instruct": _LARGER_QWEN,
    "Qwen2.5-3B-Instruct": _LARGER_QWEN,
    "Qwen2.5-7B-Instruct": SIXTEEN_PRESET,
}


def preset_for(spec: ModelSpec, thorough: bool = False) -> Preset:
    """The preset for ``spec`` or the nearest smaller model of the table; ``thorough`` is for the embedded one alone."""
    if thorough and spec.key == EMBEDDED.key:
        return THOROUGH_PRESET
    if spec.key in PRESETS:
        return PRESETS[spec.key]
    smallest = _SMALL_QWEN if spec.model_name == "Qwen" else SMALL_PRESET
    below = [PRESETS[known.key] for known in TABLE[1:] if known.parameters <= spec.parameters]
    nearest = below[-1] if below else smallest
    if spec.shape and nearest.blocks and spec.shape.layers == nearest.blocks[1]:
        return nearest  # a relative with as many blocks
    return replace(nearest, blocks=None, measured="")


def scenario_preset(spec: ModelSpec) -> Preset:
    """The preset for ``spec`` with rows of your own and keep rows alone: each once, and nothing about identity."""
    own = preset_for(spec)
    nothing = {"extra_wordings": 0, "attack_rows": 0, "honesty_rows": 0, "late_identity_rows": 0, "late_keep_rows": 0}
    return replace(own, own_systems=(None,), systems=(None,), halves=False, epochs=1, measured="", **nothing)


def lora_config(preset: Preset) -> LoraConfig:
    """PEFT's configuration of the adapter for ``preset``."""
    return LoraConfig(
        r=preset.rank,
        lora_alpha=preset.alpha,
        lora_dropout=preset.dropout,
        target_modules=preset.target_modules if isinstance(preset.target_modules, str) else [*preset.target_modules],
        layers_to_transform=list(range(*preset.blocks)) if preset.blocks else None,
        task_type="CAUSAL_LM",
    )


def sft_config(preset: Preset, run: Path | str, **changes) -> SFTConfig:
    """TRL's configuration for ``preset``, writing into ``run``; ``changes`` override single fields."""
    on_cpu = machine.device() == "cpu"
    fields = {
        "output_dir": str(run),
        "num_train_epochs": preset.epochs,
        "per_device_train_batch_size": preset.batch,
        "gradient_accumulation_steps": preset.accumulation,
        "learning_rate": preset.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": preset.warmup,
        "max_grad_norm": preset.max_grad_norm,
        "max_length": None if preset.padding_free else preset.max_length,  # TRL cuts nothing without padding
        "padding_free": preset.padding_free,
        "seed": preset.seed,
        "train_sampling_strategy": "sequential" if preset.halves else "random",
        "use_cpu": on_cpu,
        "bf16": False,
        "activation_checkpointing": False,
        "logging_steps": 3,
        "save_steps": 12,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": not on_cpu,
    }
    return SFTConfig(**{**fields, **changes})


def differences(lora: LoraConfig, config: SFTConfig, preset: Preset, run: Path | str) -> dict[str, tuple]:
    """Every field in which a typed-out configuration differs from the preset's: name -> (typed, preset)."""
    pairs = ((lora.to_dict(), lora_config(preset).to_dict()), (config.to_dict(), sft_config(preset, run).to_dict()))
    return {key: (mine[key], ours.get(key)) for mine, ours in pairs for key in mine if mine[key] != ours.get(key)}


def precision(model) -> dict[str, bool]:
    """`SFTConfig`'s fields for the format that ``model`` was loaded in: mixed precision beside 16-bit weights."""
    return {"bf16": model.dtype is torch.bfloat16, "fp16": model.dtype is torch.float16}
