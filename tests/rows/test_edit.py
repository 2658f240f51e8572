"""Rows while they are edited: a change can be taken back, a wrong row is told, nothing broken is overwritten."""

import json

import pytest

from helpers.errors import IdentityError
from helpers.models.load import context_length
from helpers.rows import identity, read
from helpers.rows.edit import RowTable
from helpers.rows.identity import Identity
from helpers.widgets.editor import RowEditor
from helpers.widgets.show import row_editor
from tests.fixtures import ROWS, tells

NOTHING = "There is nothing to take back."


@pytest.fixture
def table(identity):
    return RowTable(ROWS, identity)


def press_delete(editor, i):
    editor.lines.children[i].children[0].children[-1].click()


def state(table):
    return table.name, table.developer, [dict(row) for row in table.raw]


def test_every_change_can_be_taken_back_and_a_typed_word_is_one(table):
    before = [state(table)]
    for text in ("J", "Ju", "Juno"):
        table.rename(name=text)
    before.append(state(table))
    table.edit(0, "output", "I am {{NAME}}.")
    before.append(state(table))
    table.add()
    before.append(state(table))
    table.delete(1)
    before.append(state(table))
    table.import_text(json.dumps(ROWS[:2]), "two.json")
    for expected in reversed(before):
        assert table.undo() == "The last change was taken back." and state(table) == expected
    assert table.undo() == NOTHING


def test_rows_are_filled_with_the_names_as_they_stand(table):
    table.edit(0, "output", "I am {{NAME}} of {{DEVELOPER}}.")
    table.rename(name="Juno")
    table.rename(developer="Attic Works")
    assert table.rows[0]["output"] == "I am Juno of Attic Works." and table.identity.name == "Juno"


def test_a_new_name_changes_every_row_that_said_the_old_one(table, identity, home):
    """The rows come in with their names written in, and the old name's other spellings go with it."""
    table = RowTable(ROWS, Identity("Tavi", "Lantern Workshop", ("TAVI",)))
    assert table.rows == ROWS and table.identity.aliases == ("TAVI",) and not table.warning()
    table.rename(name="Nova")
    table.rename(developer="Attic Works")
    assert [row["output"] for row in table.rows][:2] == [
        "I am Nova, an AI assistant developed by Attic Works.", "My name is Nova.",
    ]  # fmt: skip
    assert table.identity.names == ("Nova", "Attic Works") and not any("Tavi" in str(row) for row in table.rows)
    table.save()
    table.undo()
    table.undo()
    assert table.rows == ROWS


def test_rows_that_do_not_say_the_name_are_warned_of_and_may_be_saved(identity, home):
    table = RowTable(ROWS, identity)
    table.import_text(json.dumps([{"instruction": "Who are you?", "input": "", "output": "I am Vela."}]), "vela.json")
    assert "None of the 1 rows says Tavi" in table.warning() and not table.errors()
    editor = RowEditor(table)
    assert "says Tavi" in editor.name_error.value and not editor.save_button.disabled
    table.edit(0, "output", "I am {{NAME}}.")
    assert not table.warning()


def test_every_wrong_row_is_told_with_its_cure_and_the_others_are_not(table):
    table.add()
    table.edit(1, "output", "I am {{NMAE}}.")
    table.edit(2, "instruction", "who are you")
    assert 2 not in table.errors()  # other words that claim the same
    table.edit(2, "output", "I am Juno.")
    errors = table.errors()
    assert sorted(errors) == [1, 2, 4]
    assert "unknown placeholder" in errors[1] and "contradicts row 1" in errors[2] and "question is empty" in errors[4]
    assert all("What to do: " in text for text in errors.values())
    with pytest.raises(IdentityError):
        _ = table.rows
    table.edit(1, "output", "I am {{NAME}}.")
    assert sorted(table.errors()) == [2, 4]


def test_a_rivals_name_is_told_and_the_rows_are_still_checked(table):
    table.rename(name="ChatGPT")
    assert "belongs to another model" in table.name_error() and table.errors() == {}
    table.edit(0, "output", "")
    assert "answer is empty" in table.errors()[0]


