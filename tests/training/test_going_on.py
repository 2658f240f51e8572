"""Going on from an adapter: its weights are where a training begins, and it stays as it is."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from helpers import files, runs
from helpers.errors import AdapterError, HelpersError, RunError
from helpers.models.adapters import save_adapter, take_off
from helpers.rows import identity
from helpers.training import begun, from_file, recipes, to_trl, train
from helpers.training.train import train_identity
from tests.fixtures import ROWS, bare, done, failed, tells, tiny_model, wrap
from tests.training.test_begun import TAVI
from tests.training.test_train import SAVES, SHORT, At, ctrl_c, same, weights

STILL = replace(SHORT, learning_rate=0.0, rank=2, target_modules=("q_proj",))
KEEP = [{"instruction": "Who wrote Hamlet?", "input": "", "output": "Shakespeare."}]


def contents(folder: Path) -> dict[str, str]:
    """Every file in ``folder`` with its hash."""
    return {str(path): files.sha256(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(embedded, tmp_path_factory):
    """A finished run of the tiny model."""
    run = tmp_path_factory.mktemp("made") / "old"
    train_identity(tiny_model(embedded[1]), embedded[1], ROWS, KEEP, run, SHORT, identity=TAVI, **SAVES)
    return run


@pytest.fixture
def old(made, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "old"))


def test_a_training_begins_with_the_adapter_that_it_is_given_and_leaves_that_as_it_is(tiny, old, tmp_path):
    before, run = contents(old), tmp_path / "new"
    train_identity(*tiny, ROWS, KEEP, run, STILL, start=old, **SAVES)
    assert same(weights(run), weights(old))  # a rate of 0 changes nothing
    train_identity(*tiny, ROWS, KEEP, tmp_path / "moved", SHORT, start=old / "adapter", **SAVES)
    assert not same(weights(tmp_path / "moved"), weights(old))
    assert contents(old) == before
    facts = runs.read_manifest(run)["facts"]
    told = {"run": "old", "sha256": files.sha256(old / "adapter" / "adapter_model.safetensors")}
    assert facts["begun_from"] == begun.read(run).origin == begun.read(tmp_path / "moved").origin == told
    assert facts["preset"]["rank"] == SHORT.rank and set(facts["preset"]["target_modules"]) == {*SHORT.target_modules}
    for name in (runs.MANIFEST, begun.RECORD):
        assert str(tmp_path) not in (run / name).read_text()
    assert "begun_from" not in runs.read_manifest(old)["facts"]


def test_a_run_that_went_on_is_resumed_as_if_nothing_had_been_even_without_the_first_adapter(tiny, old, tmp_path):
    train_identity(*tiny, ROWS, [], tmp_path / "straight", SHORT, start=old, **SAVES)
    with pytest.raises(RunError):
        train_identity(*tiny, ROWS, [], tmp_path / "new", SHORT, start=old, callbacks=[At(3, ctrl_c)], **SAVES)
    other = Path(shutil.copytree(tmp_path / "straight", tmp_path / "other"))
    with pytest.raises(RunError) as caught:
        train_identity(*tiny, ROWS, [], tmp_path / "new", SHORT, start=other, resume=True, **SAVES)
    tells(caught.value, "from the adapter of old", "other")
    old.rename(tmp_path / "elsewhere")
    train_identity(*tiny, ROWS, [], tmp_path / "new", SHORT, resume=True, **SAVES)
    assert same(weights(tmp_path / "new"), weights(tmp_path / "straight"))
    assert runs.read_manifest(tmp_path / "new")["facts"]["begun_from"]["run"] == "old"


def test_a_run_that_began_with_new_weights_does_not_go_on_from_an_adapter(tiny, old, tmp_path):
    with pytest.raises(RunError):
        train_identity(*tiny, ROWS, [], tmp_path / "new", SHORT, callbacks=[At(3, ctrl_c)], **SAVES)
    with pytest.raises(RunError) as caught:
        train_identity(*tiny, ROWS, [], tmp_path / "new", SHORT, start=old, resume=True, **SAVES)
    tells(caught.value, "with new weights")


def test_a_run_stopped_before_its_first_checkpoint_has_to_be_told_the_adapter_again(tiny, old, tmp_path):
    with pytest.raises(RunError):
        train_identity(*tiny, ROWS, [], tmp_path / "kept", SHORT, start=old, callbacks=[At(3, ctrl_c)], **SAVES)
    for checkpoint in (tmp_path / "kept").glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    with pytest.raises(RunError) as caught:
        train_identity(*tiny, ROWS, [], tmp_path / "kept", SHORT, resume=True, **SAVES)
    tells(caught.value, "from the adapter of old", "none")
    train_identity(*tiny, ROWS, [], tmp_path / "kept", STILL, start=old, resume=True, **SAVES)
    assert same(weights(tmp_path / "kept"), weights(old))


@pytest.mark.parametrize("how", [{"use_dora": True}, {"layers_to_transform": [1]}, {"dtype": "bf16"}])
def test_adapters_of_other_kinds_are_gone_on_from_in_float32(tiny, tmp_path, how):
    dtype = torch.bfloat16 if how.pop("dtype", None) else None
    tuned = get_peft_model(tiny[0], LoraConfig(target_modules=["up_proj"], r=4, task_type="CAUSAL_LM", **how))
    torch.manual_seed(0)
    for name, weight in tuned.named_parameters():
        torch.nn.init.normal_(weight, std=0.1) if "lora_B" in name else None
    old = tmp_path / "theirs" / "adapter"
    save_adapter(tuned, old, dtype)
    model = take_off(tuned)
    train_identity(model, tiny[1], ROWS, [], tmp_path / "new", STILL, start=old, **SAVES)
    first, now = weights(tmp_path / "theirs"), weights(tmp_path / "new")
    assert same({name: tensor.float() for name, tensor in first.items()}, now)
    assert all(tensor.dtype is torch.float32 for tensor in now.values())
    preset = runs.read_manifest(tmp_path / "new")["facts"]["preset"]
    assert (preset["rank"], preset["blocks"]) == (4, [1, 2] if "layers_to_transform" in how else None)


def unfinished(old: Path) -> Path:
    (old / runs.MANIFEST).unlink()
    shutil.rmtree(old / "adapter")
    return old


def gguf(old: Path) -> Path:
    (old.parent / "model.gguf").write_bytes(b"GGUF")
    return old.parent / "model.gguf"


def damaged(old: Path) -> Path:
    (old / "adapter" / "adapter_model.safetensors").write_bytes(b"cut")
    return old


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (unfinished, ("not finished",)),
        (gguf, ("model.gguf", "adapter_config.json")),
        (damaged, ("cannot be read",)),
        (lambda old: old / "nowhere", ("no such folder",)),
    ],
)
def test_what_is_no_adapter_is_refused_before_anything_is_touched(tiny, old, tmp_path, make, words):
    tuned, path = wrap(tiny[0]), make(old)
    with pytest.raises(AdapterError) as caught:
        train_identity(tuned, tiny[1], ROWS, [], tmp_path / "new", SHORT, start=path, **SAVES)
    tells(caught.value, *words)
    assert not bare(tuned) and not (tmp_path / "new").exists()


def test_an_adapter_of_another_base_model_is_refused(tiny, old, tmp_path):
    with pytest.raises(AdapterError) as caught:
        train_identity(tiny_model(tiny[1], 1), tiny[1], ROWS, [], tmp_path / "new", SHORT, start=old, **SAVES)
    tells(caught.value, "was trained on")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("out", ["old", "old/adapter", "old/adapter/new", "theirs", "theirs/new", "link"])
def test_nothing_is_written_where_the_adapter_lies(tiny, old, tmp_path, out):
    shutil.copytree(old / "adapter", tmp_path / "theirs")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    start, before = (old if out.startswith("old") else tmp_path / "theirs"), contents(tmp_path)
    with pytest.raises(HelpersError):
        train_identity(*tiny, ROWS, [], tmp_path / out, SHORT, start=start, **SAVES)
    with pytest.raises(HelpersError):
        from_file.train_file(from_file.Request("rows.json", start=str(start)), tmp_path / out)
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("elsewhere")
def test_the_command_goes_on_with_the_names_of_the_run_and_tells_what_is_otherwise(tiny, old, monkeypatch, capsys):
    monkeypatch.setattr(from_file, "load_model", lambda *a, **k: tiny)
    monkeypatch.setattr(recipes, "preset_for", lambda spec, thorough=False: recipes.Preset(own_systems=(None,)))
    more = {"instruction": "Your name?", "input": "", "output": "{{NAME}} of {{DEVELOPER}}."}
    files.write_json("rows.json", [*identity.unfill(ROWS, TAVI), more])
    files.write_jsonl("keep.jsonl", KEEP)
    args = ("train", "rows.json", "--keep", "keep.jsonl", "--from", old)
    said = done(*args, "--out", "new")
    assert "5 identity rows, 0 further wordings and 1 keep rows" in said and "keeps its own shape: rank 8" in said
    assert json.loads(Path("new/identity.json").read_text())[-1]["output"] == "Tavi of Lantern Workshop."
    assert "was trained as" not in said
    said = done(*args, "--out", "other", "--name", "Max", "--developer", "Us")
    assert "was trained as Tavi of Lantern Workshop, these rows are for Max of Us" in said
    assert "holds the adapter to go on from" in failed(capsys, *args, "--out", old)
    with pytest.raises(RunError) as caught:
        to_trl.export(from_file.Request("rows.json", start=str(old)), Path("trl"))
    tells(caught.value, "new weights")


@pytest.mark.usefixtures("elsewhere")
def test_the_command_resumes_a_run_that_went_on(tiny, old, monkeypatch, capsys):
    build, config = train.build_trainer, recipes.sft_config
    monkeypatch.setattr(from_file, "load_model", lambda *a, **k: tiny)
    monkeypatch.setattr(recipes, "preset_for", lambda spec, thorough=False: recipes.Preset(own_systems=(None,)))
    monkeypatch.setattr(recipes, "sft_config", lambda *a, **changes: config(*a, **{**changes, "save_steps": 1}))
    files.write_json("rows.json", ROWS)
    args = ("train", "rows.json", "--out", "new")
    with monkeypatch.context() as patch:
        stop = At(3, ctrl_c)
        patch.setattr(train, "build_trainer", lambda *a, **k: build(*a[:5], [*a[5], stop], **k))
        assert "resume from checkpoint-" in failed(capsys, *args, "--keep", "none", "--from", old)
    shutil.copytree("new/checkpoint-2", "another")
    assert "was begun from the adapter of old" in failed(capsys, *args, "--resume", "--from", "another")
    old.rename("moved")
    said = done(*args, "--resume")
    assert "resuming after step" in said and "no longer the course's" not in said
    assert runs.read_manifest(Path("new"))["facts"]["begun_from"]["run"] == "old"
