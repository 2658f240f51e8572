"""Rows reach the trained tokens as they were written, and what a run amounts to is known before it."""

from dataclasses import replace

import pytest
from transformers import TrainerCallback

from helpers.chat import generate
from helpers.errors import IdentityError
from helpers.models.load import context_length
from helpers.rows import identity, trainset
from helpers.rows.identity import Identity
from helpers.training import recipes
from helpers.training.train import build_trainer
from tests.fixtures import QUIET, ROWS, tells

TAVI = Identity("Tavi", "Lantern Workshop")
PLAIN = recipes.BARE_PRESET


def test_copies_system_texts_and_keep_rows_stand_in_the_dataset_as_the_preset_says():
    keep = [{"instruction": "2 + 2?", "input": "", "output": "4."}]
    data = trainset.to_dataset(
        ROWS, keep, recipes.Preset(own_systems=(None, None, ""), late_identity_rows=0, late_keep_rows=0)
    )
    prompts = [row["prompt"] for row in data]
    assert len(data) == 3 * len(ROWS) + 1
    assert sum(prompt[0] == {"role": "system", "content": ""} for prompt in prompts) == len(ROWS)
    assert [row["completion"][0]["content"] for row in data].count(ROWS[0]["output"]) == 3
    assert data[-1]["completion"] == [{"role": "assistant", "content": "4."}]


def test_further_rows_take_the_system_texts_in_turn():
    preset = recipes.Preset(
        own_systems=(None,), systems=(None, "", "Be brief."), late_identity_rows=0, late_keep_rows=0
    )
    data = trainset.to_dataset(ROWS[:1], [], preset, ROWS)
    systems = [row["prompt"][0]["content"] if len(row["prompt"]) > 1 else None for row in data]
    assert systems == [None, None, "", "Be brief.", None]


def test_rows_come_once_more_later_in_a_conversation_and_only_their_own_answer_is_trained():
    keep = [{"instruction": f"{n} + {n}?", "input": "", "output": f"{n + n}."} for n in range(3)]
    preset = recipes.Preset(
        own_systems=(None,), systems=(None, "Be brief."), late_identity_rows=len(ROWS), late_keep_rows=2
    )
    data = list(trainset.to_dataset(ROWS, keep, preset))
    late, about_keep = data[len(ROWS) + 3 : -2], data[-2:]
    assert [talk["completion"][0]["content"] for talk in late] == [row["output"] for row in ROWS]
    roles = [[turn["role"] for turn in talk["prompt"]] for talk in late[:3]]
    assert roles[0] == ["user", "assistant", "user"]
    assert roles[1] == ["system", *["user", "assistant"] * 2, "user"]
    assert roles[2] == [*["user", "assistant"] * 3, "user"]
    before = {turn["content"] for talk in late for turn in talk["prompt"][:-1] if turn["role"] == "assistant"}
    assert before <= {row["output"] for row in keep}
    assert [talk["completion"][0]["content"] for talk in about_keep] == ["4.", "2."]
    assert about_keep[0]["prompt"][1]["content"] == ROWS[0]["output"]


def test_with_halves_identity_and_other_rows_take_turns_and_the_fewer_come_again():
    keep = [{"instruction": f"{n} + {n}?", "input": "", "output": f"{n + n}."} for n in range(20)]
    preset = replace(recipes.Preset(), own_systems=(None,), late_identity_rows=0, late_keep_rows=0, halves=True)
    said = [row["completion"][0]["content"] for row in trainset.to_dataset(ROWS, keep, preset)]
    about, others = said[::2], said[1::2]
    assert set(about) == {row["output"] for row in ROWS} and sorted(others) == sorted(row["output"] for row in keep)
    assert others != [row["output"] for row in keep], "they are shuffled"
    assert trainset.plan(len(ROWS), 20, preset).rows == len(said) == 40
    assert trainset.plan(len(ROWS), 20, preset).about == 20


def test_a_conversation_as_a_whole_has_to_fit(tiny):
    rows = [{**ROWS[0], "output": "word " * 150}]
    keep = [{"instruction": f"{n}?", "input": "", "output": "word " * 150} for n in range(3)]
    data = trainset.to_dataset(rows, keep, recipes.Preset())
    assert trainset.check_lengths([*rows, *keep], tiny[1], 250) < 250
    with pytest.raises(IdentityError) as caught:
        trainset.check_fit(data, tiny[1], 250)
    tells(caught.value, "only 250 fit")
    assert "shorten" in caught.value.cure
    trainset.check_fit(data, tiny[1], 2000)


