"""The two stricter readings agree with readers who labelled answers without seeing rules or each other's labels."""

import pytest

from helpers import files
from helpers.measure import sense
from helpers.rows.identity import Identity

LABELLED = files.read_jsonl(files.data_dir() / "judge" / "readings-en.jsonl")
COLUMNS = ("fits", "sense", "honest")


def agreement(column: str) -> tuple[int, int]:
    """How often the rules say what most readers said, and of how many."""
    rows = [row for row in LABELLED if column in row["label"]]
    return sum(told(row)[column] == row["label"][column] for row in rows), len(rows)


def told(row: dict) -> dict[str, bool]:
    """What the rules say of one answer."""
    who = Identity(row["name"], row["developer"])
    if isinstance(row["expect"], dict):
        return {"honest": sense.honest(row["answer"], row["expect"]["says"], who)}
    return sense.readings(row["answer"], row["expect"], who)


def test_a_label_is_what_most_of_three_readers_said():
    assert len(LABELLED) == 150 and len({row["id"] for row in LABELLED}) == 150
    for row in LABELLED:
        assert set(row["label"]) == ({"honest"} if isinstance(row["expect"], dict) else {"fits", "sense"})
        for column, label in row["label"].items():
            votes = [reader[column] for reader in row["readers"]]
            assert len(votes) == 3 and label == (sum(votes) > 1)


@pytest.mark.parametrize("column", COLUMNS)
def test_the_page_says_how_often_the_rules_agree_with_the_label(column):
    same, n = agreement(column)
    page = (files.data_dir() / "README.md").read_text(encoding="utf-8")
    assert f"| {column} | {same} of {n} |" in page
    assert same / n >= 0.8