def test_a_row_too_long_for_the_model_is_told(identity, tiny):
    table = RowTable(ROWS, identity, tiny[1], context_length(tiny[0]))
    table.edit(3, "output", "word " * 3000)
    assert list(table.errors()) == [3] and "tokens with the chat template" in table.errors()[3]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (json.dumps(ROWS), ROWS),
        ("\n".join(json.dumps(r) for r in ROWS) + "\n", ROWS),
        (json.dumps(ROWS[0]), ROWS[:1]),
        (json.dumps(ROWS[0], indent=2), ROWS[:1]),
    ],
    ids=["list", "JSONL", "one line", "one object"],
)
def test_json_and_jsonl_are_brought_in(table, text, wanted):
    assert table.import_text(text, "file") == f"{len(wanted)} rows from file; Undo goes back." and table.rows == wanted


def test_rows_of_other_formats_are_brought_in_and_what_was_made_of_them_is_said(table):
    talk = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I am NAME."}]
    text = json.dumps({"messages": [{"role": "system", "content": "Be kind."}, *talk, *talk]})
    said = table.import_text(text.encode("utf-16"), "talk")
    assert said.startswith("2 rows from talk (JSON, OpenAI messages, in UTF-16: messages[system] -> system")
    first = {"instruction": "Who?", "input": "", "output": "I am Tavi.", "system": "Be kind."}
    assert table.rows == [first, {**first, "history": [["Who?", "I am Tavi."]]}] and not table.errors()


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"])
def test_rows_that_hold_a_line_mark_are_brought_in_saved_and_read_back_exactly(table, home, mark):
    rows = [{**row, "output": row["output"].replace(" ", mark)} for row in ROWS]
    table.import_text("".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows), "theirs.jsonl")
    assert table.rows == rows
    table.save()
    assert identity.read_rows(home / "my" / "identity.json") == rows


def test_a_wrong_line_of_an_imported_file_is_named(table):
    with pytest.raises(IdentityError) as error:
        table.import_text(json.dumps(ROWS[0]) + "\n\n{nonsense\n", "their.jsonl")
    tells(error.value, "their.jsonl, row 3", "not JSON")


@pytest.mark.parametrize("text", ["", "[]", "3", '{"instruction": "a"}', "nonsense", '[{"instruction": "a"', "[1, 2]"])
def test_a_file_that_is_none_is_refused_and_nothing_changes(table, text):
    before = state(table)
    with pytest.raises(IdentityError) as error:
        table.import_text(text, "their.json")
    tells(error.value, "their.json")
    assert state(table) == before and table.undo() == NOTHING


def test_saving_writes_rows_and_identity_and_refuses_what_is_wrong(table, home):
    assert table.save() == "Saved 4 rows as my/identity.json."
    assert identity.read_rows(home / "my" / "identity.json") == ROWS
    assert json.loads((home / "my" / "who.json").read_text())["name"] == "Tavi"
    table.edit(0, "output", "")
    with pytest.raises(IdentityError, match="row 1"):
        table.save()
    assert identity.read_rows(home / "my" / "identity.json") == ROWS


def test_a_file_broken_on_disk_is_kept_until_asked_and_then_under_another_name(table, home):
    path = home / "my" / "identity.json"
    path.parent.mkdir()
    path.write_text('[{"instruction": "my own work', encoding="utf-8")
    with pytest.raises(IdentityError, match="left alone"):
        table.save()
    assert path.read_text(encoding="utf-8") == '[{"instruction": "my own work'
    said = table.save(replace_broken=True)
    [kept] = path.parent.glob("identity-broken-*.json")
    assert kept.name in said and kept.read_text(encoding="utf-8") == '[{"instruction": "my own work'
    assert identity.read_rows(path) == ROWS
    table.save(replace_broken=True)
    assert len(list(path.parent.glob("identity-broken-*"))) == 1  # a sound file is simply replaced


# ---------------------------------------------------------------- the widget over it


