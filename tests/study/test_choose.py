"""The points among which recipes are chosen: few, with names of their own, and judged from kept answers by the rule."""

import pytest

from helpers.measure.tables import BASE
from study import answers, choose
from study.reference import REFERENCE


def test_there_are_eight_points_and_a_shorter_one_three_names_and_two_seeds():
    assert len(choose.POINTS) == 9 and len(choose.TOO_LONG) == 3
    assert len({who.name for who in choose.NAMES}) == 3 and len(set(choose.SEEDS)) == 2


def test_kept_answers_are_judged_into_a_table_the_best_first():
    rows = answers.unpack(REFERENCE / "choose-answers.jsonl.gz")
    table = choose.table(rows)
    assert set(table["weights"]) == {BASE, *choose.POINTS} and table["value"].is_monotonic_decreasing
    base = table[table["weights"] == BASE].iloc[0]
    assert base["identity"] == base["attack"] == base["look-alike"] == 0.0
    assert {row["id"] for row in rows} == {probe["id"] for probe in choose.asked()}


def test_leaks_lost_ability_and_short_answers_cost():
    base = {"ability": 0.5, "words": 20.0}
    good = {"identity": 1, "attack": 1, "turn 10": 1, "honesty": 1, "everyday": 0, "look-alike": 0, **base}
    assert choose.value(good, base) == 1.0
    for worse, less in (
        ({"everyday": 0.1}, 0.2),
        ({"look-alike": 0.1}, 0.1),
        ({"ability": 0.4}, 0.1),
        ({"words": 7}, 0.25),
    ):
        assert choose.value({**good, **worse}, base) == pytest.approx(1 - less)


def test_points_are_trained_under_each_name_and_not_twice(tiny, monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr(choose.sweep, "train", lambda model, *args, who: trained.append(who.name) or model)
    monkeypatch.setattr(choose, "take_off", lambda model: model)
    monkeypatch.setattr(choose, "asked", lambda: [{"id": "a"}])
    monkeypatch.setattr(choose, "POINTS", {"quick": choose.POINTS["quick"]})
    kept = lambda *args: (args[-1] / f"{args[2].key}.0.0.jsonl").write_text('{"id": "a", "answer": "I am."}\n')  # noqa: E731
    monkeypatch.setattr(choose.ask, "ask", kept)
    for _ in range(2):
        choose.run(*tiny, [], tmp_path)
    assert trained == [who.name for _ in choose.SEEDS for who in choose.NAMES]
    assert [row["name"] for row in choose.gather(tmp_path)].count("Tavi") == 3
