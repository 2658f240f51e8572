"""`train --resume`: only as the run was begun, and every command that is printed can be pasted into a shell."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from helpers import files, runs
from helpers.errors import RunError
from helpers.measure import finished_run
from helpers.models.adapters import save_adapter
from helpers.models.load import load_model
from helpers.training import begun, from_file, recipes, to_trl, train
from tests.fixtures import done, failed, tells, tiny_model, wrap
from tests.training.test_from_file import KEEP, ROWS, WHO, PressCtrlC

HERE = "ein Häuschen 'mit' $HOME"
BEGIN = ("train", "rows.json", "--out", "stopped", "--model", "tiny", "--seed", 7, *WHO)
FIVE = replace(recipes.BARE_PRESET, seed=7)


@pytest.fixture(scope="module")
def place(embedded, tmp_path_factory):
    """A folder with an odd name: a model, rows, and a run of it that was stopped after step 2."""
    folder = tmp_path_factory.mktemp("odd") / HERE
    folder.mkdir()
    model, tokenizer = tiny_model(embedded[1]), embedded[1]
    for part in (model, tokenizer):
        part.save_pretrained(folder / "tiny")
    build, config = train.build_trainer, recipes.sft_config
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        files.write_json("rows.json", ROWS)
        files.write_jsonl("keep.jsonl", KEEP)
        patch.setattr(recipes, "preset_for", lambda spec, thorough=False: recipes.BARE_PRESET)
        patch.setattr(recipes, "sft_config", lambda *a, **changes: config(*a, **{**changes, "save_steps": 1}))
        patch.setattr(train, "build_trainer", lambda *a, **k: build(*a[:5], [*a[5], PressCtrlC()], **k))
        request = from_file.Request("rows.json", "tiny", WHO[1], WHO[3], "keep.jsonl", 7)
        with pytest.raises(RunError) as caught:
            from_file.train_file(request, Path("stopped"))
    (folder / "cure.txt").write_text(caught.value.cure, encoding="utf-8")
    return folder


@pytest.fixture
def stopped(place, tmp_path, monkeypatch):
    """A copy of it, to work in."""
    folder = Path(shutil.copytree(place, tmp_path / HERE))
    monkeypatch.chdir(folder)
    return folder


def pasted(command: str, **how) -> str:
    """What a command says that is pasted into a shell."""
    assert command.startswith("python -m helpers ")
    env = {**os.environ, "PYTHONPATH": str(files.project_root()), "PYTHONUTF8": "1"}
    line = command.replace("python", f"'{sys.executable}'", 1)
    ended = subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True, timeout=600, **how)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout


OTHERWISE = {
    "--seed": ("--seed", 0),
    "--name": ("--name", "Max"),
    "--developer": ("--developer", "Us"),
    "--thorough": ("--thorough",),
    "--four-bit": ("--four-bit",),
    "--model": ("--model", "embedded"),
    "--keep": ("--keep", "none"),
}


@pytest.mark.parametrize("option", OTHERWISE)
def test_an_option_that_the_run_was_not_begun_with_is_refused_as_it_was_typed(stopped, capsys, option):
    said = failed(capsys, "train", "rows.json", "--out", "stopped", "--resume", *OTHERWISE[option])
    assert "stopped: was begun with" in said and f"leave {option} out" in said and said.count("\n") == 1
    assert "checkpoint-2" in os.listdir("stopped")


def test_rows_that_changed_are_refused_and_the_cure_names_some_that_are_taken(stopped, capsys):
    files.write_json("rows.json", [{**ROWS[0], "output": "I am {{NAME}}, and changed."}])
    said = failed(capsys, "train", "rows.json", "--out", "stopped", "--resume")
    assert "other rows than rows.json" in said and "give stopped/identity.json instead" in said
    found = from_file.gather(from_file.Request("stopped/identity.json", "tiny"), print, Path("stopped"))
    assert found.rows == files.read_json("stopped/identity.json") and found.keep == KEEP
    files.write_jsonl("keep.jsonl", [{**KEEP[0], "output": "Marlowe."}])
    given = ("train", "stopped/identity.json", "--out", "stopped", "--resume", "--keep", "keep.jsonl")
    assert "other rows than --keep" in failed(capsys, *given)


def test_a_run_goes_on_by_the_recipe_and_the_identity_it_was_begun_with(stopped, monkeypatch):
    config = recipes.sft_config
    monkeypatch.setattr(recipes, "sft_config", lambda *a, **changes: config(*a, **{**changes, "save_steps": 1}))
    monkeypatch.setattr(recipes, "preset_for", lambda spec, thorough=False: FIVE)
    with monkeypatch.context() as patch:  # a newer version of the course trains otherwise
        patch.setattr(recipes, "preset_for", lambda spec, thorough=False: recipes.QUICK_PRESET)
        said = done("train", "rows.json", "--out", "stopped", "--resume")
    assert "resuming after step 2" in said and "no longer the course's: rank 8 (now 16)" in said
    facts = runs.read_manifest(Path("stopped"))["facts"]
    assert facts["seed"] == 7 and facts["identity"]["name"] == "Tavi" and facts["preset"]["rank"] == 8
    done("train", "rows.json", "--out", "straight", "--model", "tiny", *WHO, "--seed", 7)
    one, other = (load_file(f"{run}/adapter/adapter_model.safetensors") for run in ("stopped", "straight"))
    assert all((one[key] == other[key]).all() for key in one)


def test_what_a_killed_command_left_is_taken_up_or_begun_again(stopped, capsys, monkeypatch):
    monkeypatch.setattr(recipes, "preset_for", lambda spec, thorough=False: recipes.BARE_PRESET)
    for checkpoint in Path("stopped").glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    shutil.copytree("stopped", "again")
    assert "no whole checkpoint: from the first" in done("train", "rows.json", "--out", "stopped", "--resume")
    assert runs.read_manifest(Path("stopped"))["facts"]["seed"] == 7
    assert files.read_jsonl("stopped/keep.jsonl") == KEEP
    done("train", "rows.json", "--out", "again", "--model", "tiny", *WHO)
    assert runs.read_manifest(Path("again"))["facts"]["seed"] == recipes.BARE_PRESET.seed


def test_a_run_that_was_begun_in_python_can_be_taken_up_by_the_command(stopped):
    begun.write(Path("stopped"), replace(begun.read(Path("stopped")), asked=None))
    assert "resuming after step 2" in done("train", "rows.json", "--out", "stopped", "--resume")


@pytest.mark.slow
def test_the_same_command_works_after_a_kill_before_the_first_checkpoint(stopped, monkeypatch):
    monkeypatch.setattr(recipes, "preset_for", lambda spec, thorough=False: recipes.BARE_PRESET)
    words = ["train", "rows.json", "--model", "tiny", *WHO]
    env = {**os.environ, "PYTHONPATH": str(files.project_root())}
    command = [sys.executable, "-m", "helpers", *words, "--out", "killed"]
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as killed:
        while killed.poll() is None and not Path("killed", "keep.jsonl").exists():
            time.sleep(0.005)
        killed.kill()
    assert killed.returncode == -9 and not list(Path("killed").glob("checkpoint-*"))
    shutil.copytree("killed", "copy")
    done(*words, "--out", "killed", "--resume")
    done(*words, "--out", "copy")
    assert runs.read_manifest(Path("copy")) and runs.read_manifest(Path("killed"))


def test_a_command_that_fails_after_the_model_is_loaded_leaves_nothing(stopped, capsys):
    files.write_json("long.json", [{"instruction": "Who?", "input": "", "output": "word " * 1200}])
    for _ in range(2):
        said = failed(capsys, "train", "long.json", "--out", "deep/run", "--model", "tiny", "--keep", "none")
        assert "long.json, row 1" in said
    assert not os.listdir("deep")


PLACES = {"/dev/null": "no folder", "stopped/more": "lies in the run", "link": "is a link", "tiny": "not empty"}


@pytest.mark.parametrize("out", PLACES)
def test_a_bad_place_for_a_run_is_one_line(stopped, capsys, out):
    Path("link").symlink_to("nowhere")
    for more in ([], ["--resume"]):
        said = failed(capsys, "train", "rows.json", "--out", out, *more, *WHO)
        assert (PLACES[out] in said or "no run was begun" in said) and said.count("\n") == 1


def test_a_seed_of_any_size_is_one_line(stopped, capsys):
    for seed in (-1, 2**32):
        assert "--seed" in failed(capsys, "train", "rows.json", "--out", "new", f"--seed={seed}", status=2)
        with pytest.raises(RunError) as caught:
            from_file.Request("rows.json", seed=seed)
        tells(caught.value, str(seed))


@pytest.mark.slow
def test_the_commands_of_a_run_can_be_pasted_one_after_the_other(stopped):
    cure = Path("cure.txt").read_text(encoding="utf-8")
    assert cure.startswith("resume from checkpoint-2: ")
    said = pasted(cure.partition(": ")[2])
    assert "resuming after step 2" in said
    talk = said.strip().splitlines()[-1].partition("Try it: ")[2]
    assert talk.startswith("python -m helpers chat --adapter stopped --model '/")
    pasted(talk, input="Who are you?\n")
    again = finished_run.read("stopped").again
    assert "/runs/again" in pasted(f"{again} --keep none") and "/runs/again-2 " in finished_run.read("stopped").again


@pytest.mark.slow
def test_the_readme_of_an_export_asks_its_adapter(stopped, monkeypatch):
    request = from_file.Request("rows.json", "tiny", WHO[1], WHO[3], "none")
    text = to_trl.export(request, Path("export"), print).read_text(encoding="utf-8")
    save_adapter(wrap(load_model("tiny")[0]), "export/adapter")
    command = next(line for line in text.splitlines() if line.startswith("python -m helpers ask"))
    pasted(f"{command} --max-new-tokens 2", cwd="export")


def test_the_model_is_named_only_where_it_is_not_the_usual_one(embedded, stopped):
    run = Path("a run")
    for choice in ("auto", "embedded"):
        line = from_file._chat(embedded[0], from_file.Request("rows.json", choice), run)
        assert line == "python -m helpers chat --adapter 'a run'"
    model = load_model("tiny")[0]
    assert begun.choice_of(model) == str(Path("tiny").resolve())
    line = from_file._chat(model, from_file.Request("rows.json", "tiny"), run)
    assert line == begun.shell("chat", "--adapter", "a run", "--model", Path("tiny").resolve())
    assert json.loads(Path("stopped", begun.RECORD).read_text())["model"].endswith("/tiny")
