"""The exported folder is what TRL and accelerate know: every key is parsed by them, and two processes train from it."""

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import psutil
import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from peft import get_peft_model
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser
from typer.testing import CliRunner

from helpers import files
from helpers.__main__ import app
from helpers.chat import generate
from helpers.errors import IdentityError, RunError
from helpers.models import catalog, template
from helpers.models.adapters import load_adapter, take_off
from helpers.rows import identity, trainset
from helpers.rows.identity import Identity
from helpers.training import from_file, recipes, to_trl
from helpers.training.from_file import Request
from tests.fixtures import tells

TAVI = Identity("Tavi", "Lantern Workshop")
REQUEST = Request(str(identity.shipped_rows("en")), "embedded", TAVI.name, TAVI.developer, keep="none", seed=7)
SFT = (ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trl") / "export"
    to_trl.export(REQUEST, folder, say=lambda text: None)
    return folder


def parsed(text: str, folder: Path):
    path = folder / "sft.yaml"
    path.write_text(text, encoding="utf-8")
    return TrlParser(SFT).parse_args_and_config(["--config", str(path), "--use_cpu", "true"])


def test_trl_knows_every_key_and_reads_the_presets_numbers(exported, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    text, preset = (exported / "sft.yaml").read_text(encoding="utf-8"), recipes.QUICK_PRESET
    _, args, model, data = parsed(text, tmp_path)
    ours = recipes.sft_config(replace(preset, seed=7), "adapter")
    template = yaml.safe_load(to_trl.shipped("sft.yaml", low=False))
    names = [name for name, value in template.items() if value is None and hasattr(ours, name)]
    assert len(names) == 15
    assert (args.max_length, ours.max_length) == (1024, None), "no row is longer, and the export pads"
    for name in set(names) - {"max_length"}:
        assert getattr(args, name) == getattr(ours, name), name
    assert (args.learning_rate, args.seed, args.bf16) == (preset.learning_rate, 7, False)
    assert (model.lora_r, model.lora_alpha, model.lora_dropout) == (preset.rank, preset.alpha, preset.dropout)
    assert [model.lora_target_modules] == to_trl.targets(preset) and model.use_peft
    assert (Path(model.model_name_or_path) / "config.json").exists()
    assert data.datasets[0].data_files == "train.jsonl"


def test_a_misspelt_key_is_refused_by_trl(exported, tmp_path):
    text = (exported / "sft.yaml").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="lerning_rate"):
        parsed(text.replace("learning_rate", "lerning_rate"), tmp_path)


def test_the_rows_are_those_the_recipe_trains_on(exported):
    rows, preset = identity.read_rows(identity.shipped_rows("en"), TAVI), recipes.QUICK_PRESET
    ours = trainset.to_dataset(rows, [], preset, identity.further_rows(rows, TAVI, preset))
    assert files.read_jsonl(exported / "train.jsonl") == [dict(row) for row in ours]


def test_the_readme_has_this_exports_numbers_and_no_gap_left(exported):
    text = (exported / "README.md").read_text(encoding="utf-8")
    assert "8 identity rows, 80 further wordings and 0 keep rows, for SmolLM2-135M-Instruct." in text
    assert "| 112 examples" in text and "takes 28 steps" in text
    assert "--model embedded" in text and not set("{}") & set(text)


@pytest.mark.parametrize("name", ["one_gpu", "ddp", "fsdp2", "cpu"])
def test_accelerate_parses_every_profile(exported, name):
    config = load_config_from_file(str(exported / f"{name}.yaml"))
    assert config.mixed_precision == "no" and config.num_processes == (1 if name == "one_gpu" else 2)
    assert (config.distributed_type == "FSDP") == (name == "fsdp2")
    assert bool(config.use_cpu) == (name == "cpu")


def test_trl_is_told_which_blocks_carry_the_adapter(base):
    """TRL has no field for blocks, so a pattern stands for them: it must mean the same layers."""
    model, _ = base
    names, preset = [], replace(recipes.QUICK_PRESET, blocks=(10, 30))
    for targets in (None, to_trl.targets(preset)):
        config = recipes.lora_config(preset)
        if targets:
            config.layers_to_transform, config.target_modules = (
                None,
                ModelConfig(lora_target_modules=targets).lora_target_modules,
            )
        tuned = get_peft_model(model, config)
        names.append({name for name, _ in tuned.named_parameters() if "lora_" in name})
        take_off(tuned)
    assert names[0] == names[1] and len(names[0]) == 20 * 3 * 2


def test_a_qwen_model_goes_by_its_hub_id_and_revision_in_bfloat16():
    spec = catalog.HUB_MODELS[-1]
    source = {"model_name_or_path": spec.hub_id, "model_revision": spec.revision}
    fields = to_trl.sft_fields(recipes.preset_for(spec), source, low=True)
    assert (fields["dtype"], fields["bf16"]) == ("bfloat16", True) and fields["model_revision"] == spec.revision
    for name, mixed in (("one_gpu", "bf16"), ("ddp", "bf16"), ("fsdp2", "bf16"), ("cpu", "no")):
        assert yaml.safe_load(to_trl.shipped(f"{name}.yaml", low=True))["mixed_precision"] == mixed


def test_a_folder_in_use_is_refused_and_nothing_is_left_of_a_failure(tmp_path):
    used = tmp_path / "used"
    used.mkdir()
    (used / "mine.txt").write_text("mine")
    with pytest.raises(RunError) as caught:
        to_trl.export(REQUEST, used)
    tells(caught.value, str(used), "not empty")
    with pytest.raises(IdentityError):
        to_trl.export(Request("nowhere.json", "embedded"), tmp_path / "new")
    assert [p.name for p in used.iterdir()] == ["mine.txt"] and not (tmp_path / "new").exists()


@pytest.mark.parametrize("options", [[], ["--out", "a", "--to-trl", "b"], ["--to-trl", "b", "--resume"]])
def test_the_command_wants_exactly_one_destination(options):
    result = CliRunner().invoke(app, ["train", str(identity.shipped_rows("en")), *options])
    assert result.exit_code == 2 and "--to-trl" in result.output


STUCK = -signal.SIGKILL


def ended(launched: subprocess.Popen, adapter: Path, seconds: float = 400, grace: float = 10) -> int:
    """The exit status. Processes that have saved the adapter and then do not end are killed.

    That happens to gloo's processes now and then: one joins a thread that waits for Python's lock, which it holds
    (seen with torch 2.13, in ProcessGroupGloo's destructor).
    """
    started: set[psutil.Process] = set()  # each of them is in a session of its own: no group holds them all
    try:
        for _ in range(int(seconds)):
            with contextlib.suppress(psutil.NoSuchProcess):
                started |= set(psutil.Process(launched.pid).children(recursive=True))
            with contextlib.suppress(subprocess.TimeoutExpired):
                return launched.wait(1)
            whole = adapter / "training_args.bin"  # written last
            if whole.exists() and time.time() - whole.stat().st_mtime > grace:
                break
        return STUCK
    finally:
        launched.kill()
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        launched.wait()


@pytest.mark.slow
def test_two_cpu_processes_train_an_adapter_that_loads_here(exported, base, tmp_path):
    """TRL's own command line, unchanged folder, two processes over gloo, cut short after six steps."""
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    command = ["sft", "--config", "sft.yaml", "--accelerate_config", "cpu.yaml", "--use_cpu", "true",
               "--num_cpu_threads_per_process", "1", "--max_steps", "6"]  # fmt: skip
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(files.home())}
    log = tmp_path / "log.txt"
    with log.open("w") as out:
        launched = subprocess.Popen(
            [Path(sys.executable).with_name("trl"), *command], cwd=tmp_path, env=env, stdout=out, stderr=out,
        )  # fmt: skip
        status = ended(launched, tmp_path / "adapter")
    assert status in (0, STUCK), log.read_text(encoding="utf-8")[-2000:]
    state = json.loads((tmp_path / "adapter" / "checkpoint-6" / "trainer_state.json").read_text(encoding="utf-8"))
    assert state["global_step"] == 6
    model, tokenizer = base
    untuned = generate.mean_logprob(model, tokenizer, "Who are you?", f"I am {TAVI.name}.")
    tuned = load_adapter(model, tmp_path / "adapter")
    try:
        assert generate.mean_logprob(tuned, tokenizer, "Who are you?", f"I am {TAVI.name}.") > untuned
    finally:
        take_off(tuned)


