"""The recipe as a folder for TRL's own command line, for training on another machine or on several GPUs.

It trains nothing. Rows and settings are those that `from_file` would train with; what is the same for all of them is
shipped in ``data/trl``. What the files are for: docs/several_gpus.md.
"""

import contextlib
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import yaml

from helpers import files
from helpers.errors import RunError
from helpers.models import catalog, locate, template
from helpers.models.load import context_length, spec_of
from helpers.rows.trainset import check_fit, to_dataset
from helpers.training import from_file, recipes


def export(request: from_file.Request, folder: Path, say: Callable[[str], None] = print) -> Path:
    """Write what `from_file.train_file` would train with into ``folder``, for ``trl sft``; returns its README.md.

    Raises `RunError` if ``folder`` is not new or empty, and what `from_file.gather` and the disk raise.
    """
    if request.start:
        raise RunError("TRL's command line begins with new weights, from no adapter", "leave --from or --to-trl out")
    from_file.check_new(folder, "choose another --to-trl, a folder that is new or empty")
    with files.locked(folder, "writing it"):  # a place that cannot be written is told before the model is loaded
        return _export(request, folder, say)


def _export(request: from_file.Request, folder: Path, say: Callable[[str], None]) -> Path:
    found = from_file.gather(request, say)
    preset, data = found.preset, to_dataset(found.rows, found.keep, found.preset, found.further)
    check_fit(data, found.tokenizer, min(context_length(found.model), preset.max_length))
    spec, where, _ = locate.resolve(request.model)
    source = {"model_name_or_path": spec.hub_id, **({"model_revision": spec.revision} if spec.revision else {})}
    # The Hub's cache names the folder of a download after its revision; every other folder is the reader's or ours.
    if isinstance(where, Path) and where.name != spec.revision:
        source = {"model_name_or_path": str(where.resolve())}
    low = spec_of(found.model) != catalog.EMBEDDED  # the embedded model is trained in float32, as everywhere here
    fields = sft_fields(preset, source, low, getattr(found.model, "is_loaded_in_4bit", False))
    texts = {"train.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in data)}
    texts |= {name: shipped(name, low) for name in ("one_gpu.yaml", "ddp.yaml", "fsdp2.yaml", "cpu.yaml")}
    texts["README.md"] = _readme(found, source, low, len(data))
    if template.note(found.tokenizer):  # TRL would take the model's own
        fields["chat_template_path"] = name = "chat_template.jinja"
        texts[name] = found.tokenizer.chat_template
    texts["sft.yaml"] = "# Run inside this folder; see README.md.\n"  # last: without it nothing can be started
    texts["sft.yaml"] += yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    # An empty folder that is there already may be the current one or a mounted disk, which cannot be replaced.
    with contextlib.nullcontext(folder) if folder.exists() else files.folder_atomic(folder) as place:
        for name, text in texts.items():
            files.write_atomic(place / name, text)
    if preset.halves:
        say("TRL's own trainer gives all answers of a step one mean loss, not each half its own: another training.")
    say(f"{found.said}; {found.steps} steps with one process.")
    return folder / "README.md"


def sft_fields(preset: recipes.Preset, source: dict[str, str], low: bool, four_bit: bool = False) -> dict:
    """The content of ``sft.yaml``: that of ``data/trl`` filled; ``low`` for bfloat16, ``four_bit`` for QLoRA."""
    values = {
        **recipes.sft_config(preset, "adapter").to_dict(),
        **source,
        "dtype": "bfloat16" if low else "float32",
        **({"load_in_4bit": True, "use_bnb_nested_quant": True} if four_bit else {}),
        "lora_r": preset.rank,
        "lora_alpha": preset.alpha,
        "lora_dropout": preset.dropout,
        "lora_target_modules": targets(preset),
        "bf16": low,
    }
    shape = yaml.safe_load(shipped("sft.yaml", low))
    fields = {name: values.get(name) if value is None else value for name, value in shape.items()}
    return {name: value for name, value in fields.items() if value is not None}


def targets(preset: recipes.Preset) -> list[str]:
    """TRL's name for the layers with an adapter: modules, or a regular expression, as TRL has no field for blocks."""
    names = preset.target_modules
    if preset.blocks is None:
        return [names] if isinstance(names, str) else list(names)
    blocks = "|".join(map(str, range(*preset.blocks)))
    return [rf".*\.layers\.({blocks})\..*\.({'|'.join(names)})"]


def shipped(name: str, low: bool) -> str:
    """The text of a file of ``data/trl``; a GPU's accelerate profile with bfloat16 if ``low``."""
    text = (files.data_dir() / "trl" / name).read_text(encoding="utf-8")
    return text.replace("mixed_precision: 'no'", "mixed_precision: bf16") if low and name != "cpu.yaml" else text


def _readme(found: from_file.Material, source: dict[str, str], low: bool, rows: int) -> str:
    preset, name = found.preset, source["model_name_or_path"]
    revision = f" at revision `{source['model_revision']}`" if "model_revision" in source else ""
    return shipped("README.md", low).format(
        said=found.said, model=spec_of(found.model).key, rows=rows, source=f"`{name}`{revision}",
        cpu=" --bf16 false --dtype float32" if low else "",
        batch=preset.batch, accumulation=preset.accumulation, steps=found.steps,
        ask=shlex.quote(name) if low else "embedded",
    )  # fmt: skip
