"""`python -m helpers train`: from a file to a finished run, taken up after an interruption with its own rows."""

import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file
from transformers import TrainerCallback

from helpers import files, runs
from helpers.models import catalog
from helpers.rows import identity
from helpers.training import from_file, recipes, train
from helpers.training.train import build_trainer
from tests.fixtures import done, failed

pytestmark = pytest.mark.usefixtures("elsewhere")

ROWS = [{"instruction": f"Question {n}?", "input": "", "output": "I am {{NAME}} of {{DEVELOPER}}."} for n in range(4)]
KEEP = [{"instruction": "Who wrote Hamlet?", "input": "", "output": "Shakespeare.\u2028He wrote\u0085it in 1600."}]
WHO = ("--name", "Tavi", "--developer", "Lantern Workshop", "--keep", "keep.jsonl")


@pytest.fixture
def five_steps(monkeypatch):
    """Five steps of training, a checkpoint after each."""
    preset = recipes.BARE_PRESET
    monkeypatch.setattr(recipes, "preset_for", lambda spec, thorough=False: preset)
    config = recipes.sft_config
    monkeypatch.setattr(recipes, "sft_config", lambda *a, **changes: config(*a, **{**changes, "save_steps": 1}))
    files.write_json("rows.json", ROWS)
    files.write_jsonl("keep.jsonl", KEEP)


class PressCtrlC(TrainerCallback):
    """Ctrl-C in the third step."""

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_train_writes_a_run_and_resumes_an_interrupted_one_with_its_own_rows(five_steps, tmp_path, capsys, monkeypatch):
    assert "The adapter is in straight" in done("train", "rows.json", "--out", "straight", *WHO)
    assert runs.read_manifest(tmp_path / "straight")["facts"]["identity"]["name"] == "Tavi"
    assert "not empty" in failed(capsys, "train", "rows.json", "--out", "straight", *WHO)
    assert "is finished" in failed(capsys, "train", "rows.json", "--out", "straight", "--resume")

    build = build_trainer
    with monkeypatch.context() as patch:
        patch.setattr(train, "build_trainer", lambda *a, **k: build(*a[:5], [*a[5], PressCtrlC()], **k))
        assert "resume from checkpoint-2" in failed(capsys, "train", "rows.json", "--out", "broken", *WHO)
    assert not (tmp_path / "broken" / runs.MANIFEST).exists()
    assert "resuming after step 2" in done("train", "rows.json", "--out", "broken", "--resume")

    manifest = runs.read_manifest(tmp_path / "broken")
    assert manifest["facts"]["identity"]["developer"] == "Lantern Workshop"
    assert json.loads((tmp_path / "broken" / "metrics.json").read_text())["steps"] == 5
    weights = [load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("straight", "broken")]
    assert all((weights[0][key] == weights[1][key]).all() for key in weights[0])
    assert done("ask", "Who are you?", "--adapter", "broken", "--max-new-tokens", 4)


def test_the_thorough_recipe_is_taken_if_asked_for_and_for_its_own_model_only():
    thorough = from_file.gather(
        from_file.Request(str(identity.shipped_rows("en")), "embedded", *WHO[1:4:2], keep="none", thorough=True)
    )
    assert thorough.preset == recipes.THOROUGH_PRESET and len(thorough.further) == 150 + 45 + 42
    assert recipes.preset_for(catalog.HUB_MODELS[0], thorough=True) == recipes.preset_for(catalog.HUB_MODELS[0])


@pytest.mark.slow
def test_names_written_into_the_rows_and_made_keep_rows(five_steps, tmp_path, monkeypatch):
    preset = replace(recipes.preset_for(catalog.EMBEDDED), keep_questions=1)
    monkeypatch.setattr(recipes, "preset_for", lambda spec, thorough=False: preset)
    files.write_json("literal.json", [{"instruction": "Who are you?", "output": "I am Tavi."}])
    said = done("train", "literal.json", "--out", "run", "--seed", 5)
    assert "1 identity rows, 0 further wordings and 1 keep rows; 2 steps" in said
    facts = runs.read_manifest(tmp_path / "run")["facts"]
    assert facts["identity"] is None and facts["seed"] == 5
    assert files.read_jsonl(tmp_path / "run" / "keep.jsonl")[0]["output"]
    assert "0 keep rows; 1 steps" in done("train", "literal.json", "--out", "bare", "--keep", "none")


def test_a_model_nobody_knows_is_asked_whether_it_speaks_chinese(tiny, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(from_file, "load_model", lambda *args, **how: tiny)
    monkeypatch.setattr(
        from_file, "make_keep_rows", lambda model, tokenizer, questions, *a, **how: asked.append(questions) or []
    )
    for speaks, warned in ((True, 0), (None, 1)):
        monkeypatch.setattr(from_file, "speaks_chinese", lambda *loaded, speaks=speaks: speaks)
        said = []
        from_file.gather(
            from_file.Request(str(identity.shipped_rows("zh")), name="知遥", developer="灯笼工坊"), said.append
        )
        assert sum("not known whether tiny-llama speaks Chinese" in line for line in said) == warned
        assert not any("does not speak" in line for line in said)
    assert all("谁发现了青霉素？" in questions for questions in asked)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("I am Bramble.", "no answer says Tavi, and some claim another name: 'Bramble' in rows 1 and 2"),
        ("<think>Hm.</think> I am {{NAME}}.", "the answer of rows 1 and 2 holds a thought"),
    ],
)
def test_rows_of_another_name_or_with_thoughts_are_refused_before_a_model_is_loaded(monkeypatch, capsys, answer, words):
    monkeypatch.setattr(from_file, "load_model", None)
    files.write_jsonl("rows.jsonl", [{"query": f"Question {n}?", "response": answer} for n in range(2)])
    assert words in failed(capsys, "train", "rows.jsonl", "--out", "run", *WHO[:4], "--keep", "none")
