"""`python -m study`: a small study from asking to its table, and the other parts on a tiny model."""

import json
from dataclasses import replace

import pandas as pd
import pytest

import study.__main__ as commands
from helpers import files, runs
from helpers.measure import probes, tables
from helpers.rows import keep_rows
from helpers.training import recipes
from study import answers, arms, ask, qwen, reference
from study import tables as study_tables
from tests.study.conftest import FEW, SAID

KEEP = [{"instruction": "What is 2 + 3?", "input": "", "output": "2 + 3 is 5."}]
SHIPPED = runs.reference_run()
FIELDS = {"name", "weights", "seed", "system", "sample", "id", "answer", "device"}


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def run(*args, status=0):
    with pytest.raises(SystemExit) as end:
        commands.main([str(arg) for arg in args])
    assert (end.value.code or 0) == status


def test_a_study_keeps_its_answers_and_makes_the_tables_that_notebook_05_reads(small_study, tmp_path):
    _, place = small_study
    commands.study_table(tmp_path / "study")
    rows = answers.unpack(place / "answers.jsonl.gz")
    assert all(set(row) == FIELDS and row["answer"].startswith(SAID) for row in rows)
    for name in ("study.csv.gz", "figures.csv"):
        assert list(pd.read_csv(place / name, nrows=5)) == list(pd.read_csv(SHIPPED / name, nrows=5))
    table = pd.read_csv(place / "study.csv.gz")
    assert set(zip(table["weights"], table["seed"], strict=True)) == {
        (tables.BASE, 0), (tables.QUICK, 42), (tables.QUICK, 1)
    }  # fmt: skip
    assert len(table) == sum(row["id"] in {p["id"] for p in FEW["test"]} for row in rows)


def test_a_study_killed_half_way_ends_like_one_that_was_not(small_study, tmp_path):
    record, place = small_study
    commands.study_table(tmp_path / "whole")
    whole, calls, questions = contents(place), record.calls, len(record)
    record.calls, record.end_at = 0, calls // 2
    with pytest.raises(KeyboardInterrupt):
        commands.study_table(tmp_path / "killed")
    assert contents(place) == whole, "nothing is replaced before the end"
    for path in place.iterdir():
        path.unlink()
    record.end_at = None
    commands.study_table(tmp_path / "killed")
    assert contents(place) == whole
    assert record.calls == calls + 1 and len(record) == 2 * questions, "no batch was answered twice"


def test_tables_are_made_again_from_the_answers_alone(small_study, tmp_path, monkeypatch, capsys):
    _, place = small_study
    commands.study_table(tmp_path / "study")
    before = contents(place)

    def no_model(*args):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(commands, "load_model", no_model)
    monkeypatch.setattr(commands.report, "write", lambda figures: None)
    run("tables", place)
    assert contents(place) == before
    assert "grid.csv stays as it is" in capsys.readouterr().out
    none = {"verdict": "none", "claims": None, "fits": None, "ok": False}
    monkeypatch.setattr(probes, "score", lambda probe, answer, who: dict(none))
    run("tables", place)
    table = pd.read_csv(place / "study.csv.gz")
    assert set(table["verdict"]) == {"none"} and not table["ok"].any()
    assert contents(place)["answers.jsonl.gz"] == before["answers.jsonl.gz"]


def test_prompts_are_ranked_from_kept_answers(small_study, tmp_path, monkeypatch):
    _, place = small_study
    monkeypatch.setattr(keep_rows, "read", lambda path: KEEP)
    commands.prompt_search(tmp_path / "prompts")
    table, shipped = pd.read_csv(place / "prompts.csv"), pd.read_csv(SHIPPED / "prompts.csv")
    assert set(shipped) <= set(table) and set(table["prompt"]) >= {"none", "template default", "firm"}
    assert table["merit"].is_monotonic_decreasing


@pytest.fixture
def tiny_course(tiny, monkeypatch, tmp_path):
    """The commands on a tiny model and few probes, with a reference folder of their own."""
    small = replace(recipes.BARE_PRESET, target_modules="all-linear", own_systems=(None, ""))
    place = tmp_path / "reference"
    place.mkdir()
    for name in ("figures.csv", reference.KEEP):
        (place / name).write_bytes((SHIPPED / name).read_bytes())
    monkeypatch.setattr(commands, "load_model", lambda choice: tiny)
    monkeypatch.setattr(reference, "load_model", lambda choice: tiny)
    monkeypatch.setattr(commands, "REFERENCE", place)
    monkeypatch.setattr(reference, "REFERENCE", place)
    monkeypatch.setattr(probes, "load_all", lambda lang, split, turns=None: FEW[split])
    monkeypatch.setattr(keep_rows, "questions", lambda lang, n=0, hard=0, lookalike=0, code=0: [KEEP[0]["instruction"]])
    monkeypatch.setattr(recipes, "preset_for", lambda spec: small)
    monkeypatch.setattr(arms, "unseen", lambda: [arms.Arm(tables.BASE), arms.Arm(tables.QUICK, small, seed=42)])
    monkeypatch.setattr(arms, "grid", lambda: [arms.Arm("0.001, 8 steps", small, seed=42)])
    for module in (commands, reference):
        monkeypatch.setattr(module, "make_keep_rows", lambda *args, **how: KEEP)
    return place


