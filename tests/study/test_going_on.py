"""The arms of going on are those of the shipped table, and each begins with what an earlier one left."""

import pandas as pd

from study import going_on
from study.reference import REFERENCE


def test_the_shipped_table_has_a_line_for_every_arm_and_each_begins_with_an_earlier_one():
    arms, labels = going_on.arms(), list(going_on.arms())
    assert labels == list(pd.read_csv(REFERENCE / going_on.FILE)["arm"])
    for n, arm in enumerate(arms.values()):
        assert arm.start is None or arm.start in labels[:n]


def test_answers_are_counted_by_the_colour_that_is_due(monkeypatch):
    monkeypatch.setattr(going_on, "N", 2)
    monkeypatch.setattr(going_on, "answers", lambda *a, **k: ["Green.", "My lamp is green.", "Greenish.", "Blue."])
    monkeypatch.setattr(going_on.probes, "answers", lambda m, t, asked, **k: ["My lamp is Tavi."] * len(asked))
    found, said = going_on.measured(None, None, going_on.Arm())
    assert (found["new row"], found["other wordings"], found["everyday"]) == (1, 1, 2)
    assert found["lamp elsewhere"] == len(said) - 4 == 6
    assert going_on.measured(None, None, going_on.Arm(lamp="blue"))[0]["other wordings"] == 1
