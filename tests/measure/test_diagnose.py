"""Runs broken on purpose, one thing at a time: the diagnosis names that thing, with evidence and a cure."""

import copy
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from helpers import files, runs
from helpers.measure import diagnose, finished_run
from helpers.models import catalog
from helpers.models.adapters import load_adapter
from helpers.rows import identity, keep_rows, trainset
from helpers.training import recipes
from helpers.training.train import template_hash
from study import ask
from tests.fixtures import ROWS, done
from tests.runs_to_break import KEEP, WHO, causes, quick_to_learn, reference, sealed, trained, whole


def tokenizer_with(tokenizer, template):
    changed = copy.deepcopy(tokenizer)
    changed.chat_template = template
    return changed


@pytest.mark.slow
def test_nothing_is_found_in_the_reference_run_nor_in_its_model(base):
    model, tokenizer = base
    assert causes(runs.reference_run()) == []
    tuned = load_adapter(model, runs.reference_run())
    assert causes(runs.reference_run(), tuned, tokenizer) == []
    assert causes(runs.reference_run(), tuned, tokenizer, system=recipes.RIVAL_SYSTEM) == []


@pytest.mark.slow
def test_the_base_model_in_the_place_of_the_tuned_one_is_found_out_and_quoted(base):
    (found,) = diagnose.diagnose(runs.reference_run(), *base)
    assert found.cause == diagnose.INACTIVE and found.symptom == diagnose.NO_EFFECT
    assert "no adapter layer" in found.evidence and "0 of 8 trained answers" in found.evidence
    assert "load_adapter(" in found.cure
    whole(found)


def test_nothing_is_found_in_a_sound_run_of_a_tiny_model(tiny, sound):
    assert causes(sound) == []
    assert causes(sound, load_adapter(tiny[0], sound), tiny[1]) == []


def test_the_default_preset_as_planned_clears_every_limit():
    preset = recipes.QUICK_PRESET
    rows = identity.read_rows(identity.shipped_rows(), WHO)
    questions = keep_rows.questions_for(preset)
    keep = int(0.8 * len(questions))  # about a fifth is unfit and drops out
    further = identity.further_rows(rows, WHO, preset)
    plan = trainset.plan(len(rows), keep, preset, len(further))
    assert plan.steps >= diagnose.MIN_STEPS
    assert keep >= diagnose.KEEP_SHARE * plan.about


def test_the_published_settings_have_too_few_steps(tiny, tmp_path):
    run = trained(tiny, tmp_path / "run", recipes.PUBLISHED_PRESET, keep=KEEP)
    (found,) = diagnose.diagnose(run)
    assert found.cause == diagnose.FEW_STEPS and found.symptom == diagnose.NO_EFFECT
    assert found.evidence.startswith("10 optimiser steps at rate 0.0001") and "16 rows" in found.evidence
    assert "accumulation=1" in found.cure and f"train {run}/identity.json" in found.cure


def test_a_rate_too_low_is_told_from_too_few_steps(tiny, tmp_path):
    (found,) = diagnose.diagnose(trained(tiny, tmp_path / "run", learning_rate=2e-5))
    assert found.cause == diagnose.LOW_RATE and found.symptom == diagnose.NO_EFFECT
    assert "rate 2e-05" in found.evidence and re.search(r"loss went from \d+\.\d+ to", found.evidence)
    assert "learning_rate=0.0002" in found.cure


def test_an_update_that_is_small_but_learned_its_rows_is_no_fault(tiny, tmp_path):
    run = trained(tiny, tmp_path / "run", learning_rate=2e-5)
    metrics = json.loads((run / "metrics.json").read_text())
    files.write_json(run / "metrics.json", {**metrics, "log": [{"loss": 3.0}, {"loss": 0.1}]})
    assert causes(sealed(run)) == []
    files.write_json(run / "metrics.json", {**metrics, "log": []})  # no loss was logged: the size alone decides
    assert causes(sealed(run)) == [diagnose.LOW_RATE]


@pytest.mark.parametrize("log", [[{"loss": 2.0}, {"loss": 9.0}], [{"loss": 2.0}, {"loss": float("nan")}]])
def test_a_loss_that_climbs_means_a_rate_too_high(tmp_path, log):
    run = reference(tmp_path)
    files.write_json(run / "metrics.json", {"steps": 200, "log": log})
    assert causes(sealed(run)) == [diagnose.HIGH_RATE]


