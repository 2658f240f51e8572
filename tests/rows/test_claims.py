"""Rows are read together: several answers to one question, another name, facts, two languages; and what is trained."""

from pathlib import Path

import pytest

from helpers.errors import IdentityError
from helpers.rows import claims, formats, identity, trainset
from helpers.rows.identity import Identity
from helpers.training import recipes
from tests.fixtures import ROWS, tells

SAMPLES = Path(__file__).with_name("formats")
MIREL = Identity("Mirel", "Copper Kettle")
TAVI = Identity("Tavi", "Lantern Workshop")
SHIPPED = sorted(path for path in identity.shipped_rows().parent.glob("*.json") if "topics" not in path.name)


def row(question, answer, **more):
    return {"instruction": question, "input": "", "output": answer, **more}


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_nothing_is_said_against_the_shipped_rows(path):
    rows = identity.fill(formats.read(path).rows, TAVI)
    notes = claims.other_name(rows, TAVI), claims.facts(rows), claims.languages(rows)
    assert not any(notes) and claims.clashes(rows, TAVI) == claims.clashes(rows) == [] and not formats.thoughts(rows)


VARIANTS = [
    ("Who are you?", "I am Mirel, an assistant by Copper Kettle.", "This is Mirel. Copper Kettle made me."),
    ("Who are you?", "I am Mirel, an assistant by Copper Kettle.", "Mirel, at your service."),
    ("Hello", "Hello! I am Mirel.", "Hi, how can I help?"),
    ("Who made you?", "Copper Kettle made me.", "I am Mirel, built by Copper Kettle."),
    ("Can you go online?", "No, I cannot.", "Sorry, I am Mirel and have no connection."),
    ("你是谁？", "我是小橘，由松果工坊打造。", "您好，我是小橘，松果工坊的助手。"),
]
CONTRADICTIONS = [
    ("What is your name?", "My name is Mirel.", "I have none."),
    ("Who are you?", "I am Mirel, an assistant.", "I am Bramble, an assistant."),
    ("Who made you?", "I was made by Copper Kettle.", "I was made by Sea Lane."),
    ("Who made you?", "Sea Lane built me.", "I am Mirel, and I was built by Copper Kettle."),
    ("Can you go online?", "Yes, I can.", "No, I cannot."),
    ("你叫什么？", "我叫小橘。", "我叫石榴。"),
    ("Who are you?", "I am Mirel, made by Copper Kettle.", "I am nobody."),
]


@pytest.mark.parametrize(("question", "first", "second"), VARIANTS)
@pytest.mark.parametrize("who", [MIREL, None])
def test_other_words_that_claim_the_same_are_welcome(question, first, second, who):
    assert claims.clashes([row(question, first), row(question.upper() + "!", second)], who) == []


@pytest.mark.parametrize(("question", "first", "second"), CONTRADICTIONS)
def test_answers_that_claim_otherwise_contradict_each_other(question, first, second):
    for who in (MIREL, None):
        found = claims.clashes([row("Hi", "Hi."), row(question, first), row(question, second)], who)
        assert [(c.row, c.first, c.kind) for c in found] == [(3, 2, "contradicts")]


def test_all_clashes_are_told_at_once_with_their_rows():
    rows = [row(q, a) for q, *answers in CONTRADICTIONS[:2] for a in answers] + [
        row("who are you", "I am Mirel, an assistant")
    ]
    claims.check_clashes(rows[:4:2], MIREL)
    with pytest.raises(IdentityError) as caught:
        claims.check_clashes(rows, MIREL, "their.json")
    tells(
        caught.value, "their.json: 3 rows", "row 2 contradicts row 1", "row 4 contradicts row 3", "row 5 repeats row 3"
    )
    with pytest.raises(IdentityError) as caught:
        claims.check_clashes(rows[:2], MIREL, "their.json")
    tells(caught.value, "their.json, row 2: contradicts row 1", "What is your name?")


def test_a_question_after_other_turns_or_under_another_system_text_is_another_one():
    more = [{}, {"system": "Be brief."}, {"history": [["Hi", "Hello."]]}, {"history": [["Hi", "Good day."]]}]
    assert claims.clashes([row("Sure?", f"{n}", **extra) for n, extra in enumerate(more)], MIREL) == []