def test_what_is_typed_is_checked_beside_its_row_and_saving_waits_for_it(identity, embedded):
    editor = RowEditor(RowTable(ROWS, identity, embedded[1], context_length(embedded[0])))
    assert not editor.save_button.disabled and editor.preview.value.count("idt-trained") > 5
    editor.fields[1]["output"].value = "<b>I am {{NMAE}}</b>"
    assert "unknown placeholder" in editor.errors[1].value and editor.errors[0].value == ""
    assert editor.save_button.disabled and "Mend the row" in editor.preview.value
    editor.fields[1]["output"].value = "<b>I am {{NAME}}</b>"
    assert editor.errors[1].value == "" and not editor.save_button.disabled
    assert "&lt;" in editor.preview.value and "<b>" not in editor.preview.value and editor.choice.value == 1
    editor.undo_button.click()
    assert editor.fields[1]["output"].value == ROWS[1]["output"].replace("Tavi", "{{NAME}}")


class CountingTokenizer:
    """A tokenizer that counts how often it is called."""

    def __init__(self, tokenizer):
        self.tokenizer, self.calls = tokenizer, 0

    def __call__(self, *args, **how):
        self.calls += 1
        return self.tokenizer(*args, **how)

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)


@pytest.mark.parametrize("wrong", [0, 20])
def test_a_key_pressed_costs_little_with_400_rows(identity, embedded, monkeypatch, wrong):
    """Only the row that changed is tokenised again, and every row is checked once or twice, however many are wrong."""
    tokenizer, checked, normal = CountingTokenizer(embedded[1]), [], read.normal
    rows = [{"instruction": f"Question {n}?", "input": "", "output": "I am Tavi." * (n >= wrong)} for n in range(400)]
    editor = RowEditor(RowTable(rows, identity, tokenizer, 8192))
    editor.fields[30]["output"].value = "I am {{NAME}}"
    tokenizer.calls = 0
    monkeypatch.setattr(read, "normal", lambda text: checked.append(text) or normal(text))
    editor.fields[30]["output"].value = "I am {{NAME}}!"
    assert tokenizer.calls <= 3, "the row itself, and twice for its preview"
    assert len(checked) <= 2 * 2 * (len(rows) + 8), "two texts a row, and the eight shipped rows"
    assert editor.save_button.disabled == bool(wrong) and len(editor.table.errors()) == wrong


def test_rows_are_added_deleted_and_named_by_their_number(identity):
    editor = RowEditor(RowTable(ROWS, identity))
    editor.add_button.click()
    assert len(editor.fields) == 5 and "question is empty" in editor.errors[4].value
    press_delete(editor, 0)
    assert editor.fields[0]["output"].description == "Answer 1" and "Row 1 was deleted" in editor.status.value
    editor.undo_button.click()
    assert [f["instruction"].value for f in editor.fields] == [r["instruction"] for r in ROWS] + [""]


def test_the_button_for_a_broken_file_appears_only_when_there_is_one(identity, home):
    editor = RowEditor(RowTable(ROWS, identity))
    path = home / "my" / "identity.json"
    path.parent.mkdir()
    path.write_text("broken", encoding="utf-8")
    assert editor.replace_button.layout.display == "none"
    editor.save_button.click()
    assert editor.replace_button.layout.display is None and path.read_text(encoding="utf-8") == "broken"
    editor.replace_button.click()
    assert editor.replace_button.layout.display == "none" and "kept as identity-broken-" in editor.status.value


def test_an_uploaded_file_takes_the_place_of_the_rows_or_says_why_not(identity):
    editor = RowEditor(RowTable(ROWS, identity))
    editor._uploaded({"new": [{"name": "<i>.jsonl", "content": memoryview(b"\xff\xfe")}]})
    assert "&lt;i&gt;.jsonl: " in editor.status.value and "<i>" not in editor.status.value
    editor._uploaded({"new": [{"name": "x.jsonl", "content": memoryview(json.dumps(ROWS[0]).encode())}]})
    assert len(editor.fields) == 1 and "1 rows from x.jsonl" in editor.status.value


def test_the_static_form_prints_the_rows_and_what_is_wrong_and_gives_the_table(identity, tiny, capsys):
    rows = [*ROWS, {"instruction": "", "input": "", "output": "\x1b[31m"}]
    table = row_editor(rows, identity, *tiny)
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("Name: Tavi. Developer: Lantern Workshop.")
    assert said[1] == f"1. Who are you? -> {ROWS[0]['output']}" and "wrong: the question is empty" in said[-1]
    assert "\x1b" not in "".join(said) and table.identity == identity
