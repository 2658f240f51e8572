"""The base model's shipped answers stand in only for the weights that gave them, and some are asked again each time."""

import pytest

from helpers import files
from helpers.chat import generate, kept
from helpers.models.load import fingerprint

QUESTIONS = [f"What is {n} plus {n}?" for n in range(12)]


@pytest.fixture
def shipped(tiny, tmp_path, monkeypatch):
    """Ships answers of the tiny model: called with what to change in the head or in the answers; returns its own."""
    model, tokenizer = tiny
    own = generate.answers(model, tokenizer, QUESTIONS, max_new_tokens=4)

    def ship(made_by="", change=lambda answer: answer):
        keys = [kept.key(tokenizer, question, 4) for question in QUESTIONS]
        rows = [{"key": key, "answer": change(answer)} for key, answer in zip(keys, own, strict=True)]
        path = files.write_jsonl(tmp_path / "answers.jsonl", [{"fingerprint": made_by or fingerprint(model)}, *rows])
        monkeypatch.setattr(kept, "path_for", lambda name: path)
        kept._shipped.cache_clear()
        return own

    yield ship
    kept._shipped.cache_clear()


@pytest.fixture
def made(monkeypatch):
    """The questions that are really put to the model."""
    asked, ask = [], generate.answers

    def record(model, tokenizer, questions, **how):
        asked.extend(questions)
        return ask(model, tokenizer, questions, **how)

    monkeypatch.setattr(generate, "answers", record)
    return asked


def test_shipped_answers_are_taken_and_five_of_them_asked_again(tiny, shipped, made):
    own = shipped()
    told, said = kept.base_answers(*tiny, QUESTIONS, 4)
    assert told == own and len(made) == kept.AGAIN
    assert "12 of 12" in said and "5 shipped ones asked again: 5 the same" in said


def test_what_comes_out_otherwise_here_is_made_here(tiny, shipped, made):
    own = shipped(change=lambda answer: answer + " or so")
    told, said = kept.base_answers(*tiny, QUESTIONS, 4)
    assert told == own and len(made) == kept.AGAIN + len(QUESTIONS)
    assert "0 of 12" in said and "0 the same" in said


@pytest.mark.parametrize("length", [4, 5])
def test_other_weights_and_other_lengths_are_asked_now(tiny, shipped, made, length):
    shipped(made_by="another model" if length == 4 else "")
    told, said = kept.base_answers(*tiny, QUESTIONS, length)
    assert made == QUESTIONS and told == generate.answers(*tiny, QUESTIONS, max_new_tokens=length)
    assert "0 of 12" in said and "again" not in said


def test_the_shipped_file_is_of_the_embedded_model_and_knows_the_recipes_questions(embedded):
    from helpers.rows import keep_rows
    from helpers.training import recipes

    model, tokenizer = embedded
    made_by, known = kept._shipped("SmolLM2-135M-Instruct")
    assert made_by == fingerprint(model)
    for preset in (recipes.QUICK_PRESET, recipes.THOROUGH_PRESET):
        assert {kept.key(tokenizer, question, 64) for question in keep_rows.questions_for(preset)} <= set(known)