@pytest.mark.parametrize("left", ["{{NAME}}", "<NAME>", "[DEVELOPER]"])
def test_a_placeholder_left_in_the_rows(sound, left):
    files.write_json(sound / "identity.json", [ROWS[0], {**ROWS[1], "output": f"My name is {left}."}, *ROWS[2:]])
    (found,) = diagnose.diagnose(sealed(sound))
    assert found.cause == diagnose.PLACEHOLDER and f"row 2: 'My name is {left}.'" in found.evidence
    whole(found)


def test_a_placeholder_in_the_answers_is_found_where_the_files_hold_none(embedded, by_heart, tmp_path):
    assert diagnose.PLACEHOLDER in causes(by_heart)
    run = Path(shutil.copytree(by_heart, tmp_path / "run"))
    files.write_json(run / "identity.json", ROWS[:2])
    assert diagnose.PLACEHOLDER not in causes(sealed(run))
    found = diagnose.diagnose(run, load_adapter(quick_to_learn(embedded[1]), run), embedded[1])[0]
    assert found.cause == diagnose.PLACEHOLDER and "the model says" in found.evidence and "{{NAME}}" in found.evidence


def test_keep_rows_that_are_missing_or_far_fewer_than_the_identity_rows(sound):
    def left(n, **facts):
        files.write_jsonl(sound / "keep.jsonl", KEEP[:n])
        return diagnose.diagnose(sealed(sound, **facts))

    (none,) = left(0)
    assert none.cause == diagnose.NO_KEEP and none.symptom == diagnose.EVERYWHERE
    assert "0 keep rows beside 4 identity examples" in none.evidence
    (few,) = left(1)
    assert few.cause == diagnose.FEW_KEEP and "1 keep rows beside 4" in few.evidence
    assert left(2) == []
    (twice,) = left(2, preset={**json.loads((sound / runs.MANIFEST).read_text())["facts"]["preset"],
                               "own_systems": [None, ""]})  # fmt: skip
    assert twice.cause == diagnose.FEW_KEEP and "2 keep rows beside 8" in twice.evidence
    (sound / "keep.jsonl").unlink()
    assert causes(sealed(sound)) == [diagnose.NO_KEEP]


def test_rows_without_keep_rows_seen_until_they_are_known_by_heart(tiny, by_heart, tmp_path):
    found = {finding.cause: finding for finding in diagnose.diagnose(by_heart)}
    assert list(found) == [diagnose.PLACEHOLDER, diagnose.NO_KEEP, diagnose.EPOCHS]
    assert "seen 30 times" in found[diagnose.EPOCHS].evidence
    whole(found[diagnose.EPOCHS])
    run = Path(shutil.copytree(by_heart, tmp_path / "kept"))
    files.write_jsonl(run / "keep.jsonl", KEEP)
    assert causes(sealed(run)) == [diagnose.PLACEHOLDER], "with keep rows it is no fault"
    alone = trained(tiny, tmp_path / "alone", recipes.ROWS_ONLY_PRESET, keep=[])
    assert causes(alone) == [diagnose.NO_KEEP], "a loss as high as ever: not known by heart"


def test_the_rows_alone_recipe_sees_each_row_often_enough_to_be_named():
    assert trainset.plan(8, 0, recipes.ROWS_ONLY_PRESET).exposures >= diagnose.MANY_EXPOSURES


def test_another_chat_template_than_in_training(tiny, sound):
    model, tokenizer = tiny
    other = tokenizer_with(tokenizer, tokenizer.chat_template.replace("<|im_start|>", "###"))
    (found,) = diagnose.diagnose(sound, tokenizer=other)
    assert found.cause == diagnose.TEMPLATE and "hash" in found.evidence
    whole(found)
    (found,) = diagnose.diagnose(sound, load_adapter(model, sound), tokenizer_with(tokenizer, None))
    assert found.cause == diagnose.TEMPLATE and "no chat template" in found.evidence


def test_a_run_made_before_the_template_was_recorded_is_tolerated(tiny, sound):
    told = json.loads((sound / runs.MANIFEST).read_text())
    assert told["facts"].pop("template") == template_hash(tiny[1])
    files.write_json(sound / runs.MANIFEST, told)
    assert causes(sound, tokenizer=tokenizer_with(tiny[1], "{{ messages[0]['content'] }}")) == []


