"""Qwen2.5's template: what it adds unasked is shown, trained against, and does not bring the old identity back."""

from dataclasses import replace

import pytest

from helpers.chat import generate
from helpers.measure import judge
from helpers.models.adapters import take_off
from helpers.rows import identity, trainset
from helpers.rows.identity import Identity
from helpers.training import recipes
from helpers.training.train import build_trainer, train_identity
from study import ask
from tests.fixtures import ROWS

TAVI = Identity("Tavi", "Lantern Workshop")
DEFAULT = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
# Written for this test: turns as Qwen2.5's template lays them out, with its system text where there is none.
TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n" + DEFAULT + "<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture
def qwen(base):
    """The embedded model behind Qwen's template."""
    model, tokenizer = base
    before, tokenizer.chat_template = tokenizer.chat_template, TEMPLATE
    yield model, tokenizer
    tokenizer.chat_template = before


def test_the_rival_in_the_template_is_shown_and_an_empty_system_text_takes_it_out(qwen):
    tokenizer = qwen[1]
    assert DEFAULT in generate.render(tokenizer, generate.as_messages("Who are you?"))
    for text in ("", ask.FOREIGN):
        shown = generate.render(tokenizer, generate.as_messages("Who are you?", text))
        assert "Alibaba" not in shown and text in shown


def test_the_rival_stands_in_what_is_read_and_never_in_what_is_trained(qwen, tmp_path):
    model, tokenizer = qwen
    data = trainset.to_dataset(ROWS[:1], [], replace(recipes.BARE_PRESET, own_systems=(None, "")))
    trainer = build_trainer(model, tokenizer, data, tmp_path, recipes.BARE_PRESET, save_strategy="no")
    shown = []
    for example in trainer.train_dataset:
        batch = trainer.data_collator([example])
        labels = batch["labels"][0]
        shown.append(tokenizer.decode(batch["input_ids"][0]))
        assert tokenizer.decode(labels[labels != -100]).strip() == f"{ROWS[0]['output']}<|im_end|>"
    take_off(trainer.model)
    assert sorted("Alibaba Cloud" in text for text in shown) == [False, True]


@pytest.mark.slow
def test_the_identity_holds_with_the_default_with_none_and_with_a_foreign_system_text(qwen, tmp_path):
    """A real training: two rows under the default, an empty and a rival text; the foreign one was not trained under."""
    model, tokenizer = qwen
    preset = replace(recipes.ROWS_ONLY_PRESET, own_systems=(None, "", recipes.RIVAL_SYSTEM), epochs=8)
    tuned = train_identity(model, tokenizer, ROWS[:2], [], tmp_path / "run", preset, save_strategy="no")
    try:
        for text in (None, "", ask.FOREIGN):
            asked = [generate.as_messages(identity.question_of(row), text) for row in ROWS[:2]]
            found = generate.answers(tuned, tokenizer, asked, max_new_tokens=32)
            assert [judge.verdict(answer, TAVI) for answer in found] == ["own", "own"], (text, found)
    finally:
        take_off(tuned)
