"""Every bad input is met by a typed error that names the file, the row and the cure, and nothing is lost.

Elsewhere: models, adapters and full caches in tests/models, runs in tests/test_runs.py, checkpoints in tests/training,
questions in tests/chat and tests/measure.
"""

import json

import pytest

from helpers import files
from helpers.errors import FileError, HelpersError, IdentityError
from helpers.models.load import context_length
from helpers.rows import identity, keep_rows, read, trainset
from helpers.rows.edit import RowTable
from helpers.rows.identity import Identity
from tests.fixtures import tells

TAVI = Identity("Tavi", "Lantern Workshop")


def row(instruction="Who are you?", output="I am {{NAME}}.", **more):
    return {"instruction": instruction, "input": "", "output": output, **more}


GOOD = row("What is your name?", "My name is {{NAME}}.")


def saved(folder, content):
    path = folder / "identity.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


FILES = {
    "missing": (None, "no such file"),
    "empty": (b"", "empty"),
    "only spaces": (b" \n\t\n", "empty"),
    "not JSON": ('[{"instruction": "Who?" "output": "x"}]', "not JSON"),
    "cut off": (json.dumps([GOOD] * 3)[:60], "not JSON"),
    "nested without end": ("[" * 100_000, "not JSON"),
    "not UTF-8": ('[{"instruction": "Wér?"}]'.encode("cp1250") + b"\x81", "not UTF-8"),
    "half of UTF-16": ('[{"instruction": "Who?"}]'.encode("utf-16")[:-1], "not whole UTF-16"),
    "a number": ("3", "not a list"),
    "no rows": ([], "not a list"),
    "a key twice": (b'[{"instruction": "Who?", "output": "a", "output": "b"}]', "['instruction', 'output', 'output']"),
    "nested deeply": ('[{"instruction": ' + "[" * 10_000 + "]" * 10_000 + "}]", "not JSON"),
    "a number too long": ("[" + "9" * 5000 + "]", "not JSON"),
    "a text": ('"Who?"', "not a list"),
}


@pytest.mark.parametrize(("content", "word"), FILES.values(), ids=FILES)
def test_a_file_that_holds_no_rows(tmp_path, content, word):
    path = saved(tmp_path, content)
    with pytest.raises(IdentityError) as caught:
        identity.read_rows(path, TAVI)
    tells(caught.value, str(path), word)
    assert caught.value.path == path and caught.value.row is None


SECOND_ROWS = {
    "keys missing": ({"instruction": "Who?"}, "needs instruction"),
    "keys misspelt": ({"instruction": "Who?", "input": "", "outptu": "x"}, "outptu"),
    "keys too many": (row(mood="glad"), "mood"),
    "not an object": ("Who?", "str"),
    "question not text": (row(instruction=None), "instruction is not text"),
    "answer not text": (row(output=["I am", "Tavi"]), "output is not text"),
    "half a character": (row(output="I am Tavi \ud83d"), "half a character"),
    "an empty list": ([], "list"),
    "not a number": (row(output=float("nan")), "output is not text"),
    "two megabytes": (row(output="words" * 400_000), "2000000 characters"),
    "a control character": (row(output="I am {{NAME}}.\x00"), "U+0000"),
    "a history that is none": (row(history="Hello"), "history is not a list"),
    "a history of questions alone": (row(history=[["Hello"]]), "history is not a list"),
    "a history of numbers": (row(history=[["Hello", 1]]), "history is not text"),
    "a history with an empty text": (row(history=[["Hello", " "]]), "history holds an empty text"),
    "a history with half a placeholder": (row(history=[["Hello", "{{NAME}"]]), "history holds an unfinished"),
    "empty question": (row(instruction="  "), "question is empty"),
    "empty answer": (row(output=""), "answer is empty"),
    "blank answer": (row(output=" \n"), "answer is empty"),
    "misspelt placeholder": (row(output="I am {{NMAE}}."), "NMAE"),
    "placeholder with a brace too few": (row(output="I am {{NAME}."), "unfinished placeholder"),
    "placeholder with one brace": (row(output="I am {NAME}."), "{NAME}"),
    "placeholder left open": (row(output="I am {{."), "{{"),
    "placeholder in the question": (row(instruction="Are you {{NAM}}?"), "NAM"),
    "a token of the template": (row(output="I am {{NAME}}.<|im_end|>"), "template"),
    "the same question and answer": (GOOD, "repeats row 1"),
    "the same but for case and stops": (row("WHAT is your name", "my name is {{NAME}}"), "repeats row 1"),
    "a contradiction": (row("What is your name?", "I have none."), "contradicts row 1"),
}


