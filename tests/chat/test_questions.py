"""`python -m helpers ask`: every form of question is answered, nothing answered is lost, nothing steers a terminal."""

from pathlib import Path

import pytest

from helpers import files
from helpers.chat import questions
from helpers.errors import BusyError
from tests.fixtures import done, tells, tiny_model, wrap
from tests.test_files import held_elsewhere

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_ask_answers_all_three_forms_and_carries_fields_through(tmp_path):
    rows = [
        {"question": "What is the capital of France?", "id": "a", "expect": ["Paris"]},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "n": 2},
        {"turns": ["My cat is called Tom.", "What did I say?"]},
    ]
    files.write_jsonl("q.jsonl", rows)
    done("ask", "q.jsonl", "--out", "a.jsonl", "--max-new-tokens", 8)
    found = files.read_jsonl(tmp_path / "a.jsonl")
    assert [{k: v for k, v in row.items() if k not in ("answer", "answers")} for row in found] == rows
    assert "Paris" in found[0]["answer"] and found[1]["answer"] and len(found[2]["answers"]) == 2
    assert not list(tmp_path.glob("*.part"))
    assert "Paris" in done("ask", "What is the capital of France?", "--max-new-tokens", 8)


def test_turns_see_what_was_said_before_and_a_system_text_may_be_empty(embedded, monkeypatch):
    seen = []
    monkeypatch.setattr(questions, "answers", lambda m, t, asked, **how: seen.append(asked) or ["ok"] * len(asked))
    questions.answer_rows(*embedded, [{"turns": ["a", "b"]}, {"question": "c"}], system="")
    contents = [[[turn["content"] for turn in messages] for messages in asked] for asked in seen]
    assert contents == [[["", "a"], ["", "c"]], [["", "a", "ok", "b"]]]


def test_a_conversation_longer_than_the_context_is_refused(embedded):
    with pytest.raises(questions.ProbeError, match="only 8192 fit"):
        questions.answer_rows(*embedded, [{"question": "word " * 9000}])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": 1}, "has none, and needs exactly one of question"),
        ({"question": 3}, "the question is empty or not text"),
        ({"turns": []}, "turns is not a list, or an empty one"),
        ({"turns": ["Hi", " "]}, "the turn is empty"),
        ({"messages": [{"role": ["user"], "content": "Hi"}]}, "messages need a role"),
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "system", "content": "b"}]}, "messages need a role"),
        ({"messages": ["Hi"]}, "messages need a role"),
        ({"messages": [{"role": "user"}]}, "the message is empty or not text"),
    ],
)
def test_a_question_that_cannot_be_asked_is_named(tmp_path, row, words):
    files.write_jsonl(tmp_path / "q.jsonl", [{"question": "Hi"}, row])
    with pytest.raises(questions.ProbeError, match=f"row 2: {words}"):
        questions.read(tmp_path / "q.jsonl")


SAMPLED = {"temperature": 1.5, "max_new_tokens": 3, "seed": 7}


@pytest.fixture
def asked(tiny, tmp_path, monkeypatch):
    """(rows, out, go): ``go(**how)`` answers seven questions in batches of two, and says which it put to the model."""
    real, rows, out = questions.answer_rows, [{"question": f"{n}?"} for n in range(7)], tmp_path / "a.jsonl"
    monkeypatch.setattr(questions, "BATCH", 2)

    def go(rows=rows, model=tiny[0], stop=None, **how):
        put = []

        def watched(model, tokenizer, batch, **how):
            if stop in batch:
                raise KeyboardInterrupt
            put.extend(row["question"] for row in batch)
            return real(model, tokenizer, batch, **how)

        with monkeypatch.context() as patch:
            patch.setattr(questions, "answer_rows", watched)
            questions.ask_file(lambda: (model, tiny[1]), rows, out, **(SAMPLED | how))
        return put

    return rows, out, go


def test_an_interrupted_ask_goes_on_and_answers_as_if_it_never_was(asked, tmp_path, capsys):
    rows, out, go = asked
    assert go() == [row["question"] for row in rows]
    whole = out.read_bytes()
    assert len(set(whole.split(b"\n"))) == 8, "nonsense, but each its own"
    out.unlink()
    with pytest.raises(questions.RunError) as caught:
        go(stop=rows[4])
    tells(caught.value, "first 4 answers", f"{out}.part")
    assert not out.exists()
    assert go() == ["4?", "5?", "6?"] and out.read_bytes() == whole
    assert "cut off: going on after its first 4 answers" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl", "home"}


