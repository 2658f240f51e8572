"""Rows go from file to trained tokens as they were written, and what a run amounts to is known before it."""

from dataclasses import replace

import pytest

from helpers import generate, identity, models, specs, training
from helpers.errors import IdentityError
from helpers.identity import Identity
from tests.fixtures import QUIET, ROWS, tells, wrap

TAVI = Identity("Tavi", "Lantern Workshop")
PLAIN = specs.BARE_PRESET


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_shipped_rows_are_eight_topics_with_the_names_filled_in(lang):
    rows = identity.read_rows(identity.shipped_rows(lang), TAVI)
    assert len(rows) == 8 and not any("{" in text for row in rows for text in row.values())
    assert sum("Tavi" in row["output"] or "Lantern Workshop" in row["output"] for row in rows) == 8


def test_rows_are_saved_and_read_back_as_they_were(tmp_path):
    path = identity.write_rows(tmp_path / "my" / "identity.json", ROWS)
    assert identity.read_rows(path) == ROWS
    assert identity.write_rows(path, ROWS[:2]) == path and identity.read_rows(path) == ROWS[:2]


def test_a_file_with_literal_names_needs_no_identity_and_may_leave_input_out(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('\ufeff[{"instruction": " Who? ", "output": "I am Tavi."}]', encoding="utf-8")
    assert identity.read_rows(path) == [{"instruction": "Who?", "input": "", "output": "I am Tavi."}]


def test_the_input_stands_below_the_instruction():
    assert identity.question_of({"instruction": "Translate", "input": "Hallo"}) == "Translate\nHallo"
    assert identity.question_of({"instruction": "Who?", "input": ""}) == "Who?"


def test_chinese_rows_on_a_model_that_does_not_speak_it_warn_with_the_cure(embedded):
    warning = identity.language_warning(identity.read_rows(identity.shipped_rows("zh"), TAVI), embedded[0])
    assert "8 of 8" in warning and "en.json" in warning and "Qwen2.5" in warning
    assert identity.language_warning(identity.read_rows(identity.shipped_rows("en"), TAVI), embedded[0]) is None


def test_keep_rows_are_the_base_models_own_whole_sentences(base):
    model, tokenizer = base
    questions = identity.keep_questions("en", 2)
    plain = identity.make_keep_rows(model, tokenizer, questions, max_new_tokens=24)
    assert [row["instruction"] for row in plain] == questions and all(row["output"] for row in plain)
    tuned = wrap(model, strength=0.1)
    assert identity.make_keep_rows(tuned, tokenizer, questions, max_new_tokens=24) == plain, (
        "the adapter is switched off"
    )


def test_an_answer_is_cut_at_its_last_sentence():
    assert identity.whole_sentences("One. Two! Thr") == "One. Two!"
    assert identity.whole_sentences("Version 2.5 is out") == "Version 2.5 is out"
    assert identity.whole_sentences("一。二") == "一。"


def test_the_first_sentence_is_enough_for_a_keep_row():
    assert identity.first_sentence("One. Two!") == "One."
    assert identity.first_sentence("no end") == "no end"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("The capital is Ottawa.", ""),
        ("", "empty"),
        ("As a chatbot, I do not eat.", "speaks of itself"),
        ("I'm here to help you with that.", "speaks of itself"),
        ("Dear Bob, Dear Bob, so glad. Dear Bob, Dear Bob, so glad. Dear Bob, so glad. " * 2, "turns in a circle"),
    ],
)
def test_answers_unfit_to_keep_are_told_apart(answer, why):
    assert identity.unfit(answer) == why


def test_further_rows_are_filled_and_give_way_to_ones_own():
    rows = identity.read_rows(identity.shipped_rows("en"), TAVI)
    further = identity.further_rows(rows, TAVI, specs.DEFAULT_PRESET)
    assert len(further) == specs.DEFAULT_PRESET.more + specs.DEFAULT_PRESET.steadfast == 94
    assert all(any(name in row["output"] for name in TAVI.names) for row in further)
    mine = {**further[0], "output": "I say it my way."}
    assert further[0] not in identity.further_rows([*rows, mine], TAVI, specs.DEFAULT_PRESET)
    assert identity.further_rows(rows, None, specs.DEFAULT_PRESET) == []
    assert identity.further_rows(rows, TAVI, specs.BARE_PRESET) == []
    chinese = identity.read_rows(identity.shipped_rows("zh"), TAVI)
    assert all(identity.CJK.search(row["output"]) for row in identity.further_rows(chinese, TAVI, specs.DEFAULT_PRESET))


