"""The points among which recipes were chosen: few, with names of their own, and judged by the rule."""

import pandas as pd
import pytest

from helpers.measure.tables import BASE
from study import answers, arms, choose, tables
from study.reference import REFERENCE


def test_there_are_eight_points_and_a_shorter_one_three_names_and_two_seeds():
    assert len(choose.POINTS) == 9 and set(choose.TOO_LONG) < set(choose.POINTS)
    assert len({who.name for who in choose.NAMES}) == 3 and len(set(choose.SEEDS)) == 2
    assert len(choose.arms()) == 1 + 6 * 6 and choose.arms()[0].preset is None


def test_the_chosen_recipes_are_the_best_of_those_within_the_time():
    table = pd.read_csv(REFERENCE / "choose.csv").set_index("point")
    assert set(table.index) == {BASE, *choose.POINTS}
    within = table[~table["too long"]]["value"].drop(BASE)
    for kind, chosen in choose.CHOSEN.items():
        assert max((point for point in within.index if point.startswith(kind)), key=within.get) == chosen
        assert choose.POINTS[chosen] == arms.CHOSEN[kind]


@pytest.mark.slow
def test_the_table_is_what_the_kept_answers_give():
    rows = answers.unpack(REFERENCE / "choose-answers.jsonl.gz")
    assert {row["id"] for row in rows} <= {probe["id"] for probe in choose.asked()}
    few = [row for row in rows if row["weights"] in (BASE, "quick")]
    shipped = pd.read_csv(REFERENCE / "choose.csv").set_index("point")
    made = tables.points(few).set_index("point")
    columns = [column for column in made if column != "too long"]
    pd.testing.assert_frame_equal(made[columns], shipped.loc[made.index, columns], check_dtype=False)


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
