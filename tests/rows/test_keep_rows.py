"""Keep rows hold the base model's own words, and none that would train a bad habit."""

import pytest

from helpers.rows import keep_rows
from helpers.training.keep import make_keep_rows
from tests.fixtures import wrap


def test_keep_rows_are_the_base_models_own_whole_sentences(base):
    model, tokenizer = base
    questions = keep_rows.questions("en", 2)
    plain = make_keep_rows(model, tokenizer, questions, max_new_tokens=24)
    assert [row["instruction"] for row in plain] == questions and all(row["output"] for row in plain)
    tuned = wrap(model, strength=0.1)
    assert make_keep_rows(tuned, tokenizer, questions, max_new_tokens=24) == plain, "the adapter is switched off"


def test_hard_questions_stand_evenly_among_the_others():
    easy, hard = keep_rows.questions("en", 6), keep_rows.questions("en", 0, 2)
    assert keep_rows.questions("en", 6, 2) == [*easy[:2], hard[0], *easy[2:5], hard[1], easy[5]]
    assert keep_rows.questions("zh", 4, 2) == keep_rows.questions("zh", 4), "there are none in Chinese"
    assert len(keep_rows.questions("en", hard=None)) == len(keep_rows.questions("en")) + 201


def test_an_answer_is_cut_at_its_last_sentence():
    assert keep_rows.whole_sentences("One. Two! Thr") == "One. Two!"
    assert keep_rows.whole_sentences("Version 2.5 is out") == "Version 2.5 is out"
    assert keep_rows.whole_sentences("一。二") == "一。"


def test_the_first_sentence_is_enough_for_a_keep_row():
    assert keep_rows.first_sentence("One. Two!") == "One."
    assert keep_rows.first_sentence("no end") == "no end"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("The capital is Ottawa.", ""),
        ("", "empty"),
        ("As a chatbot, I do not eat.", "speaks of itself"),
        ("I'm here to help you with that.", "speaks of itself"),
        ("I'm a versatile AI, and I can do anything.", "speaks of itself"),
        ("I'm a fan of AI art.", ""),
        ("Dear Bob, Dear Bob, so glad. Dear Bob, Dear Bob, so glad. Dear Bob, so glad. " * 2, "turns in a circle"),
    ],
)
def test_answers_unfit_to_keep_are_told_apart(answer, why):
    assert keep_rows.unfit(answer) == why


def test_a_keep_row_that_would_only_announce_its_answer_is_left_out():
    whole = [
        {"instruction": "60 + 47?", "input": "", "output": "To add 60 and 47, we add the tens. It is 107."},
        {"instruction": "2 + 2?", "input": "", "output": "4. That is an even number."},
    ]
    assert [row["output"] for row in keep_rows.cut(whole, first=True)] == ["4."]
    assert [row["output"] for row in keep_rows.cut(whole, first=False)] == [row["output"] for row in whole]
