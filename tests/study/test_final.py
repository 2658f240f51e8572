"""The questions asked once: who is asked, and the table that kept answers make."""

import pytest

from helpers.measure.tables import BASE
from study import answers, ask, choose, final
from study.reference import REFERENCE


def test_arms_are_the_base_every_recipe_with_three_seeds_and_the_chosen_two_with_new_names():
    arms = final.arms()
    assert [arm.label for arm in arms].count("quick") == len(final.SEEDS) + len(final.NAMES)
    assert {arm.label for arm in arms} == {BASE, *final.RECIPES}
    assert not {who.name for who in final.NAMES} & {who.name for who in choose.NAMES}


def test_the_chosen_recipes_are_the_best_of_those_within_the_time():
    means = choose.table(answers.unpack(REFERENCE / "choose-answers.jsonl.gz")).groupby("weights")["value"].mean()
    within = {label: value for label, value in means.items() if label not in (BASE, *choose.TOO_LONG)}
    for kind, chosen in final.CHOSEN.items():
        best = max((label for label in within if label.startswith(kind)), key=within.get)
        assert choose.POINTS[best] == chosen


def test_the_grid_trains_as_many_steps_as_its_labels_say():
    assert len(final.grid()) == len(final.RATES) * len(final.STEPS)
    for arm in final.grid():
        per_step = arm.preset.batch * arm.preset.accumulation
        assert f", {8 * arm.preset.epochs // per_step} steps" in arm.label


def test_every_arm_is_trained_once_and_leaves_a_note(tiny, monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr(final.sweep, "train", lambda model, *args, who: trained.append(who.name) or model)
    monkeypatch.setattr(final, "take_off", lambda model: model)
    monkeypatch.setattr(final.ask, "ask", lambda *args, **how: None)
    todo = [arm for arm in final.arms() if arm.label in (BASE, "quick")]
    for _ in range(2):
        notes = final.run(*tiny, [], todo, [], tmp_path)
    assert len(trained) == len(todo) - 1 and len(set(notes)) == len(todo) and all(note.exists() for note in notes)


@pytest.mark.slow
def test_kept_answers_are_of_the_frozen_questions_and_make_the_table():
    rows, found = answers.unpack(REFERENCE / final.PACKED["arms"]), final.unseen()
    assert {row["id"] for row in rows if row["sample"] == 0} == {probe["id"] for probe in found}
    table = final.table(rows, found).set_index(["weights", "system", "name", "seed"])
    assert len(table) == len(final.arms()) + len(final.PROMPTS)
    base = table.loc[(BASE, "template default", ask.WHO.name, 0)]
    assert base["identity"] == base["attack"] == base["look-alike"] == base["everyday"] == 0
    tuned = table.loc[("thorough", "template default", ask.WHO.name)].mean()
    assert tuned["turn 10"] > 0.9 and tuned["identity"] > table.loc[(BASE, "best prompt", ask.WHO.name, 0)]["identity"]
