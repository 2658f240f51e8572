"""What the learner made is used and never lost, and a name that no row says is warned of."""

import json

import pytest

from helpers import files
from helpers.errors import DiskError, IdentityError
from helpers.rows import identity
from helpers.rows.identity import Identity
from helpers.rows.mine import load_mine, save_rows, who_of
from tests.fixtures import ROWS, tells

TAVI, NOVA = Identity("Tavi", "Lantern Workshop"), Identity("Nova", "Attic Works")


def names_in_my(home):
    return sorted(p.name for p in (home / "my").iterdir())


def test_other_rows_that_were_saved_before_are_kept_beside_the_new_ones(home):
    assert save_rows(ROWS, TAVI) == ""
    assert save_rows(ROWS, TAVI) == "" and names_in_my(home) == ["identity.json", "who.json"]
    kept = save_rows(ROWS[:2], NOVA)
    aside = next(name for name in names_in_my(home) if name.startswith("identity-before-"))
    assert aside in kept and json.loads((home / "my" / aside).read_text(encoding="utf-8")) == ROWS
    assert identity.read_rows(home / "my" / "identity.json") == ROWS[:2]
    assert json.loads((home / "my" / "who.json").read_text(encoding="utf-8"))["name"] == "Nova"


def test_rows_that_are_saved_three_times_in_a_second_are_all_kept(home):
    for n in range(1, 5):
        save_rows(ROWS[:n], TAVI)
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in (home / "my").glob("identity-before-*")]
    assert sorted(kept, key=len) == [ROWS[:1], ROWS[:2], ROWS[:3]]


def test_own_rows_are_taken_and_a_name_that_none_of_them_says_is_told(home):
    files.write_jsonl(home / "my" / "keep-tiny-llama.jsonl", ROWS[:1])
    save_rows(ROWS, TAVI)
    who, rows, keep, note = load_mine("tiny-llama")
    assert (who, rows, keep, note) == (TAVI, ROWS, ROWS[:1], "Using your own rows from my/.")
    save_rows(ROWS, NOVA)
    assert "Warning: None of the 4 rows says Nova" in load_mine("tiny-llama")[3]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"name": "Tavi"}'])
def test_a_name_file_that_holds_no_name_is_refused_with_its_path(home, text):
    save_rows(ROWS, TAVI)
    path = home / "my" / "who.json"
    assert who_of(path.parent) == TAVI
    path.write_text(text, encoding="utf-8")
    with pytest.raises(IdentityError) as caught:
        load_mine("tiny-llama")
    tells(caught.value, str(path))


@pytest.mark.parametrize("content", [b"", b'[{"instruction": "mine"', b'{"a": "setting"}', b"notes of mine \xff"])
def test_saving_rows_never_overwrites_a_file_that_holds_something_else(home, content):
    path = files.my_dir() / "identity.json"
    path.write_bytes(content)
    with pytest.raises(IdentityError) as caught:
        save_rows(ROWS, TAVI)
    tells(caught.value, str(path), "left alone")
    assert path.read_bytes() == content and names_in_my(home) == ["identity.json"]


def test_bad_rows_are_not_saved_over_good_ones(home):
    save_rows(ROWS, TAVI)
    path = home / "my" / "identity.json"
    before = path.read_bytes()
    for bad in ([{**ROWS[0], "output": ""}], [{"instruction": "Who?"}], [*ROWS, ROWS[0]]):
        with pytest.raises(IdentityError) as caught:
            save_rows(bad, TAVI)
        tells(caught.value, str(path), "row")
        assert path.read_bytes() == before


def test_a_disk_full_while_rows_are_saved(home, full_disk):
    save_rows(ROWS, TAVI)
    path = home / "my" / "identity.json"
    before = path.read_bytes()
    with full_disk("fsync"), pytest.raises(DiskError) as caught:
        save_rows(ROWS[:2], TAVI, keep_before=False)
    tells(caught.value, str(path), "disk is full")
    assert path.read_bytes() == before and names_in_my(home) == ["identity.json", "who.json"]


def test_names_become_placeholders_as_whole_words_and_come_back():
    rows = [
        {"instruction": "Is Tavi tall?", "input": "", "output": "Tavi of Tavi Works; Tavistock is a town."},
        {"instruction": "你是谁？", "input": "", "output": "我是小灯，由灯笼工坊开发。"},
    ]
    found = identity.unfill(rows, Identity("Tavi", "Tavi Works"))
    assert found[0]["instruction"] == "Is {{NAME}} tall?"
    assert found[0]["output"] == "{{NAME}} of {{DEVELOPER}}; Tavistock is a town."
    assert identity.fill(found, Identity("Tavi", "Tavi Works")) == rows
    chinese = identity.unfill(rows, Identity("小灯", "灯笼工坊"))
    assert chinese[1]["output"] == "我是{{NAME}}，由{{DEVELOPER}}开发。"