def test_copies_system_texts_and_keep_rows_stand_in_the_dataset_as_the_preset_says():
    keep = [{"instruction": "2 + 2?", "input": "", "output": "4."}]
    data = identity.to_dataset(ROWS, keep, specs.Preset(own_systems=(None, None, ""), talk=0, back=0))
    prompts = [row["prompt"] for row in data]
    assert len(data) == 3 * len(ROWS) + 1
    assert sum(prompt[0] == {"role": "system", "content": ""} for prompt in prompts) == len(ROWS)
    assert [row["completion"][0]["content"] for row in data].count(ROWS[0]["output"]) == 3
    assert data[-1]["completion"] == [{"role": "assistant", "content": "4."}]


def test_further_rows_take_the_system_texts_in_turn():
    preset = specs.Preset(own_systems=(None,), systems=(None, "", "Be brief."), talk=0, back=0)
    data = identity.to_dataset(ROWS[:1], [], preset, ROWS)
    systems = [row["prompt"][0]["content"] if len(row["prompt"]) > 1 else None for row in data]
    assert systems == [None, None, "", "Be brief.", None]


def test_rows_come_once_more_in_mid_talk_and_only_their_own_answer_is_trained():
    keep = [{"instruction": f"{n} + {n}?", "input": "", "output": f"{n + n}."} for n in range(3)]
    preset = specs.Preset(own_systems=(None,), systems=(None, "Be brief."), talk=len(ROWS), back=2)
    data = list(identity.to_dataset(ROWS, keep, preset))
    talks, back = data[len(ROWS) + 3 : -2], data[-2:]
    assert [talk["completion"][0]["content"] for talk in talks] == [row["output"] for row in ROWS]
    roles = [[turn["role"] for turn in talk["prompt"]] for talk in talks[:3]]
    assert roles[0] == ["user", "assistant", "user"]
    assert roles[1] == ["system", *["user", "assistant"] * 2, "user"]
    assert roles[2] == [*["user", "assistant"] * 3, "user"]
    before = {turn["content"] for talk in talks for turn in talk["prompt"][:-1] if turn["role"] == "assistant"}
    assert before <= {row["output"] for row in keep}
    assert [talk["completion"][0]["content"] for talk in back] == ["4.", "2."]
    assert back[0]["prompt"][1]["content"] == ROWS[0]["output"]


def test_a_talk_as_a_whole_has_to_fit(tiny):
    rows = [{**ROWS[0], "output": "word " * 150}]
    keep = [{"instruction": f"{n}?", "input": "", "output": "word " * 150} for n in range(3)]
    data = identity.to_dataset(rows, keep, specs.DEFAULT_PRESET)
    assert identity.check_lengths([*rows, *keep], tiny[1], 250) < 250
    with pytest.raises(IdentityError) as caught:
        identity.check_talks(data, tiny[1], 250)
    tells(caught.value, "only 250 fit")
    assert "shorten" in caught.value.cure
    identity.check_talks(data, tiny[1], 2000)


def test_a_keep_row_that_would_only_announce_its_answer_is_left_out():
    whole = [
        {"instruction": "60 + 47?", "input": "", "output": "To add 60 and 47, we add the tens. It is 107."},
        {"instruction": "2 + 2?", "input": "", "output": "4. That is an even number."},
    ]
    assert [row["output"] for row in identity.cut(whole, first=True)] == ["4."]
    assert [row["output"] for row in identity.cut(whole, first=False)] == [row["output"] for row in whole]


def test_loss_falls_on_exactly_the_answer_and_its_end_token(tiny, tmp_path):
    """Decoded from the batches that TRL's own processing makes, with and without a system text."""
    model, tokenizer = tiny
    preset = specs.Preset(own_systems=(None, ""))
    rows = [
        *ROWS,
        {"instruction": "Say it in Chinese", "input": "Who are you?", "output": "我是 Tavi。\n\n- One\n- Two"},
    ]
    data = identity.to_dataset(rows, [], preset)
    trainer = training.build_trainer(model, tokenizer, data, tmp_path, preset, **QUIET)
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