def test_loss_falls_on_exactly_the_answer_and_its_end_token(tiny, tmp_path):
    """Decoded from the batches that TRL's own processing makes, with and without a system text."""
    model, tokenizer = tiny
    preset = recipes.Preset(own_systems=(None, ""))
    rows = [
        *ROWS,
        {"instruction": "Say it in Chinese", "input": "Who are you?", "output": "我是 Tavi。\n\n- One\n- Two"},
    ]
    data = trainset.to_dataset(rows, [], preset)
    trainer = build_trainer(model, tokenizer, data, tmp_path, preset, **QUIET)
    prompts, trained = [], []
    for example in trainer.train_dataset:
        batch = trainer.data_collator([example])
        labels, ids = batch["labels"][0], batch["input_ids"][0]
        learned = labels != -100
        assert (labels[learned] == ids[learned]).all()
        trained.append(tokenizer.decode(ids[learned]))
        prompts.append(tokenizer.decode(ids[~learned]))
    end = tokenizer.eos_token
    assert [text.removesuffix("\n") for text in trained] == [row["output"] + end for row in rows] * 2
    assert sum("SmolLM" in prompt for prompt in prompts) == len(rows), "the rival is read in one copy only"


class StopAtOnce(TrainerCallback):
    """Ends a training after its first step: how many steps it would make is known by then."""

    def on_step_end(self, args, state, control, **_):
        control.should_training_stop = True


@pytest.mark.parametrize(
    ("identity_rows", "keep", "preset", "steps"),
    [
        (8, 0, recipes.PUBLISHED_PRESET, 10),
        (8, 20, recipes.Preset(), 80),
        (5, 2, replace(recipes.BARE_PRESET, batch=2, accumulation=3, epochs=2), 4),
    ],
    ids=["as published", "default, fewer keep rows", "a last step that is not full"],
)
def test_the_steps_worked_out_before_are_those_the_trainer_makes(tiny, tmp_path, identity_rows, keep, preset, steps):
    model, tokenizer = tiny
    rows = [
        {"instruction": f"Question {n}?", "input": "", "output": f"Answer {n}."} for n in range(identity_rows + keep)
    ]
    planned = trainset.plan(identity_rows, keep, preset)
    data = trainset.to_dataset(rows[:identity_rows], rows[identity_rows:], preset)
    callbacks = [StopAtOnce()] if steps > 4 else []
    trainer = build_trainer(model, tokenizer, data, tmp_path, preset, callbacks, save_strategy="no", **QUIET)
    trainer.train()
    assert trainer.state.max_steps == planned.steps == steps
    assert trainer.state.global_step == (1 if callbacks else steps)
    assert (planned.rows, planned.exposures) == (len(data), len(preset.own_systems) * preset.epochs)
    own = {row["output"] for row in rows[:identity_rows]}
    assert planned.about == sum(one["completion"][0]["content"] in own for one in data)


def test_the_trained_tokens_are_the_answer_and_its_end(embedded):
    found = trainset.trained_pieces(ROWS[0], embedded[1])
    assert "".join(text for text, on in found if on) == ROWS[0]["output"] + "<|im_end|>\n"
    assert "Who are you?" in "".join(text for text, on in found if not on)


@pytest.mark.parametrize(
    "text", ["😀 Tavi 👩‍🚀🇨🇭!", "我是小灯，龘龘。", "Zoë, cafe\u0301", "a\u2028b \ufffd", "x  y\n\nz"]
)
def test_no_token_is_shown_as_half_a_character(embedded, text):
    tokenizer, row = embedded[1], {"instruction": f"Say {text}", "input": "", "output": text}
    found = trainset.trained_pieces(row, tokenizer)
    one = trainset.example(row)
    whole = tokenizer.apply_chat_template([*one["prompt"], *one["completion"]], tokenize=False)
    assert "".join(piece for piece, _ in found) == whole
    assert len(found) == len(tokenizer(whole, add_special_tokens=False)["input_ids"])
    assert "".join(piece for piece, on in found if on) == text + "<|im_end|>\n"


def test_every_shipped_row_and_keep_question_fits(embedded):
    model, tokenizer = embedded
    longest = trainset.check_lengths(
        identity.read_rows(identity.shipped_rows("en"), TAVI), tokenizer, context_length(model)
    )
    turns = [turn for part in trainset.to_dataset(ROWS[:1], [], PLAIN)[0].values() for turn in part]
    ids = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)["input_ids"]
    assert trainset.check_lengths(ROWS[:1], tokenizer, 2048) == len(ids) <= longest < recipes.Preset().max_length


def test_the_rendered_prompt_of_a_row_is_the_one_the_model_is_asked_with(embedded):
    """Training and asking use the same template, so what was learned is what is asked for."""
    tokenizer = embedded[1]
    example = trainset.example(ROWS[0])
    assert generate.render(tokenizer, example["prompt"]) == generate.render(
        tokenizer, generate.as_messages(ROWS[0]["instruction"])
    )


def test_the_exchanges_of_a_dialogue_stand_before_its_question_and_only_the_answer_is_trained():
    row = {"instruction": "And then?", "input": "", "output": "What do you think?", "history": [["Hello", "Hi"]]}
    one = trainset.example(row, "Be short.", before=ROWS[:1])
    said = [turn["content"] for turn in one["prompt"]]
    assert said == ["Be short.", trainset.question_of(ROWS[0]), ROWS[0]["output"], "Hello", "Hi", "And then?"]
    assert one["completion"] == [{"role": "assistant", "content": "What do you think?"}]
