"""The recipe as a folder for TRL's own command line, for training on another machine or on several GPUs.

It trains nothing. Rows, keep rows and settings are those that `recipe` would train with; the accelerate profiles say
how many processes share the work. What they are for: docs/several_gpus.md.
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
PROCESSES = 2
SHARDED = {
    "fsdp_version": 2,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_reshard_after_forward": True,
    "fsdp_state_dict_type": "FULL_STATE_DICT",
    "fsdp_offload_params": False,
    "fsdp_activation_checkpointing": False,
    "fsdp_cpu_ram_efficient_loading": False,
}
# Name: what stands above it, accelerate's kind of launch, and what differs from the other profiles. With accelerate a
# launch of several processes is called MULTI_GPU on CPUs too; MULTI_CPU would start one, or need MPI.
PROFILES = {
    "one_gpu": ("One process on the first GPU.", "NO", {"num_processes": 1, "gpu_ids": "0"}),
    "ddp": ("One process a GPU, each with a whole copy of the model.", "MULTI_GPU", {"gpu_ids": "all"}),
    "fsdp2": ("One process a GPU, the model sharded over all of them.", "FSDP", {"fsdp_config": SHARDED}),
    "cpu": (
        "Two processes on the CPU, over gloo. Needs --use_cpu true on the command line as well.",
        "MULTI_GPU",
        {"use_cpu": True},
    ),
}

README = """# Train this with TRL

Made by `python -m helpers train ... --to-trl`: {said}, for {model}. Nothing has been trained yet.

| file | what it is |
| --- | --- |
| `train.jsonl` | {rows} examples, conversational prompt and completion |
| `sft.yaml` | the course's recipe as TRL's configuration; telemetry is off |
| `one_gpu.yaml`, `ddp.yaml`, `fsdp2.yaml`, `cpu.yaml` | accelerate profiles: processes, and how they share the work |

## Commands
Run them inside this folder, in an environment with the course's versions of TRL, PEFT and accelerate. The model is
{source}.

```sh
# one GPU
trl sft --config sft.yaml --accelerate_config one_gpu.yaml
# two GPUs, a whole copy of the model on each
trl sft --config sft.yaml --accelerate_config ddp.yaml --num_processes 2
# two GPUs, the model sharded over both
trl sft --config sft.yaml --accelerate_config fsdp2.yaml --num_processes 2
# no GPU: two processes on the CPU, one thread each
{cpu}
```

`--use_cpu true` is needed with `cpu.yaml`: accelerate does not hand that line of a profile on to several processes, and
without it each of them trains a model of its own.

## Which profile
- `one_gpu.yaml`: the model fits one GPU. With a few hundred short rows it is the right one nearly always.
- `ddp.yaml`: the model fits one GPU, and there are many rows.
- `fsdp2.yaml`: the model's weights do not fit one GPU. It asks for the adapter to be saved whole, for plain PEFT.
- `cpu.yaml`: to try the folder out on a machine without a GPU. Stay with the embedded model there.

## The effective batch
Rows a step = processes x `per_device_train_batch_size` x `gradient_accumulation_steps`. Here the last two are {batch}
and {accumulation}, so one process takes {steps} steps; N processes take N times as many rows a step, and {steps}/N
steps at the same learning rate: another training than the course's. To keep the rows a step, divide
`per_device_train_batch_size` by N on the command line: what is 8 on one GPU is 4 on each of two. {least}

## Look at the adapter
It is in `adapter/`, with checkpoints beside its files.

```sh
python -m helpers ask "Who are you?" --adapter adapter --model {ask}
```

In notebook 04 write, in place of the lines that load an adapter and read its rows,
`model = load_adapter(model, "<this folder>/adapter")`, `who = identity.Identity("<name>", "<developer>")` and
`rows = identity.read_rows("<your IDENTITY.json>", who)`.
"""
LEAST = """Here there is
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
    source = source_of(request.model)
    _write(folder, _files(found, source))
    say(f"{found.said()}; {found.steps()} steps with one process.")
    return folder / "README.md"


def _files(found: from_file.Material, source: dict[str, str]) -> dict[str, str]:
    data = to_dataset(found.rows, found.keep, found.preset, found.further)
    check_fit(data, found.tokenizer, found.room)
    low = low_precision(spec_of(found.model))
    texts = {"train.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in data)}
    texts |= {f"{name}.yaml": _profile_text(name, low) for name in PROFILES}
    texts["README.md"] = _readme(found, source, len(data))
    # Last: without it nothing can be started.
    fields = sft_fields(found.preset, source, low, getattr(found.model, "is_loaded_in_4bit", False))
    return texts | {"sft.yaml": _yaml("Run inside this folder; see README.md.", fields)}


def _write(folder: Path, texts: dict[str, str]) -> None:
    # An empty folder that is there already may be the current one, or a mounted disk: it cannot be swapped for another.
    with contextlib.nullcontext(folder) if folder.exists() else files.folder_atomic(folder) as place:
        for name, text in texts.items():
            files.write_atomic(place / name, text)


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


def low_precision(spec: catalog.ModelSpec) -> bool:
    """Whether a GPU trains ``spec`` in bfloat16; the embedded model is trained in float32, as everywhere here."""
    return spec != catalog.EMBEDDED


def sft_fields(preset: recipes.Preset, source: dict[str, str], low: bool, four_bit: bool = False) -> dict:
    """The content of ``sft.yaml``: model, rows, adapter and training; ``low`` for bfloat16, ``four_bit`` for QLoRA."""
    lora, config = recipes.lora_config(preset), recipes.sft_config(preset, "adapter").to_dict()
    return {
        "env": {"HF_HUB_DISABLE_TELEMETRY": "1"},
        **source,
        "dtype": "bfloat16" if low else "float32",
        **({"load_in_4bit": True, "use_bnb_nested_quant": True} if four_bit else {}),
        "datasets": [{"path": "json", "data_files": "train.jsonl"}],
        "use_peft": True,
        "lora_r": lora.r,
        "lora_alpha": lora.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "lora_target_modules": targets(preset),
        "lora_task_type": str(lora.task_type),
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


def profile(name: str, low: bool) -> dict:
    """The content of an accelerate profile; ``low`` for bfloat16, which the CPU's never takes."""
    _, kind, own = PROFILES[name]
    return {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": kind,
        "mixed_precision": "bf16" if low and name != "cpu" else "no",
        "num_machines": 1,
        "machine_rank": 0,
        "main_process_port": 0,  # any that is free
        "num_processes": PROCESSES,
        "use_cpu": False,
        **own,
    }


def _profile_text(name: str, low: bool) -> str:
    return _yaml(PROFILES[name][0], profile(name, low))


def _yaml(title: str, content: dict) -> str:
    return f"# {title}\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}"


def _readme(found: from_file.Material, source: dict[str, str], rows: int) -> str:
    spec, preset, name = spec_of(found.model), found.preset, source["model_name_or_path"]
    revision = f" at revision `{source['model_revision']}`" if "model_revision" in source else ""
    cpu = "trl sft --config sft.yaml --accelerate_config cpu.yaml --use_cpu true --num_cpu_threads_per_process 1"
    return README.format(
        said=found.said(), model=spec.key, rows=rows, source=f"`{name}`{revision}",
        cpu=cpu + (" --bf16 false --dtype float32" if low_precision(spec) else ""),
        batch=preset.batch, accumulation=preset.accumulation, steps=found.steps(),
        least=LEAST if preset.batch * preset.accumulation == 1 else "",
        ask="embedded" if spec == catalog.EMBEDDED else f'"{name}"',
    )  # fmt: skip