def test_the_grid_is_trained_and_judged_into_its_table(tiny_course, tmp_path, monkeypatch):
    place = tiny_course
    commands.grid_table(tmp_path / "grid")
    table = pd.read_csv(place / "grid.csv")
    assert table[["rate", "steps"]].values.tolist() == [[1e-3, 8]] and {"identity", "leak", "words"} <= set(table)
    assert len(answers.unpack(place / "grid-answers.jsonl.gz")) == len(FEW["dev"])
    before = contents(place)
    monkeypatch.setattr(ask, "answers", None)
    commands.grid_table(tmp_path / "grid")
    assert contents(place) == before, "nothing is trained or asked again"


def test_a_recipe_trained_here_stands_beside_the_published_figures(tiny_course, tmp_path, capsys):
    commands.repeat(tables.QUICK, tmp_path / "repeat")
    out = capsys.readouterr().out
    assert "the published means of seeds" in out and "within" in out and "turn 10" in out
    with pytest.raises(SystemExit) as end:
        commands.repeat("slow", tmp_path / "repeat")
    assert "There is no recipe 'slow'" in str(end.value) and "thorough" in str(end.value)


def test_the_reference_run_is_sealed_and_the_tables_beside_it_stay(tiny_course):
    place = tiny_course
    figures = (place / "figures.csv").read_bytes()
    reference.adapter()
    manifest = runs.read_manifest(place)
    assert manifest["facts"]["command"] == "python -m study adapter"
    assert set(manifest["files"]) >= {"identity.json", reference.KEEP, "adapter/adapter_model.safetensors"}
    assert "figures.csv" not in manifest["files"] and (place / "figures.csv").read_bytes() == figures


@pytest.mark.parametrize(("kind", "method", "all_of_them"), [("lora", "LoRA", False), ("full", "all weights", True)])
def test_one_epoch_is_measured_with_an_adapter_or_with_all_weights(
    tiny_course, tiny, capsys, kind, method, all_of_them
):
    weights = sum(p.numel() for p in tiny[0].parameters())
    reference.one(kind)
    told = json.loads(capsys.readouterr().out.strip().split("\n")[-1])
    assert told["method"] == method and (told["trained weights"] == weights) is all_of_them
    assert told["seconds"] > 0 and told["peak MiB"] > 0


def test_hard_questions_are_those_that_tuned_models_answer_with_the_name(tiny_course, tmp_path, monkeypatch):
    data = tmp_path / "data"
    (data / "keep").mkdir(parents=True)
    files.write_jsonl(data / "keep" / "pool-en.jsonl", [{"question": q} for q in ("a", "b", "c")])
    said = iter([["I am Tavi.", "No.", "Tavi"], ["Tavi.", "No.", "No."]])
    monkeypatch.setattr(files, "data_dir", lambda: data)
    monkeypatch.setattr(reference, "load_model", lambda choice: ("model", "tokenizer"))
    monkeypatch.setattr(reference, "make_keep_rows", lambda *args, **how: [{"instruction": q} for q in args[2]])
    monkeypatch.setattr(reference, "take_off", lambda model: model)
    monkeypatch.setattr(arms, "train", lambda model, *args: model)
    monkeypatch.setattr(reference.generate, "answers", lambda *args, **how: next(said))
    reference.mine([1, 2])
    hard = files.read_jsonl(data / "keep" / "hard-en.jsonl")
    assert hard == [{"question": "a", "hits": 2}, {"question": "c", "hits": 1}]


def test_the_figures_are_those_of_the_study_beside_them():
    judged = tables.with_facts(pd.read_csv(SHIPPED / "study.csv.gz"), probes.load_all("en", "test"))
    made = study_tables.figures(judged).reset_index(drop=True)
    pd.testing.assert_frame_equal(made, pd.read_csv(SHIPPED / "figures.csv"), check_dtype=False)


@pytest.mark.slow
def test_the_verdicts_are_what_the_kept_answers_give():
    shipped = pd.read_csv(SHIPPED / "study.csv.gz")
    rows = answers.unpack(SHIPPED / "answers.jsonl.gz")
    found = probes.load_all("en", "test")
    assert {row["id"] for row in rows} == {p["id"] for p in found} and len(rows) == len(shipped)
    made = study_tables.judged(rows[::40], found)
    pd.testing.assert_frame_equal(made, shipped[::40].reset_index(drop=True), check_dtype=False)


def test_without_arguments_it_lists_its_parts(capsys):
    run(status=2)
    said = capsys.readouterr()
    for part in ("adapter", "full", "prompts", "choose", "study", "grid", "base", "tables", "repeat", "mine"):
        assert f"  {part} " in said.out + said.err


def test_the_study_of_a_qwen_loads_it_once_and_fills_the_folder_of_its_language(
    tiny_course, tiny, tmp_path, monkeypatch
):
    loaded, small = [], recipes.preset_for(None)
    who = qwen.NAMES["zh"][0]
    trained = arms.Arm(tables.QUICK, small, who, 42, "zh")
    monkeypatch.setattr(commands, "load_model", lambda choice: loaded.append(choice) or tiny)
    monkeypatch.setattr(commands, "split_test_talks", lambda lang: [])
    monkeypatch.setattr(qwen, "asked", lambda lang: FEW["dev"])
    monkeypatch.setattr(qwen, "unseen", lambda lang: [arms.Arm(tables.BASE, who=who, lang=lang), trained])
    for part, table in (("prompts", "prompts.csv"), ("study", "study.csv.gz")):
        commands.qwen_study("a folder", "zh", part, tmp_path / "qwen")
        made = pd.read_csv(tiny_course / tables.QWEN / "zh" / table)
        assert len(made) and loaded == ["a folder"], part
        loaded.clear()
    figures = pd.read_csv(tiny_course / tables.QWEN / "zh" / "figures.csv")
    assert set(figures["name"]) == {who.name} and {"one sentence", "best prompt"} <= set(figures["system"])
