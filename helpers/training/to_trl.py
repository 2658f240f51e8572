"""The recipe as a folder for TRL's own command line, for training on another machine or on several GPUs.

It trains nothing. Rows, keep rows and settings are those that `from_file` would train with. The accelerate profiles,
which say how many processes share the work, and the text of the README are shipped in ``data/trl``. What they are for:
docs/several_gpus.md.
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import yaml

from helpers import files
from helpers.models import catalog, locate
from helpers.models.load import spec_of
from helpers.rows.trainset import check_fit, to_dataset
from helpers.training import from_file, recipes

# The settings of `recipes.sft_config` that are the recipe's. The others depend on the device, or name a folder.
FIELDS = (
    "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate",
    "lr_scheduler_type", "warmup_steps", "max_grad_norm", "max_length", "seed", "activation_checkpointing",
    "logging_steps", "save_steps", "save_total_limit", "disable_tqdm",
)  # fmt: skip
# Goes into the README where a step has one row.
NOTHING_TO_DIVIDE = """Here there is
nothing left to divide: compare N GPUs with one GPU at `--per_device_train_batch_size N`, or give the N GPUs N times the
epochs (`--num_train_epochs`)."""


def export(request: from_file.Request, folder: Path, say: Callable[[str], None] = print) -> Path:
    """Write what `from_file.train_file` would train with into ``folder``, for ``trl sft``; returns its README.md.

    Raises:
        RunError: ``folder`` is not a new or empty folder.
        IdentityError: names, rows or keep rows that cannot be trained on. ModelError, DiskError.
    """
    from_file.check_new(folder, "choose another --to-trl: a folder that is new or empty")
    found = from_file.with_keep(from_file.gather(request, say), say)
    source, data = source_of(request.model), to_dataset(found.rows, found.keep, found.preset, found.further)
    check_fit(data, found.tokenizer, found.max_length)
    low = spec_of(found.model) != catalog.EMBEDDED  # the embedded model is trained in float32, as everywhere here
    fields = sft_fields(found.preset, source, low, getattr(found.model, "is_loaded_in_4bit", False))
    texts = {"train.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in data)}
    texts |= {name: profile(name, low) for name in ("one_gpu.yaml", "ddp.yaml", "fsdp2.yaml", "cpu.yaml")}
    texts["README.md"] = _readme(found, source, low, len(data))
    texts["sft.yaml"] = "# Run inside this folder; see README.md.\n"  # last: without it nothing can be started
    texts["sft.yaml"] += yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    # An empty folder that is there already may be the current one or a mounted disk, which cannot be replaced.
    with contextlib.nullcontext(folder) if folder.exists() else files.folder_atomic(folder) as place:
        for name, text in texts.items():
            files.write_atomic(place / name, text)
    say(f"{found.said()}; {found.steps()} steps with one process.")
    return folder / "README.md"


def source_of(choice: str) -> dict[str, str]:
    """TRL's fields for the model that ``choice`` names: a Hub id with its revision, or an absolute folder.

    Raises:
        ModelError: see `locate.resolve`.
    """
    spec, where, _ = locate.resolve(choice)
    # The Hub's cache names the folder of a download after its revision; every other folder is the reader's or ours.
    if isinstance(where, Path) and where.name != spec.revision:
        return {"model_name_or_path": str(where.resolve())}
    return {"model_name_or_path": spec.hub_id, **({"model_revision": spec.revision} if spec.revision else {})}


def sft_fields(preset: recipes.Preset, source: dict[str, str], low: bool, four_bit: bool = False) -> dict:
    """The content of ``sft.yaml``: model, rows, adapter and training; ``low`` for bfloat16, ``four_bit`` for QLoRA."""
    config = recipes.sft_config(preset, "adapter").to_dict()
    return {
        "env": {"HF_HUB_DISABLE_TELEMETRY": "1"},
        **source,
        "dtype": "bfloat16" if low else "float32",
        **({"load_in_4bit": True, "use_bnb_nested_quant": True} if four_bit else {}),
        "datasets": [{"path": "json", "data_files": "train.jsonl"}],
        "use_peft": True,
        "lora_r": preset.rank,
        "lora_alpha": preset.alpha,
        "lora_dropout": preset.dropout,
        "lora_target_modules": targets(preset),
        "lora_task_type": "CAUSAL_LM",
        "output_dir": "adapter",
        "bf16": low,
        **{name: config[name] for name in FIELDS},
        "report_to": "none",
    }


def targets(preset: recipes.Preset) -> list[str]:
    """TRL's name for the layers that carry an adapter: modules, or one pattern where only some blocks do.

    TRL has no field for PEFT's ``layers_to_transform``; PEFT takes a single text as a regular expression.
    """
    names = preset.target_modules
    if preset.blocks is None:
        return [names] if isinstance(names, str) else list(names)
    blocks = "|".join(map(str, range(*preset.blocks)))
    return [rf".*\.layers\.({blocks})\..*\.({'|'.join(names)})"]


def profile(name: str, low: bool) -> str:
    """The text of a shipped accelerate profile; ``low`` for bfloat16, which the CPU's never takes."""
    text = (files.data_dir() / "trl" / name).read_text(encoding="utf-8")
    return text.replace("mixed_precision: 'no'", "mixed_precision: bf16") if low and name != "cpu.yaml" else text


def _readme(found: from_file.Material, source: dict[str, str], low: bool, rows: int) -> str:
    preset, name = found.preset, source["model_name_or_path"]
    revision = f" at revision `{source['model_revision']}`" if "model_revision" in source else ""
    return (files.data_dir() / "trl" / "README.md").read_text(encoding="utf-8").format(
        said=found.said(), model=spec_of(found.model).key, rows=rows, source=f"`{name}`{revision}",
        cpu=" --bf16 false --dtype float32" if low else "",
        batch=preset.batch, accumulation=preset.accumulation, steps=found.steps(),
        least=NOTHING_TO_DIVIDE if preset.batch * preset.accumulation == 1 else "",
        ask=f'"{name}"' if low else "embedded",
    )  # fmt: skip