@pytest.mark.parametrize(("bad", "word"), SECOND_ROWS.values(), ids=SECOND_ROWS)
def test_a_row_that_cannot_be_trained_on(tmp_path, bad, word):
    path = saved(tmp_path, [GOOD, bad])
    before = path.read_bytes()
    with pytest.raises(IdentityError) as caught:
        identity.read_rows(path, TAVI)
    tells(caught.value, str(path), "row 2", word)
    assert caught.value.row == 2 and path.read_bytes() == before


SIGNS = "3 - 2|3 + 2|3 * 2|3 / 2|-5|5|2.5|25|2 5|C++|C#|C|.NET|NET|5%|$5|€5|x = 1|x > 1|a@b|"
SIGNS += "👍🏽|👍|👩‍🚀|👩🚀|🍎|🍐|किताब|कतब"


def test_signs_that_tell_questions_apart_do():
    asked = [f"What is {sign}?" for sign in SIGNS.split("|")]
    assert len({read.normal(text) for text in asked}) == len(asked)
    assert len({read.normal(text) for text in SIGNS.split("|")}) == len(asked)
    assert len(read.validate([row(text, f"Answer {n}.") for n, text in enumerate(asked)])) == len(asked)
    assert read.normal("🍎?") != read.normal("🍐?") and read.normal("?!") != read.normal("...")


@pytest.mark.parametrize(
    "same",
    [
        ("What is 3 - 2?", "what is 3-2", "What is 3 − 2 ?", "“What is 3 – 2?”", "Ｗｈａｔ is ３－２？"),
        ("Who are you?", " WHO are you", "Who are you?!", '"Who" are you…', "Who - are you."),
        ("What is C++?", "what is c++", "What is C + +?"),
        ("A well-known COVID-19 rule", "a well known covid 19 rule"),
        ("It is 5. Right?", "it is 5 right"),
        ("你是谁？", "你是谁", "你是谁～"),
        ("I ❤️ tea", "I ❤ tea"),
    ],
    ids=lambda same: same[0],
)
def test_what_does_not_tell_questions_apart_does_not(same):
    assert len({read.normal(text) for text in same}) == 1


def test_a_history_is_kept_filled_and_emptied_again_and_tells_rows_apart(tmp_path, home):
    told = [row("And then?", history=[["I am Bo.", "Hello, I am {{ NAME }}. "]]), row("And then?", history=[])]
    rows = identity.read_rows(saved(tmp_path, told), TAVI)
    assert [one.get("history") for one in rows] == [[["I am Bo.", "Hello, I am Tavi."]], None]
    assert identity.unfill(rows, TAVI)[0]["history"] == [["I am Bo.", "Hello, I am {{NAME}}."]]
    assert trainset.example(rows[0])["prompt"][1]["content"] == "Hello, I am Tavi."
    table = RowTable(rows, TAVI)
    table.rename(name="Juno")
    assert table.rows[0]["history"] == [["I am Bo.", "Hello, I am Juno."]] and not table.errors()
    table.save()
    assert identity.read_rows(home / "my" / "identity.json") == table.rows
    assert keep_rows.read(files.write_jsonl(tmp_path / "keep.jsonl", rows)) == rows
    with pytest.raises(IdentityError, match="repeats row 1"):
        read.validate([rows[0], rows[0]])


@pytest.mark.parametrize("mark", ["｛｛NAME｝｝", "【NAME】", "[NAME]", "[/INST]", "</s>", "### Response:"])
def test_a_mark_that_is_typed_into_a_row_is_no_text(mark):
    with pytest.raises(IdentityError) as caught:
        read.validate([GOOD | {"output": "I am Tavi."}, row(output=f"{mark} I am Tavi.")])
    tells(caught.value, "row 2", mark[:2])
    assert read.validate([row(output=f"{mark} I am Tavi.")], placeholders=False)


