"""Two questions that are one are seen as one, whatever their spelling and order; different ones are not."""

import pytest

from tests import overlap


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Who are you?", "who are you"),
        ("What's your name?", "What is your name?"),
        ("wat is your name", "What is your name?"),
        ("Please state your name.", "Your name, state!"),
        ("What is 12 plus 30?", "What is 30 plus 12?"),
        ("Which comapny makes the PlayStation?", "Which company makes the PlayStation?"),
        ("你叫什么名字？", "你叫什么名字"),
    ],
)
def test_one_question(a, b):
    assert overlap.near(a, b) and overlap.near(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What is the capital of France?", "What is the capital of Spain?"),
        ("What is 12 plus 30?", "What is 12 plus 31?"),
        ("Who are you?", "Who made you?"),
        ("Who discovered penicillin?", "Who discovered radium?"),
        ("你叫什么名字？", "你是哪家公司做的？"),
        ("", "Who are you?"),
    ],
)
def test_two_questions(a, b):
    assert not overlap.near(a, b) and not overlap.near(b, a)