@pytest.mark.parametrize(
    ("identity_rows", "keep", "preset", "steps"),
    [
        (8, 0, specs.PUBLISHED_PRESET, 10),
        (8, specs.DEFAULT_PRESET.keep_rows, specs.DEFAULT_PRESET, None),
        (5, 2, replace(specs.BARE_PRESET, batch=2, accumulation=3, epochs=2), 4),
    ],
    ids=["as published", "default", "a last step that is not full"],
)
def test_the_steps_worked_out_before_are_those_the_trainer_makes(tiny, tmp_path, identity_rows, keep, preset, steps):
    model, tokenizer = tiny
    rows = [
        {"instruction": f"Question {n}?", "input": "", "output": f"Answer {n}."} for n in range(identity_rows + keep)
    ]
    planned = identity.plan(identity_rows, keep, preset)
    data = identity.to_dataset(rows[:identity_rows], rows[identity_rows:], preset)
    trainer = training.build_trainer(model, tokenizer, data, tmp_path, preset, save_strategy="no", **QUIET)
    trainer.train()
    assert trainer.state.global_step == planned.steps and steps in (None, planned.steps)
    assert (planned.rows, planned.exposures) == (len(data), len(preset.own_systems) * preset.epochs)


def test_every_shipped_row_and_keep_question_fits(embedded):
    model, tokenizer = embedded
    longest = identity.check_lengths(
        identity.read_rows(identity.shipped_rows("en"), TAVI), tokenizer, models.context_length(model)
    )
    turns = [turn for part in training.to_dataset(ROWS[:1], [], PLAIN)[0].values() for turn in part]
    ids = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)["input_ids"]
    assert identity.check_lengths(ROWS[:1], tokenizer, 2048) == len(ids) <= longest < specs.DEFAULT_PRESET.max_length


# Names


@pytest.mark.parametrize(
    "name",
    [
        "ChatGPT",
        "chatgpt",
        "Chat GPT",
        "ＣｈａｔＧＰＴ",
        "chat-gpt",
        "GPT4",
        "SmolLM2",
        "Claude",
        "OpenAI",
        "Hugging  Face",
    ],
)
def test_a_rivals_name_is_refused_however_it_is_spelt(name):
    for make in (lambda: Identity(name, "L"), lambda: Identity("Tavi", name), lambda: Identity("Tavi", "L", (name,))):
        with pytest.raises(IdentityError) as caught:
            make()
        tells(caught.value, repr(name), "another model or company")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "{{NAME}}", "x" * 61, "<b>", "<|im_end|>", " Tavi", "?!", None, 7])
def test_a_name_that_cannot_be_trained_on_is_refused(name):
    with pytest.raises(IdentityError) as caught:
        Identity(name, "Lantern Workshop")
    tells(caught.value, "name")


@pytest.mark.parametrize("name", ["AI", "assistant", "I", "A.I."])
def test_a_word_that_every_assistant_uses_is_no_name(name):
    with pytest.raises(IdentityError) as caught:
        Identity(name, "Lantern Workshop")
    tells(caught.value, repr(name))


def test_aliases_are_a_list():
    with pytest.raises(IdentityError) as caught:
        Identity("Tavi", "Lantern Workshop", "Tav")
    tells(caught.value, "aliases")
    assert Identity("Tavi", "Lantern Workshop", ("Tav",)).names == ("Tavi", "Tav", "Lantern Workshop")


def test_names_of_two_words_everyday_words_and_other_scripts_are_taken():
    for name in ("Star Harbor", "Sun", "小灯", "Zoë", "R2"):
        assert Identity(name, "Blue Door Lab").name == name


def test_the_rendered_prompt_of_a_row_is_the_one_the_model_is_asked_with(embedded):
    """Training and asking use the same template, so what was learned is what is asked for."""
    tokenizer = embedded[1]
    example = identity.example(ROWS[0])
    assert generate.render(tokenizer, example["prompt"]) == generate.render(
        tokenizer, generate.as_messages(ROWS[0]["instruction"])
    )
