import pytest

from helpers import files
from helpers.errors import RunError, ScenarioError
from helpers.models.load import spec_of
from helpers.scenarios import kept
from study import answers, scenarios


class Part:
    """Two arms, of which one is trained; answers without a model."""

    def __init__(self):
        self.made = []

    def labels(self, lang):
        return ["base", "tuned, twice"]

    def trained(self, label):
        return label != "base"

    def run(self, model, tokenizer, lang, seed, label, folder):
        self.made.append((label, seed))
        return [{"arm": label, "seed": seed, "id": "q1", "answer": f"{label} {seed}", "tokens": 9}]


@pytest.fixture
def part(monkeypatch):
    made = Part()
    monkeypatch.setitem(scenarios.PARTS, "company", made)
    return made


def test_what_is_trained_is_asked_with_every_seed_and_the_rest_once(part):
    assert scenarios.todo("company", "en") == [("base", 0), *(("tuned, twice", seed) for seed in scenarios.SEEDS)]
    assert scenarios.todo("company", "en", ["base"]) == [("base", 0)]


def test_a_second_process_makes_no_arm_again_and_the_last_packs_them(part, tiny, tmp_path, monkeypatch):
    (model, tokenizer), arms = tiny, scenarios.todo("company", "en")
    here = scenarios.run(model, tokenizer, "company", "en", arms[:2], tmp_path)
    scenarios.run(model, tokenizer, "company", "en", arms, tmp_path)
    assert part.made == arms
    monkeypatch.setattr(kept, "path", lambda *names: tmp_path / "packed.jsonl.gz")
    scenarios.keep("company", "any", "en", here)
    found = kept.load("company", "any", "en")
    assert {(row["arm"], row["seed"]) for row in found} == set(arms)
    assert all(row["device"] for row in found)


def test_an_arm_that_another_process_holds_is_left_to_it(part, tiny, tmp_path):
    model, tokenizer = tiny
    here = files.make_dir(tmp_path / f"company-{spec_of(model).key}-en")
    with answers.claimed(here / "base.0.jsonl"), pytest.raises(RunError, match=r"base\.0"):
        scenarios.run(model, tokenizer, "company", "en", [("base", 0)], tmp_path)
    assert part.made == []


def test_a_model_that_was_not_asked_is_named_with_those_that_were():
    with pytest.raises(ScenarioError, match="no answers of this model"):
        kept.load("company", "Nobody-1B", "en")
