"""`python -m helpers ask`: every form of question is answered, nothing answered is lost, nothing steers a terminal."""

import pytest

from helpers import files
from helpers.chat import questions
from tests.fixtures import done

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
        ({"id": 1}, "has none of question, messages and turns"),
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
    with pytest.raises(questions.ProbeError, match=f"question 2: {words}"):
        questions.read(str(tmp_path / "q.jsonl"))


def test_an_interrupted_ask_keeps_its_answers_and_the_next_call_says_so(embedded, tmp_path, monkeypatch, capsys):
    def interrupted(model, tokenizer, rows, **how):
        if rows[0]["question"] == "2":
            raise KeyboardInterrupt
        return [{**row, "answer": "yes"} for row in rows]

    monkeypatch.setattr(questions, "BATCH", 2)
    monkeypatch.setattr(questions, "answer_rows", interrupted)
    rows, out = [{"question": str(n)} for n in range(4)], tmp_path / "a.jsonl"
    with pytest.raises(questions.RunError, match=r"first 2 answers are in .*a\.jsonl\.part"):
        questions.ask_file(*embedded, rows, out)
    assert len(files.read_jsonl(tmp_path / "a.jsonl.part")) == 2 and not out.exists()
    monkeypatch.setattr(questions, "answer_rows", lambda m, t, rows, **how: [{**r, "answer": "no"} for r in rows])
    questions.ask_file(*embedded, rows, out)
    assert (
        "2 answers are now in" in capsys.readouterr().out and len(files.read_jsonl(tmp_path / "a.jsonl.part.old")) == 2
    )
    assert [row["answer"] for row in files.read_jsonl(out)] == ["no"] * 4


def test_what_a_model_writes_cannot_steer_the_terminal(monkeypatch):
    monkeypatch.setattr(questions, "answers", lambda m, t, asked, **how: ["\x1b[2Jgone"])
    assert done("ask", "a") == "\ufffd[2Jgone\n"