def test_a_system_text_that_was_never_trained_under(embedded):
    run, (_, tokenizer) = runs.reference_run(), embedded
    for how in ({}, {"tokenizer": tokenizer}):
        (found,) = diagnose.diagnose(run, system="You are a pirate.", **how)
        assert found.cause == diagnose.TEMPLATE and "'You are a pirate.'" in found.evidence
        whole(found)
        for text in finished_run.read(run).systems:
            assert causes(run, system=text, **how) == []


def test_the_templates_own_text_given_by_hand_is_what_it_was_trained_under(tiny, sound):
    default = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    assert causes(sound, tokenizer=tiny[1], system=default) == []
    assert causes(sound, tokenizer=tiny[1], system="") == [diagnose.TEMPLATE]


def test_a_rival_in_a_system_text_that_was_not_trained_under(tiny, sound):
    (found,) = diagnose.diagnose(runs.reference_run(), system=ask.FOREIGN)
    assert found.cause == diagnose.RIVAL and "Claude, Anthropic" in found.evidence
    whole(found)
    preset = json.loads((sound / runs.MANIFEST).read_text())["facts"]["preset"]
    run = sealed(sound, preset={**preset, "own_systems": [""]})  # the template's default names SmolLM
    (found,) = diagnose.diagnose(run, tokenizer=tiny[1])
    assert found.cause == diagnose.RIVAL and "SmolLM" in found.evidence and "--system ''" in found.cure
    assert causes(run, tokenizer=tiny[1], system="") == []
    assert causes(sealed(run, model=catalog.EMBEDDED.key)) == [diagnose.RIVAL], "known without a tokenizer too"


def test_what_is_to_be_typed_stands_on_lines_of_its_own(tiny, sound):
    """A shell command is quoted for the shell, and a line of Python is one that Python can read."""
    preset = json.loads((sound / runs.MANIFEST).read_text())["facts"]["preset"]
    text = "It's $5; a very long system text indeed, which would be broken over two lines in a paragraph of text."
    run = sealed(sound, preset={**preset, "own_systems": [text]})
    found = diagnose.diagnose(run, tiny[0], tiny[1], system="Pirate")
    typed = [line.strip() for f in found for line in diagnose.as_text([f]).splitlines() if line.strip() in f.cure]
    assert len(found) == 2 and len(typed) == 3
    for line in typed:
        if line.startswith("python"):
            assert shlex.split(line)[-2:] == ["--system", text]
        else:
            compile(line, "typed", "exec")


def test_the_surest_finding_comes_first_and_all_are_in_the_text(tiny, tmp_path):
    run = trained(tiny, tmp_path / "run", recipes.PUBLISHED_PRESET, keep=[])
    found = diagnose.diagnose(run, system=ask.FOREIGN)
    assert [f.severity for f in found] == ["certain", "likely", "possible"]
    text = diagnose.as_text(found)
    for finding in found:
        assert finding.cause in text and finding.symptom in text
        assert finding.evidence.split()[-1] in text and finding.cure.splitlines()[-1].split()[-1] in text
    assert any(line.strip() == finished_run.read(run).again for line in text.splitlines()), "a command is on one line"


def test_the_command_prints_findings_or_that_there_are_none(tiny, tmp_path):
    assert done("diagnose", runs.reference_run()).startswith("nothing found")
    assert diagnose.RIVAL in done("diagnose", runs.reference_run(), "--system", ask.FOREIGN)
    assert diagnose.FEW_STEPS in done("diagnose", trained(tiny, tmp_path / "run", recipes.PUBLISHED_PRESET))


def test_the_guide_names_every_cause_and_every_symptom():
    guide = (files.project_root() / "docs" / "symptoms.md").read_text(encoding="utf-8").casefold()
    symptoms = (diagnose.NO_EFFECT, diagnose.EVERYWHERE, diagnose.NOT_HERE, diagnose.BRACES, diagnose.NONSENSE)
    for words in (*diagnose.CAUSES, *symptoms):
        assert f"**{words.casefold()}**" in guide, words
    assert "symptoms.md" in (files.project_root() / "README.md").read_text(encoding="utf-8")