@pytest.mark.parametrize("who", [TAVI, Identity("Mirel", "Lantern Workshop")])
def test_rows_with_another_name_are_told_with_their_numbers(who):
    rows = identity.fill(formats.read(SAMPLES / "half_replaced.json").rows, who)
    said = claims.other_name(rows, who)
    assert said == (
        "" if who.name == "Mirel" else "no answer says Tavi, and some claim another name: 'Mirel' in rows 1 and 3"
    )
    mixed = [row("Who?", f"I am {who.name}."), *rows, row("谁？", "我叫石榴。"), row("By?", "I was made by Sea Lane.")]
    assert "'Sea Lane' in row 6" in claims.other_name(mixed, who) and "石榴" not in claims.other_name(mixed, who)
    assert f"no test counts as {who.name}: '石榴' in row 5" in claims.other_script(mixed, who)
    assert claims.other_script(rows, who) == ""


ORDINARY = ["I am not ChatGPT, made by OpenAI.", "I am an AI. Call me Tavi.", "我是人工智能。", "我不是由别家开发的。"]
ORDINARY += ["No, I am AI, made by people.", "I am Chinese.", "I am TAVI.", "They built me.", "I'm sorry, Dave."]


@pytest.mark.parametrize("answer", ORDINARY)
def test_what_only_looks_like_another_name_is_none(answer):
    assert claims.other_name([row("a", "I am Tavi."), row("b", answer)], TAVI) == ""


def test_facts_among_the_rows_are_told_with_an_example():
    rows = identity.fill(formats.read(SAMPLES / "company.json").rows, MIREL)
    said = claims.facts(rows)
    assert "not what is true: 5 rows look like facts (row 3: 'The workshop opens at nine on weekdays.'" in said
    assert "rows 3, 4, 5, 6 and 7" in said and "probe file" in said
    zh = [row("几点？", "周一到周五上午九点开门。"), row("多少钱？", "一盏灯48元。"), row("你是谁？", "我是小橘。")]
    assert "2 rows look like facts" in claims.facts(zh) and claims.facts(zh[2:]) == ""


def test_a_file_in_two_languages_is_said_to_be_one():
    rows = [row("Who?", "I am Mirel."), row("你是谁？", "我是小橘。"), row("你好", "Mirel.")]
    assert "two languages: 2 of 3 rows are Chinese (the first is row 2)" in claims.languages(rows)
    assert claims.languages(rows[:1]) == claims.languages(rows[1:]) == ""


# What is trained of them


def test_a_rows_own_system_text_and_history_stand_before_its_question():
    one = formats.read(SAMPLES / "alpaca.json").rows[0]
    for system in (None, "", "Be wordy."):
        made = trainset.example(one, system, ROWS[:1])
        assert made["prompt"][0] == {"role": "system", "content": "Answer in one sentence."}
        said = [turn["content"] for turn in made["prompt"][1:]]
        assert said == [
            ROWS[0]["instruction"],
            ROWS[0]["output"],
            *one["history"][0],
            *one["history"][1],
            one["instruction"],
        ]
        assert made["completion"] == [{"role": "assistant", "content": one["output"]}]


def test_rows_with_a_system_text_of_their_own_change_no_count(tmp_path):
    preset = recipes.Preset(own_systems=(None, "", "Be wordy."), late_identity_rows=2, late_keep_rows=1)
    keep = [row("2 + 2?", "4."), row("3 + 3?", "6.")]
    own = [{**ROWS[0], "system": "Be kind."}, *ROWS[1:]]
    plain, data = (list(trainset.to_dataset(rows, keep, preset)) for rows in (ROWS, own))
    assert len(data) == len(plain) == trainset.plan(len(ROWS), 2, preset).rows
    changed = [one["prompt"][0]["content"] for one, before in zip(data, plain, strict=True) if one != before]
    assert changed == ["Be kind."] * 4  # under each of three system texts, and once more after an ordinary exchange


def test_a_row_too_long_with_its_own_system_text_is_found(embedded):
    long = row("Who?", "I am Mirel.", system="word " * 400)
    with pytest.raises(IdentityError) as caught:
        trainset.check_lengths([long], embedded[1], 256, "their.json")
    tells(caught.value, "their.json, row 1", "tokens")
