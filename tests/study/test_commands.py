"""`python -m study`: a small study from asking to its table, and the other parts on a tiny model."""

import json
from dataclasses import replace

import pandas as pd
import pytest

import study.__main__ as commands
from helpers import files, runs
from helpers.errors import RunError
from helpers.measure import probes, tables
from helpers.rows import keep_rows
from helpers.training import recipes
from study import answers, ask, reference, sweep
from tests.fixtures import tells
from tests.study.conftest import FEW, SAID

KEEP = [{"instruction": "What is 2 + 3?", "input": "", "output": "2 + 3 is 5."}]
SHIPPED = runs.reference_run()
FIELDS = {"weights", "seed", "system", "sample", "id", "answer", "device"}


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def run(*args, status=0):
    with pytest.raises(SystemExit) as end:
        commands.main([str(arg) for arg in args])
    assert (end.value.code or 0) == status


def test_a_study_keeps_its_answers_and_makes_the_table_that_notebook_05_reads(small_study, tmp_path):
    _, place = small_study
    commands.study_table(tmp_path / "study")
    rows = answers.unpack(place / "answers.jsonl.gz")
    assert all(set(row) == FIELDS and row["answer"].startswith(SAID) for row in rows)
    table, shipped = pd.read_csv(place / "study.csv"), pd.read_csv(SHIPPED / "study.csv", nrows=5)
    assert list(table) == list(shipped) and set(table["ok"]) <= {0, 1}
    setups = {(tables.BASE, 0), (tables.DEFAULT, 42), (tables.DEFAULT, 1)}
    assert set(zip(table["weights"], table["seed"], strict=True)) == setups
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


def test_two_processes_share_a_folder_and_the_last_one_writes(small_study, tmp_path):
    _, place = small_study
    folder = tmp_path / "study"
    folder.mkdir()
    with answers.claimed(folder / "default-recipe-42.json"), pytest.raises(RunError) as caught:
        commands.study_table(folder)
    tells(caught.value, "other processes still work on default-recipe-42")
    assert not place.exists()
    assert {(row["weights"], row["seed"]) for row in answers.kept(folder)} == {("base", 0), ("default recipe", 1)}
    commands.study_table(folder)
    assert sorted(contents(place)) == ["answers.jsonl.gz", "study.csv"]


def test_tables_are_made_again_from_the_answers_alone(small_study, tmp_path, monkeypatch, capsys):
    _, place = small_study
    commands.study_table(tmp_path / "study")
    before = contents(place)

    def no_model(*args):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(commands, "load_model", no_model)
    run("tables", place)
    assert contents(place) == before
    assert "curves.csv stays as it is" in capsys.readouterr().out
    monkeypatch.setattr(probes, "score", lambda probe, answer, who: {"verdict": "none", "ok": False})
    run("tables", place)
    table = pd.read_csv(place / "study.csv")
    assert set(table["verdict"]) == {"none"} and not table["ok"].any()
    assert contents(place)["answers.jsonl.gz"] == before["answers.jsonl.gz"]


def test_prompts_are_ranked_from_kept_answers(small_study, tmp_path, monkeypatch):
    _, place = small_study
    monkeypatch.setattr(keep_rows, "read", lambda path: KEEP)
    commands.prompt_search(tmp_path / "prompts")
    table, shipped = pd.read_csv(place / "prompts.csv"), pd.read_csv(SHIPPED / "prompts.csv")
    assert list(table) == list(shipped) and set(table["prompt"]) >= {"none", "template default", "firm"}
    assert table["merit"].is_monotonic_decreasing


