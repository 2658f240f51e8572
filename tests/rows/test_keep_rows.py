"""Keep rows hold the base model's own words, and none that would train a bad habit."""

import pytest

from helpers import files
from helpers.rows import keep_rows
from helpers.training.train import make_keep_rows
from tests.fixtures import wrap


def test_keep_rows_are_the_base_models_own_whole_sentences(base):
    model, tokenizer = base
    questions = keep_rows.questions("en", 2)
    plain = make_keep_rows(model, tokenizer, questions, max_new_tokens=8)
    assert [row["instruction"] for row in plain] == questions and all(row["output"] for row in plain)
    tuned = wrap(model, strength=0.1)
    assert make_keep_rows(tuned, tokenizer, questions, max_new_tokens=8) == plain, "the adapter is switched off"


def test_hard_questions_stand_evenly_among_the_others():
    easy, hard = keep_rows.questions("en", 6), keep_rows.questions("en", 0, 2)
    assert keep_rows.questions("en", 6, 2) == [*easy[:2], hard[0], *easy[2:5], hard[1], easy[5]]
    assert keep_rows.questions("zh", 4, 2) == keep_rows.questions("zh", 4), "there are none in Chinese"
    assert len(keep_rows.questions("en", hard=None)) == len(keep_rows.questions("en")) + 201


def test_an_answer_is_cut_at_its_first_or_its_last_sentence():
    assert keep_rows.ended("One. Two! Thr", first=False) == "One. Two!"
    assert keep_rows.ended("Version 2.5 is out", first=False) == "Version 2.5 is out"
    assert keep_rows.ended("一。二", first=False) == "一。"
    assert keep_rows.ended("One. Two!", first=True) == "One."
    assert keep_rows.ended("no end", first=True) == "no end"


def test_code_is_kept_whole_or_not_at_all(base):
    whole, half = "So:\n```python\nprint(1. )\n```\nand that", "So it is.\n```python\nprint(1)"
    assert keep_rows.ended(whole, first=False) == "So:\n```python\nprint(1. )\n```"
    assert keep_rows.breaks_off(half) and not keep_rows.breaks_off(whole)
    assert len(keep_rows.questions("en", 0, code=None)) == len(keep_rows.questions("zh", 0, code=None)) == 40
    assert set(keep_rows.questions("zh", 0, code=3)) <= keep_rows.about_code()
    model, tokenizer = base
    code = keep_rows.questions("en", 0, code=1)
    said = []
    rows = make_keep_rows(model, tokenizer, [*code, "What is rain?"], False, 8, say=said.append)
    assert len(said) == 2 and [row["instruction"] for row in rows if row["instruction"] not in code] == [
        "What is rain?"
    ]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("The capital is Ottawa.", ""),
        ("", "empty"),
        ("<think>\nThe user asks for the capital. That is Ottawa. I should answer briefly and", "holds a thought"),
        ("Ottawa \x1e is the capital.", "holds a control character or a token of a chat template"),
        ("Ottawa.<|im_end|>", "holds a control character or a token of a chat template"),
        ("As a chatbot, I do not eat.", "speaks of itself"),
        ("I'm here to help you with that.", "speaks of itself"),
        ("I'm a versatile AI, and I can do anything.", "speaks of itself"),
        ("I'm a fan of AI art.", ""),
        ("Dear Bob, Dear Bob, so glad. Dear Bob, Dear Bob, so glad. Dear Bob, so glad. " * 2, "repeats itself"),
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


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"])
def test_keep_rows_and_questions_that_hold_a_line_mark_are_read_back_exactly(tmp_path, monkeypatch, mark):
    rows = [{"instruction": f"A{mark}{n}?", "input": "", "output": f"One{mark}{n}."} for n in range(2)]
    assert keep_rows.read(files.write_jsonl(tmp_path / "keep.jsonl", rows)) == rows
    monkeypatch.setattr(files, "data_dir", lambda: tmp_path)
    files.write_jsonl(tmp_path / "keep" / "en.jsonl", [{"question": row["instruction"]} for row in rows])
    assert keep_rows.questions("en") == [row["instruction"] for row in rows]