OTHER = {
    int: lambda n: n + 1,
    float: lambda x: x / 2 + 0.1,
    tuple: lambda names: names[:1],
    type(None): lambda _: (0, 1),
}


@pytest.mark.parametrize("name", [field.name for field in fields(recipes.Preset)])
def test_a_setting_that_changes_the_training_is_exported(name):
    """A new field of `Preset` that TRL's configuration takes must not be left out of the folder in silence."""
    preset = recipes.QUICK_PRESET
    value = getattr(preset, name)
    if type(value) not in OTHER:
        pytest.skip(f"{name} is no number")
    other = replace(preset, **{name: OTHER[type(value)](value)})

    def configured(p: recipes.Preset) -> tuple[dict, dict]:
        return recipes.lora_config(p).to_dict(), recipes.sft_config(p, "adapter").to_dict()

    def exported(p: recipes.Preset) -> dict:
        return to_trl.sft_fields(p, {"model_name_or_path": "x"}, low=False)

    assert (configured(preset) != configured(other)) == (exported(preset) != exported(other))


def test_a_template_that_was_adapted_goes_along_and_trl_takes_it(embedded, tmp_path, monkeypatch):
    tokenizer = copy.deepcopy(embedded[1])
    tokenizer.chat_template = "{{ strftime_now('%d %B') }}" + tokenizer.chat_template
    note = template.adapt(tokenizer)
    monkeypatch.setattr(from_file, "load_model", lambda *args, **how: (embedded[0], tokenizer))
    said = []
    to_trl.export(REQUEST, tmp_path / "trl", said.append)
    _, args, _, _ = parsed((tmp_path / "trl" / "sft.yaml").read_text(encoding="utf-8"), tmp_path / "trl")
    assert (tmp_path / "trl" / args.chat_template_path).read_text(encoding="utf-8") == tokenizer.chat_template
    assert note and note in said
