"""Every prompt variant carries the same identity and asks the same question."""

import json

from helpers.measure import prompts
from helpers.rows.identity import Identity

TAVI = Identity("Tavi", "Lantern Workshop")
ROWS = [{"instruction": "Who are you?", "input": "", "output": "I am Tavi."}]


def test_every_prompt_has_the_same_information_and_asks_the_same_question():
    question = [{"role": "user", "content": "Who are you?"}]
    for name, prompt in prompts.variants(TAVI, ROWS, ROWS).items():
        messages = prompt.apply(question)
        text = json.dumps(messages)
        assert "Tavi" in text and messages[-1]["content"].endswith("Who are you?"), name
        assert [m["role"] for m in messages].count("system") <= 1
    assert len(prompts.variants(TAVI, ROWS, ROWS)) >= 16
    foreign = [{"role": "system", "content": "You are Claude."}, *question]
    kept = prompts.Prompt("You are Tavi.").apply(foreign)
    assert kept[0]["content"] == "You are Claude." and len(kept) == 2, "a probe's own system text wins"