def test_wherever_a_part_file_is_torn_the_next_call_goes_on(asked):
    rows, out, go = asked
    part = out.with_name("a.jsonl.part")
    with pytest.raises(questions.RunError):
        go(stop=rows[6])
    left = part.read_bytes()
    go()
    whole = out.read_bytes()
    for size in (0, 10, left.index(b"\n") + 1, len(left) * 2 // 3, len(left) - 1, len(left)):
        part.write_bytes(left[:size])
        go()
        assert out.read_bytes() == whole


def test_all_that_was_missing_was_the_last_step(asked):
    _, out, go = asked
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            go()
    assert go() == [] and len(files.read_jsonl(out)) == 7


@pytest.mark.parametrize("other", ["questions", "seed", "system", "longest", "adapter", "model"])
def test_the_answers_of_another_call_are_put_aside_and_never_mixed_in(asked, tiny, other, capsys):
    rows, out, go = asked
    with pytest.raises(questions.RunError):
        go(stop=rows[4])
    changed = {"questions": {"rows": [{"question": "new"}]}, "seed": {"seed": 8}, "system": {"system": ""}}
    changed |= {"longest": {"max_new_tokens": 4}, "model": {"model": tiny_model(tiny[1], seed=1)}}
    how = changed[other] if other != "adapter" else {"model": wrap(tiny[0])}
    assert len(go(**how)) == len(how.get("rows", rows))
    said = capsys.readouterr().out
    assert f"another call: it is now {out}.part.old. " in said and "cut off" not in said
    assert len(out.with_name("a.jsonl.part.old").read_bytes().splitlines()) == 5


def test_what_was_put_aside_is_never_replaced(asked):
    rows, out, go = asked
    for seed in range(3):
        with pytest.raises(questions.RunError):
            go(seed=seed, stop=rows[2])
    assert sorted(path.name for path in out.parent.glob("*.old")) == ["a.jsonl.part-2.old", "a.jsonl.part.old"]


def test_two_into_one_file_the_second_is_refused_before_it_loads_anything(asked):
    rows, out, go = asked
    with held_elsewhere(out), pytest.raises(BusyError) as caught:
        questions.ask_file(None, rows, out)
    tells(caught.value, str(out), "right now")
    go()


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("questions.jsonl", True), ("dir/q.JSON", True), ("my questions.jsonl", True), ("no questions.jsonl", False),
        ("What is in package.json", False), ("README", False), ("my\nquestions.jsonl", False), ("a\0b", False),
        ("你是谁？" * 24, False), ("Кто ты такой? Как тебя зовут и кто тебя создал? " * 9, False), ("x" * 9000, False),
    ],
)  # fmt: skip
def test_a_file_is_told_by_its_ending_never_guessed_from_words(tmp_path, text, file):
    for name in ("my questions.jsonl", "README"):
        (tmp_path / name).write_text('{"question": "Hi"}')
    assert (questions.file_named(text) is not None) == file
    assert file or questions.read(text) == [{"question": text}]


def test_a_file_may_be_called_anything_if_the_option_says_so(tmp_path):
    files.write_jsonl(tmp_path / "questions.txt", [{"question": "Hi"}])
    done("ask", "--file", "questions.txt", "--out", "a.jsonl", "--max-new-tokens", 1)
    assert files.read_jsonl(tmp_path / "a.jsonl")[0]["question"] == "Hi"


def test_what_a_model_writes_cannot_steer_the_terminal(monkeypatch):
    monkeypatch.setattr(questions, "answers", lambda m, t, asked, **how: ["\x1b[2Jgone"])
    assert done("ask", "a") == "\ufffd[2Jgone\n"


@pytest.mark.parametrize("text", ["my thesis", '{"files": {}}', '{"question": "Who?"}'])
def test_only_answers_are_written_over_by_answers(tmp_path, text):
    out = tmp_path / "out.jsonl"
    out.write_text(text)
    with pytest.raises(files.DiskError, match="something else than answers"):
        questions.ask_file(None, [{"question": "Who?"}], out)
    assert out.read_text() == text


def test_an_empty_question_is_called_so():
    with pytest.raises(questions.ProbeError, match=r"^the question is empty"):
        questions.read(" ")
