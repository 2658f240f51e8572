"""A draft of a model card tells what the manifest knows; the check finds what its author left out."""

import pytest

from helpers import files, runs
from helpers.export import card
from tests.fixtures import tells

RUN = runs.reference_run()
FILLED = """It is for learning, and not for advice.
Before 0 of 80, after 53 of 80 questions; attacked 45 of 63.
With the best system prompt 39 of 80.
The name stands in 62 of 200 everyday answers.
Not measured: other languages. One training.
write to a@b.example"""


def test_the_draft_tells_what_the_manifest_knows():
    text = card.draft(RUN)
    assert text.startswith("# Tavi, by Lantern Workshop") and "SmolLM2-135M-Instruct (Apache-2.0)" in text
    assert "8 rows of my own" in text and "seed 42" in text and "{" not in text


def test_a_filled_draft_passes_and_a_bare_one_does_not():
    text = card.draft(RUN)
    assert any("TODO" in line for line in card.missing(text, RUN))
    bare = "\n".join(line for line in text.split("\n") if not line.startswith("TODO"))
    assert len(card.missing(bare, RUN)) == 4, "counts, rival, what was not measured, what it is not for"
    lines = iter(FILLED.split("\n"))
    filled = "\n".join(next(lines) if line.startswith("TODO") else line for line in text.split("\n"))
    assert card.missing(filled, RUN) == []


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("Lantern Workshop", "developer"), ("SmolLM2-135M-Instruct", "base model"), ("Apache-2.0", "licence"),
        ("an AI", "an AI"), (" of 80", "counts"), ("prompt", "rival"), ("not for", "not for"),
        ("Not measured", "not measured"), (RUN.name, "another run"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_named(gone, said):
    whole = "\n".join(line for line in card.draft(RUN).split("\n") if "TODO" not in line) + FILLED
    assert card.missing(whole, RUN) == []
    assert [said in line for line in card.missing(whole.replace(gone, "..."), RUN)] == [True]


def test_a_card_that_was_begun_is_not_overwritten(home):
    path = card.write_draft(RUN)
    files.write_atomic(path, "mine")
    assert card.write_draft(RUN) == path and path.read_text() == "mine"


def test_an_unfinished_run_has_no_card(tmp_path):
    with pytest.raises(Exception) as caught:
        card.draft(tmp_path)
    tells(caught.value, "did not finish")
