"""What is trained and asked: every arm once, whoever makes it, and nothing that is kept is made again."""

import pytest

from helpers.errors import RunError
from helpers.measure.tables import BASE, QUICK
from study import answers, arms, ask, choose
from tests.fixtures import tells
from tests.study.conftest import FEW


def test_the_base_every_recipe_with_three_seeds_and_the_chosen_two_with_new_names():
    todo = arms.unseen()
    assert [arm.label for arm in todo].count(QUICK) == len(arms.SEEDS) + len(arms.NAMES)
    assert {arm.label for arm in todo} == {BASE, *arms.RECIPES}
    assert len({arm.key for arm in todo}) == len(todo)
    assert not {who.name for who in arms.NAMES} & {who.name for who in choose.NAMES}


def test_the_grid_trains_as_many_steps_as_its_labels_say():
    assert len(arms.grid()) == len(arms.RATES) * len(arms.STEPS)
    for arm in arms.grid():
        per_step = arm.preset.batch * arm.preset.accumulation
        assert f", {8 * arm.preset.epochs // per_step} steps" in arm.label


@pytest.fixture
def trained(monkeypatch):
    """The names that models are trained for, without training."""
    names = []
    monkeypatch.setattr(arms, "train", lambda model, *args, who, lang: names.append(who.name) or model)
    monkeypatch.setattr(arms, "take_off", lambda model: model)
    return names


def test_every_arm_is_trained_and_asked_once_and_the_base_under_every_prompt(asked, trained, tmp_path):
    todo = [arm for arm in arms.unseen() if arm.label in (BASE, QUICK)]
    for _ in range(2):
        arms.run(None, None, [], todo, FEW["test"][:2], tmp_path, prompts={"firm": ask.PLAIN})
    assert sorted(trained) == sorted(arm.who.name for arm in todo[1:])
    rows = arms.gather(tmp_path)
    assert len(rows) == len(asked) == 2 * (len(todo) + 1)
    assert {row["system"] for row in rows if row["weights"] == BASE} == {"template default", "firm"}
    assert {row["name"] for row in rows} == {"Tavi", *(who.name for who in arms.NAMES)}


def test_with_talks_questions_about_identity_are_sampled_and_talks_gone_through(asked, trained, tmp_path):
    talk = {"id": "talk", "kind": "technical", "lang": "en", "split": "test", "question": "Who?", "expect": "name"}
    talk["turns"] = [{"user": f"{n}?", "assistant": "Yes."} for n in range(3)]
    arms.run(None, None, [], [arms.Arm(BASE)], FEW["test"], tmp_path, talks=[talk])
    samples = [row["sample"] for row in arms.gather(tmp_path)]
    assert [samples.count(n) for n in (-1, 0, 1, 5)] == [3, len(FEW["test"]), 3, 3]


def test_two_processes_share_a_folder_and_the_one_that_ends_first_says_so(asked, trained, tmp_path):
    todo = [arm for arm in arms.unseen() if arm.label in (BASE, QUICK)][:2]
    (tmp_path / "Tavi").mkdir()
    with answers.claimed(tmp_path / f"{todo[1].key}.json"), pytest.raises(RunError) as caught:
        arms.run(None, None, [], todo, FEW["test"][:2], tmp_path)
    tells(caught.value, "other processes still work on quick-42")
    assert not trained and {row["weights"] for row in arms.gather(tmp_path)} == {BASE}
    arms.run(None, None, [], todo, FEW["test"][:2], tmp_path)
    assert trained == ["Tavi"]
