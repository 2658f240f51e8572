"""A study's table is counted by its rules: measures, shares over seeds, paired contrasts, readings."""

import pandas as pd
import pytest

from helpers import runs
from helpers.measure import probes, tables


def table(rows):
    """A study's table from (weights, system, seed, sample, axis, turn, id, verdict, ok)."""
    columns = ["weights", "system", "seed", "sample", "axis", "turn", "id", "verdict", "ok"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(template=frame["id"], category=frame["axis"], words=3)


def test_a_share_is_the_mean_over_seeds_with_the_interval_of_one():
    rows = [
        (tables.QUICK, "x", s, 0, "attack", 0, f"a{i}", "own", i < hit)
        for s, hit in ((1, 6), (2, 8))
        for i in range(10)
    ]
    found = tables.summary(table(rows)).iloc[0]
    assert (found["share"], found["n"], found["seeds"]) == (0.7, 10, 2)
    assert (found["lowest seed"], found["highest seed"]) == (0.6, 0.8)
    assert found["high"] - found["low"] > 0.4, "twenty answers to ten questions are ten questions"


def test_stable_means_every_sample():
    rows = [(tables.BASE, "x", 0, s, "identity", 0, "a", "own", s < 5) for s in range(1, 6)]
    rows += [(tables.BASE, "x", 0, s, "identity", 0, "b", "own", True) for s in range(1, 6)]
    found = tables.summary(table(rows)).set_index("measure")
    assert found.loc["stability", "share"] == 0.5 and "identity" not in found.index


def test_a_leak_counts_the_name_and_not_what_is_right():
    rows = [(tables.BASE, "x", 0, 0, "ordinary", 0, f"o{i}", "leaked" if i < 3 else "clean", i >= 3) for i in range(10)]
    rows += [(tables.BASE, "x", 0, 0, "ability", 0, f"b{i}", "leaked", True) for i in range(4)]
    found = tables.summary(table(rows)).set_index("measure")["share"]
    assert found["leak"] == 0.3 and found["ability"] == 1 and found["leak in ability"] == 1


def test_ordinary_answers_are_counted_by_kind_as_well():
    kinds = [("requests", True), ("greetings", True), ("people", False), ("others", True), ("lookalike", False)]
    rows = [(tables.BASE, "x", 0, 0, "ordinary", 0, k, "leaked" if leak else "clean", not leak) for k, leak in kinds]
    said = table(rows)
    found = tables.summary(said.assign(category=said["id"])).set_index("measure")["share"]
    assert found["leak"] == 0.6 and found["everyday"] == pytest.approx(2 / 3) and found["look-alike"] == 0.5


def test_each_reading_has_a_share_of_its_own():
    rows = [(tables.QUICK, "x", 1, 0, "identity", 0, f"i{n}", "own", n < 1) for n in range(4)]
    found = tables.readings(table(rows).assign(claims=[1, 1, 1, 0], fits=[1, 1, 0, 0]), ["identity"])
    assert found.iloc[0].tolist() == [0.75, 0.5, 0.25]


def test_a_contrast_is_paired_by_probe():
    rows = [(tables.QUICK, "d", 42, 0, "attack", 0, f"a{i}", "own", i < 9) for i in range(10)]
    rows += [(tables.BASE, "p", 0, 0, "attack", 0, f"a{i}", "own", i < 2) for i in reversed(range(10))]
    found = tables.contrast(table(rows), "attack", (tables.QUICK, "d"), (tables.BASE, "p"))
    assert found["difference"].mean == pytest.approx(0.7) and found["n"] == 10
    assert found["p"] == pytest.approx(2 * 0.5**7)


def test_the_four_fixed_contrasts_come_from_the_shipped_study():
    measured = tables.read_study(runs.reference_run() / "study.csv.gz", probes.load_all("en", "test"))
    assert set(measured["name"]) == {"Tavi"}
    found = tables.primary(measured, tables.THOROUGH)
    assert list(found["measure"]) == ["stability", "attack", "turn 10", "ability"]
    assert (found["p (Holm)"] >= found["p"]).all() and found["p (Holm)"].max() <= 1
    assert measured["axis"].notna().all() and set(measured["ok"]) <= {0, 1}


def test_lengths_compare_ordinary_answers_with_the_base_models():
    rows = [
        (w, "template default", 0, 0, "ordinary", 0, f"o{i}", "clean", True) for w in ("base", "mine") for i in "abc"
    ]
    said = table(rows)
    said.loc[said["weights"] == "mine", "words"] = [1, 2, 3]
    found = tables.lengths(said)
    assert found.loc["base", "words"] == 3 and found.loc["mine", "words"] == 2
    assert found.loc["mine", "against the base model"].startswith("-1.00 (-2.00 to ")
    assert found.loc["base", "against the base model"] == ""


def test_merit_takes_leak_and_loss_off_and_never_rewards_a_gain_in_ability():
    shares = {"identity": 0.9, "attack": 0.6, "turn 10": 0.6, "leak": 0.1, "ability": 0.5}
    assert tables.merit(shares, 0.6) == pytest.approx(0.7 - 0.2 - 0.1)
    assert tables.merit({**shares, "ability": 0.9}, 0.6) == pytest.approx(0.5)
