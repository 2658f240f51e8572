"""A quiz has one right answer a question, tells why, and reads well without a kernel."""

import json

import pytest

from helpers import files
from helpers.errors import HelpersError
from helpers.widgets import quiz

NAMES = sorted(path.stem for path in (files.data_dir() / "quiz").glob("*.json"))
TWO = [
    quiz.Question("Is 1 < 2?", ("yes", "no"), 0, ("It is.", "Count again.")),
    quiz.Question("Is 2 < 1?", ("yes", "no"), 1, ("Count again.", "It is not.")),
]


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_question_has_one_right_answer_and_says_why(name):
    questions = quiz.read(name)
    assert 4 <= len(questions) <= 6
    assert all(3 <= len(one.answers) <= 4 and len(set(one.answers)) == len(one.answers) for one in questions)
    assert len({one.right for one in questions}) > 1, "the right answer is not always at the same place"


def test_an_answer_tells_why_and_only_the_first_try_counts():
    box = quiz.QuizBox(TWO)
    box.answer(0, 1)
    assert "Not this one. Count again." in box.said[0].value and not box.score.value
    box.buttons[0][0].click()
    assert "Right. It is." in box.said[0].value
    assert [one.button_style for one in box.buttons[0]] == ["success", ""]
    box.answer(1, 1)
    assert "1 of 2" in box.score.value


def test_without_a_kernel_the_answers_are_folded_away_and_texts_are_escaped():
    html = quiz.as_html(TWO)
    assert html.count("<details>") == 2 and "Is 1 &lt; 2?" in html
    assert html.index("<summary>") < html.index("Count again.")


def test_a_quiz_that_is_missing_or_broken_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "data_dir", lambda: tmp_path)
    (tmp_path / "quiz").mkdir()
    broken = [{"question": "?", "answers": [{"text": "a", "right": True, "why": "b"}] * 2}]
    (tmp_path / "quiz" / "03.json").write_text("[]")
    with pytest.raises(HelpersError, match=r"no quiz '04'.*03"):
        quiz.read("04")
    for text in (json.dumps(broken), "{", '[{"question": "?"}]'):
        (tmp_path / "quiz" / "03.json").write_text(text)
        with pytest.raises(HelpersError, match="mark one of them as right"):
            quiz.read("03")
