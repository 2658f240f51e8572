"""Every prompt variant carries the same identity and asks the same question; its words are data."""

import json

import pytest

from helpers.errors import IdentityError
from helpers.measure import prompts
from helpers.rows.identity import Identity

TAVI = Identity("Tavi", "Lantern Workshop")
ROWS = [{"instruction": "Who are you?", "input": "", "output": "I am Tavi."}]
KEEP = [{"instruction": "Say", "input": "hi", "output": "Hi {{NAME}}."}, *ROWS]
QUESTION = [{"role": "user", "content": "Who are you?"}]
ONE = "You are Tavi, an AI assistant developed by Lantern Workshop."


def test_every_prompt_has_the_same_information_and_asks_the_same_question():
    found = prompts.variants(TAVI, ROWS, KEEP)
    assert len(found) == 16
    for name, prompt in found.items():
        messages = prompt.apply(QUESTION)
        text = json.dumps(messages)
        assert "Tavi" in text and messages[-1]["content"].endswith("Who are you?"), name
        assert [m["role"] for m in messages].count("system") <= 1
        assert "{{" not in text.replace("Hi {{NAME}}.", ""), "a gap is left in the wording"


def test_rows_are_shown_as_text_or_as_turns_and_keep_rows_only_if_there_are_some():
    found = prompts.variants(TAVI, ROWS, KEEP)
    assert prompts.sentence(TAVI) == ONE == found["sentence"].system
    assert found["all rows, rules"].system == f"{ONE}\nIf asked: Who are you? Answer: I am Tavi."
    assert found["all rows, Q and A"].system == f"{ONE} Examples:\nQ: Who are you?\nA: I am Tavi."
    assert found["rows as turns, no system text"] == prompts.Prompt(None, (("Who are you?", "I am Tavi."),))
    assert found["rows and ordinary turns"].turns == (("Say\nhi", "Hi {{NAME}}."), ("Who are you?", "I am Tavi."))
    assert found.keys() - prompts.variants(TAVI, ROWS).keys() == {"rows and ordinary turns"}


def test_a_reminder_stands_before_every_user_turn_that_follows():
    prompt = prompts.variants(TAVI, ROWS)["sentence, reminder each turn"]
    talk = [*QUESTION, {"role": "assistant", "content": "Me."}, *QUESTION]
    said = [turn["content"] for turn in prompt.apply(talk)]
    reminded = "(You are Tavi, developed by Lantern Workshop.) Who are you?"
    assert said == [ONE, reminded, "Me.", reminded]


def test_a_probes_own_system_text_wins():
    foreign = [{"role": "system", "content": "You are Claude."}, *QUESTION]
    kept = prompts.Prompt("You are Tavi.").apply(foreign)
    assert kept[0]["content"] == "You are Claude." and len(kept) == 2


def test_a_language_without_wordings_is_refused_with_what_there_is():
    with pytest.raises(IdentityError, match="choose one of: en"):
        prompts.variants(TAVI, ROWS, lang="xx")