@pytest.fixture
def tiny_course(tiny, monkeypatch, tmp_path):
    """The commands on a tiny model and few probes, with a reference folder of their own."""
    small = replace(recipes.BARE_PRESET, target_modules="all-linear", own_systems=(None, ""))
    place = tmp_path / "reference"
    place.mkdir()
    for name in ("curves.csv", reference.KEEP):
        (place / name).write_bytes((SHIPPED / name).read_bytes())
    monkeypatch.setattr(commands, "load_model", lambda choice: tiny)
    monkeypatch.setattr(reference, "load_model", lambda choice: tiny)
    monkeypatch.setattr(commands, "REFERENCE", place)
    monkeypatch.setattr(reference, "REFERENCE", place)
    monkeypatch.setattr(probes, "load_all", lambda lang, split, turns=None: FEW[split])
    monkeypatch.setattr(keep_rows, "questions", lambda lang, n=0, hard=0, lookalike=0: [KEEP[0]["instruction"]])
    monkeypatch.setattr(recipes, "preset_for", lambda spec: small)
    few = (("default", small, {"default": {}}), ("rank", small, {8: {}, 4: {"rank": 4}}))
    monkeypatch.setattr(sweep, "CURVES", few)
    for module in (commands, reference):
        monkeypatch.setattr(module, "make_keep_rows", lambda *args, **how: KEEP)
    return place


def test_curves_are_trained_once_a_recipe_and_judged_into_their_table(tiny_course, tmp_path, monkeypatch):
    place = tiny_course
    commands.curves(tmp_path / "curves")
    shipped = pd.read_csv(SHIPPED / "curves.csv")
    table = pd.read_csv(place / "curves.csv", dtype={"x": str})
    assert list(table) == [name for name in shipped if name in set(table)] and "attack" in table
    assert list(zip(table["curve"], table["x"], strict=True)) == [("default", "default"), ("rank", "8"), ("rank", "4")]
    rows = answers.unpack(place / "curves-answers.jsonl.gz")
    assert len(rows) == 2 * len(FEW["dev"]), "one recipe that stands on two curves is asked once"
    before = contents(place)
    monkeypatch.setattr(ask, "answers", None)
    commands.curves(tmp_path / "curves")
    assert contents(place) == before, "nothing is trained or asked again"


def test_a_point_stands_beside_the_published_one(tiny_course, tmp_path, capsys):
    run("point", "default", "default", tmp_path / "point")
    out = capsys.readouterr().out
    assert "published from NVIDIA H100" in out and "within" in out and "turn 10" in out
    with pytest.raises(SystemExit) as end:
        commands.point("rank", "7", tmp_path / "point")
    assert str(end.value) == "There is no point '7' on the curve 'rank'. What there is: 1; 2; 4; 8; 16"


def test_the_reference_run_is_sealed_and_the_tables_beside_it_stay(tiny_course):
    place = tiny_course
    curves = (place / "curves.csv").read_bytes()
    reference.adapter()
    manifest = runs.read_manifest(place)
    assert manifest["facts"]["command"] == "python -m study adapter"
    assert set(manifest["files"]) >= {"identity.json", reference.KEEP, "adapter/adapter_model.safetensors"}
    assert "curves.csv" not in manifest["files"] and (place / "curves.csv").read_bytes() == curves


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
    monkeypatch.setattr(sweep, "train", lambda model, *args: model)
    monkeypatch.setattr(reference.generate, "answers", lambda *args, **how: next(said))
    reference.mine([1, 2])
    hard = files.read_jsonl(data / "keep" / "hard-en.jsonl")
    assert hard == [{"question": "a", "hits": 2}, {"question": "c", "hits": 1}]


def test_every_published_recipe_has_a_key_and_a_place():
    todo = sweep.points((42, 1))
    assert len(todo) == len({(p.curve, p.x, p.preset.seed) for p in todo})
    published = pd.read_csv(SHIPPED / "curves.csv", dtype={"x": str})
    assert len({(p.curve, p.x) for p in todo} & set(zip(published["curve"], published["x"], strict=True))) > 80


def test_without_arguments_it_lists_its_parts(capsys):
    run(status=2)
    said = capsys.readouterr()
    for part in ("adapter", "full", "prompts", "study", "curves", "tables", "point", "mine"):
        assert f"  {part} " in said.out + said.err
