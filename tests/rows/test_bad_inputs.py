"""Every bad input is met by a typed error that names the file, the row and the cure, and nothing is lost.

Elsewhere: models, adapters and full caches in tests/models, runs in tests/test_runs.py, checkpoints in tests/training,
questions in tests/chat and tests/measure.
"""

import json

import pytest

from helpers import files
from helpers.errors import FileError, HelpersError, IdentityError
from helpers.models.load import context_length
from helpers.rows import identity, keep_rows, trainset
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
    "not UTF-8": ('[{"instruction": "Wér?"}]'.encode("latin-1"), "not UTF-8"),
    "UTF-16": ('[{"instruction": "Who?"}]'.encode("utf-16"), "not UTF-8"),
    "an object": ({"instruction": "Who?"}, "not a list"),
    "no rows": ([], "not a list"),
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
    "keys too many": (row(system="You are"), "system"),
    "not an object": ("Who?", "str"),
    "question not text": (row(instruction=None), "instruction is not text"),
    "answer not text": (row(output=["I am", "Tavi"]), "output is not text"),
    "half a character": (row(output="I am Tavi \ud83d"), "half a character"),
    "empty question": (row(instruction="  "), "question is empty"),
    "empty answer": (row(output=""), "answer is empty"),
    "blank answer": (row(output=" \n"), "answer is empty"),
    "misspelt placeholder": (row(output="I am {{NMAE}}."), "NMAE"),
    "placeholder in small letters": (row(output="I am {{name}}."), "name"),
    "placeholder with a brace too few": (row(output="I am {{NAME}."), "unfinished placeholder"),
    "placeholder with one brace": (row(output="I am {NAME}."), "{NAME}"),
    "placeholder in other brackets": (row(output="I am [NAME]."), "[NAME]"),
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


@pytest.mark.parametrize("word", ["NAME", "DEVELOPER"])
def test_a_placeholder_left_unfilled(tmp_path, word):
    path = saved(tmp_path, [row("Hello?", "Hello."), row(output=f"I am {{{{ {word} }}}}.")])
    with pytest.raises(IdentityError) as caught:
        identity.read_rows(path)
    tells(caught.value, str(path), "row 2", f"{{{{{word}}}}}", "not filled")


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
    ],
    ids=["not JSON", "wrong keys", "empty answer", "empty"],
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

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", refuse)
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