@pytest.mark.parametrize("word", ["NAME", "DEVELOPER"])
def test_a_placeholder_left_unfilled(tmp_path, word):
    path = saved(tmp_path, [row("Hello?", "Hello."), *[row(f"{n}?", f"I am {{{{ {word} }}}}.") for n in range(3)]])
    with pytest.raises(IdentityError) as caught:
        identity.read_rows(path)
    tells(caught.value, str(path), "row 2", f"{{{{{word}}}}} is not filled (rows 2, 3, 4)")


def test_ten_thousand_rows(tmp_path):
    path = saved(tmp_path, [row(f"Question {n}?") for n in range(10_000)])
    with pytest.raises(IdentityError) as caught:
        identity.read_rows(path, TAVI)
    tells(caught.value, str(path), "10000 rows", "row 2001")


def test_a_row_longer_than_the_context(tmp_path, embedded):
    model, tokenizer = embedded
    path = saved(tmp_path, [GOOD, row(output="word " * 9000)])
    rows = identity.read_rows(path, TAVI)
    with pytest.raises(IdentityError) as caught:
        trainset.check_lengths(rows, tokenizer, context_length(model), path)
    tells(caught.value, str(path), "row 2", "tokens", str(context_length(model)))


def test_a_name_equal_to_a_rivals():
    with pytest.raises(IdentityError) as caught:
        Identity("ChatGPT", "Lantern Workshop")
    tells(caught.value, "'ChatGPT'", "another model")


def test_a_name_without_a_language_file():
    with pytest.raises(IdentityError) as caught:
        identity.shipped_rows("xx")
    tells(caught.value, "xx.json")
    assert "en" in caught.value.cure and "zh" in caught.value.cure


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"instruction": "2+2?", "output": "4"}\n{"instruction": \n', ("row 2", "not JSON")),
        ('{"instruction": "2+2?", "output": "4"}\n{"question": "3+3?"}\n', ("row 2", "question")),
        ('{"instruction": "2+2?", "output": ""}\n', ("row 1", "answer is empty")),
        ("", ("empty",)),
        ('{"instruction": "2+2?", "output": "4\\u0000"}\n', ("row 1", "U+0000")),
        ('{"instruction": "2+2?", "output": "4\\ud83d"}\n', ("row 1", "half a character")),
        ('{"instruction": "2+2?", "output": NaN}\n', ("row 1", "not text")),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, ("row 1", "not JSON")),
        (json.dumps(row(output="word " * 400_000)), ("row 1", "2000000 characters")),
        ("[]", ("row 1", "not a JSON object")),
    ],
    ids="no JSON|wrong keys|empty answer|empty|control|half a character|NaN|deep|two megabytes|a list".split("|"),
)
def test_a_bad_file_of_keep_rows(tmp_path, content, words):
    path = tmp_path / "keep.jsonl"
    path.write_text(content)
    with pytest.raises(IdentityError) as caught:
        keep_rows.read(path)
    tells(caught.value, str(path), *words)


def test_keep_rows_are_the_models_own_words_and_may_hold_braces(tmp_path):
    rows = [row("Write C.", "int main() {{ return 0; }}"), row("Write a letter.", "Dear [NAME], hello {name}.")]
    assert keep_rows.read(files.write_jsonl(tmp_path / "keep.jsonl", rows)) == rows


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = saved(tmp_path, [GOOD])

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "read_bytes", refuse)
    with pytest.raises(IdentityError) as caught:
        identity.read_rows(path)
    tells(caught.value, str(path), "Permission denied")


def test_every_error_of_ours_is_of_one_family_and_prints_on_one_line():
    kinds = [*HelpersError.__subclasses__(), *FileError.__subclasses__()]
    assert {"IdentityError", "ModelError", "AdapterError", "RunError", "ProbeError", "DiskError", "BusyError"} <= {
        kind.__name__ for kind in kinds
    }
    for kind in kinds:
        assert str(kind("what happened", "what to do")).endswith("what happened. What to do: what to do")
        assert "\n" not in str(kind("a", "b"))
