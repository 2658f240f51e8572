"""Rows come from a file as they were written, and nobody gets a name that is not theirs."""

import json

import pytest

from helpers.errors import IdentityError
from helpers.models import catalog
from helpers.rows import identity
from helpers.rows.edit import RowTable
from helpers.rows.identity import Identity
from helpers.training import recipes
from tests.fixtures import ROWS, tells

TAVI = Identity("Tavi", "Lantern Workshop")
PLAIN = recipes.BARE_PRESET


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_shipped_rows_are_eight_topics_with_the_names_filled_in(lang):
    rows = identity.read_rows(identity.shipped_rows(lang), TAVI)
    assert len(rows) == 8 and not any("{" in text for row in rows for text in row.values())
    assert sum("Tavi" in row["output"] or "Lantern Workshop" in row["output"] for row in rows) == 8


def test_a_file_with_literal_names_needs_no_identity_and_may_leave_input_out(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('\ufeff[{"instruction": " Who? ", "output": "I am Tavi."}]', encoding="utf-8")
    assert identity.read_rows(path) == [{"instruction": "Who?", "input": "", "output": "I am Tavi."}]


def test_the_input_stands_below_the_instruction():
    assert identity.question_of({"instruction": "Translate", "input": "Hallo"}) == "Translate\nHallo"
    assert identity.question_of({"instruction": "Who?", "input": ""}) == "Who?"


def test_chinese_rows_on_a_model_that_does_not_speak_it_warn_with_the_cure(embedded):
    warning = identity.language_warning(identity.read_rows(identity.shipped_rows("zh"), TAVI), catalog.EMBEDDED)
    assert "8 of 8" in warning and "en.json" in warning and "Qwen2.5" in warning
    assert identity.language_warning(identity.read_rows(identity.shipped_rows("en"), TAVI), catalog.EMBEDDED) == ""


def test_further_rows_are_filled_and_give_way_to_ones_own():
    rows = identity.read_rows(identity.shipped_rows("en"), TAVI)
    further = identity.further_rows(rows, TAVI, recipes.Preset())
    assert len(further) == recipes.Preset().extra_wordings + recipes.Preset().attack_rows == 94
    assert all(any(name in row["output"] for name in TAVI.names) for row in further)
    mine = {**further[0], "output": "I say it my way."}
    assert further[0] not in identity.further_rows([*rows, mine], TAVI, recipes.Preset())
    assert identity.further_rows(rows, None, recipes.Preset()) == []
    assert identity.further_rows(rows, TAVI, recipes.BARE_PRESET) == []
    chinese = identity.read_rows(identity.shipped_rows("zh"), TAVI)
    assert all(identity.CJK.search(row["output"]) for row in identity.further_rows(chinese, TAVI, recipes.Preset()))


# Names


RIVALS = [
    *(
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
    ),
    *("GPT-4o", "GPT4o", "Claude 3", "Claude3", "Qwen2.5", "Llama-3.1-8B", "SmolLM3", "文心一言4.0", "阿里巴巴集团"),
    *("Hugging  Face", "Tavi by OpenAI", "Tavi by Open AI", "OpenAI Labs", "Claude Monet", "Meta Garden", "我的GPT"),
]


@pytest.mark.parametrize("name", RIVALS)
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
    for name in ("Star Harbor", "Sun", "小灯", "Zoë", "R2", "小Q", "Лис", "❤️ Bot", "Yahoo! Lab"):
        assert Identity(name, "Blue Door Lab").name == name


@pytest.mark.parametrize("name", ["Metaphor", "Applecross", "Googie", "Phineas", "Bardolph", "Max AI", "Grokford 2"])
def test_a_name_that_only_begins_like_a_rivals_is_taken(name):
    assert Identity(name, f"{name} Lab").names == (name, f"{name} Lab")


UNFINDABLE = {
    "everyday word": ["Will", "hope", "May", "Grace", "The Team", "our company", "小明", "Ｍａｙ"],
    "invisible": ["Tavi\u200b", "Ta\u200dvi", "Tavi\ufe0f", "Ta\xadvi", "Ta\x07vi", "Tavi\u3164", "\ud83dTavi"],
    "two alphabets": ["T\u0430vi", "\u0391da", "O\u0440enAI"],
}


@pytest.mark.parametrize(("why", "name"), [(why, name) for why, part in UNFINDABLE.items() for name in part])
def test_names_that_no_test_could_find_again_are_refused_with_the_reason(why, name):
    with pytest.raises(IdentityError) as caught:
        identity.Identity(name, "Pinewood Lab")
    tells(caught.value, why, repr(name))
    table = RowTable(ROWS, TAVI)
    table.rename(name=name)
    assert why in table.name_error() and "\n" not in table.name_error()


def test_a_name_is_kept_as_answers_hold_it_however_it_was_typed():
    who = identity.Identity("E\u0301clair", "Ｐｉｎｅ\u3000Lab", ("e\u0301clair",))
    assert who.names == ("Éclair", "éclair", "Pine Lab")
    rows = [{**ROWS[0], "output": "I am E\u0301clair of Pine  Lab."}]
    assert identity.unnamed(rows, who) == ""
    assert identity.unfill(rows, who)[0]["output"] == "I am {{NAME}} of {{DEVELOPER}}."


def test_names_that_end_in_a_stop_become_placeholders_too():
    rows = [{**ROWS[0], "output": "I am Dr. Ada of Smith, Inc. in Adaville."}]
    raw = identity.unfill(rows, Identity("Dr. Ada", "Smith, Inc."))
    assert raw[0]["output"] == "I am {{NAME}} of {{DEVELOPER}} in Adaville."


@pytest.mark.parametrize(
    ("lang", "question", "answer", "left_out"),
    [
        ("en", "Can you go online?", "Yes, I can. I am Tavi.", "Can you look things up on the web?"),
        ("en", "Can you go online?", "No, never. I am Tavi.", ""),
        ("en", "Who maintains you?", "A group of volunteers. I am Tavi.", "Who fixes your bugs?"),
        ("en", "Who maintains you?", "The good people of Lantern Workshop.", ""),
        ("en", "What can you do?", "I am Tavi, and I can book trains.", "List your skills."),
        ("zh", "你能上网吗？", "能，我可以上网。我是Tavi。", "替我百度一下这个词。"),
        ("zh", "你能上网吗？", "对不起，我不能上网。", ""),
        ("zh", "你能上网吗？", "没问题，我可以上网。", "替我百度一下这个词。"),
        ("zh", "你说的话总是对的吗？", "不是，我常常弄错。", ""),
    ],
)
def test_shipped_rows_that_contradict_an_edited_row_are_left_out_by_topic(lang, question, answer, left_out):
    rows = identity.read_rows(identity.shipped_rows(lang), TAVI)
    preset = recipes.Preset(extra_wordings=300, attack_rows=0, honesty_rows=99)
    whole = identity.further_rows(rows, TAVI, preset)
    assert identity.contradiction_note(rows, TAVI) == ""
    edited = [{**row, "output": answer} if row["instruction"] == question else row for row in rows]
    assert edited != rows
    kept = identity.further_rows(edited, TAVI, preset)
    gone = {row["instruction"] for row in whole} - {row["instruction"] for row in kept}
    assert left_out in gone if left_out else not gone
    note = identity.contradiction_note(edited, TAVI, preset)
    assert note.endswith(f"({len(gone)}).") if gone else note == ""
    assert identity.contradiction_note(edited, TAVI, recipes.SIXTEEN_PRESET) == "", "it has no further rows"


@pytest.mark.parametrize(
    "developer", ["No Limits Lab", "Yes Works", "有道灯", "能量工坊", "对岸工作室", "Cafe\u0301 Lab"]
)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_shipped_rows_never_contradict_themselves_whatever_the_name(lang, developer):
    who = Identity("Tavi", developer)
    assert identity.contradicted(identity.read_rows(identity.shipped_rows(lang), who), who) == {}


def test_a_question_typed_otherwise_is_the_same_question():
    rows = [{"instruction": "can you go online", "input": "", "output": "Yes, I can. I am Tavi."}]
    assert list(identity.contradicted(rows, TAVI)) == ["Can you go online?"]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_topic_belongs_to_one_of_the_eight_rows_and_names_shipped_rows(lang):
    topics = json.loads((identity.shipped_rows(lang).parent / f"topics-{lang}.json").read_text(encoding="utf-8"))
    rows = identity.read_rows(identity.shipped_rows(lang), TAVI)
    every = identity.further_rows(rows, TAVI, recipes.Preset(extra_wordings=300, honesty_rows=99))
    assert set(topics) <= {row["instruction"] for row in rows} and len(topics) == 5
    assert {question for part in topics.values() for question in part} <= {row["instruction"] for row in every}


def test_a_name_that_ends_in_a_stop_ends_its_sentence_too():
    rows = [{"instruction": "{{NAME}}?", "input": "", "output": "I am {{NAME}}. By {{DEVELOPER}}. {{DEVELOPER}}..."}]
    [found] = identity.fill(rows, Identity("Dr. Ada", "Smith, Inc."))
    assert found["output"] == "I am Dr. Ada. By Smith, Inc. Smith, Inc...."
    [found] = identity.fill(rows, Identity("Tavi", "Lantern"))
    assert found["output"] == "I am Tavi. By Lantern. Lantern..."


def test_a_row_with_an_invisible_character_is_refused():
    row = {"instruction": "Who are you?", "input": "", "output": "I am Or\u200bla."}
    with pytest.raises(IdentityError, match=r"row 1: output holds an invisible character \(U\+200B\)"):
        identity.validate([row])
