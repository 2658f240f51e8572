"""A GGUF file answers through the same functions as a loaded model, and what is wrong with it is one line."""

import os
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from helpers import files
from helpers.chat import generate, questions
from helpers.chat.compare import CompareSession
from helpers.chat.conversation import ChatSession
from helpers.errors import ExportError, ResourceError, RunError
from helpers.export import gguf
from helpers.export.runtime import Served
from helpers.models.adapters import save_adapter
from tests.fixtures import tells, tiny_model, wrap

QUESTIONS = [f"Question number {n}: who are you?" for n in range(10)]


@pytest.fixture(scope="module")
def tuned(embedded):
    """A random small model with an adapter on every matrix, so that heads in another order would show."""
    return wrap(tiny_model(embedded[1], hidden=64), strength=0.3), embedded[1]


@pytest.fixture(scope="module")
def written(tuned, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    gguf.write_model(*tuned, folder / "base.gguf", "f16")
    gguf.write_adapter(save_adapter(tuned[0], folder / "adapter"), tuned[0], folder / "adapter.gguf")
    return folder


@pytest.fixture(scope="module")
def served(written):
    with Served(written / "base.gguf", written / "adapter.gguf") as found:
        yield found


def agree(one, other) -> int:
    return sum(a == b for a, b in zip(one, other, strict=True))


def test_base_and_adapter_answer_as_they_do_in_transformers(tuned, served):
    how = {"max_new_tokens": 1}
    said = {}
    for on in (True, False):
        here = generate.answers(*tuned, QUESTIONS, adapter=on, **how)
        said[on] = generate.answers(served, served.tokenizer, QUESTIONS, adapter=on, **how)
        assert agree(here, said[on]) >= 9  # float16 may turn a near tie
    assert agree(said[True], said[False]) <= 5


def test_interrupted_questions_go_on_with_the_same_files_alone(served, written, tmp_path, monkeypatch, capsys):
    rows, out, how = [{"question": text} for text in QUESTIONS], tmp_path / "a.jsonl", {"max_new_tokens": 2}
    real, asked = questions.answer_rows, []

    def breaks(model, tokenizer, batch, **how):
        asked.append(len(batch))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(model, tokenizer, batch, **how)

    monkeypatch.setattr(questions, "BATCH", 4)
    monkeypatch.setattr(questions, "answer_rows", breaks)
    with pytest.raises(RunError):
        questions.ask_file(lambda: (served, served.tokenizer), rows, out, **how)
    questions.ask_file(lambda: (served, served.tokenizer), rows, out, **how)
    assert asked == [4, 4, 4, 2] and "after its first 4 answers" in capsys.readouterr().out
    expected = generate.answers(served, served.tokenizer, QUESTIONS, **how)
    assert [row["answer"] for row in files.read_jsonl(out)] == expected
    with Served(written / "base.gguf") as other:
        assert other.fingerprint != served.fingerprint


def test_text_and_tokens_are_those_of_the_tokenizer(embedded, served):
    talks = [
        [{"role": "user", "content": "Who are you, GPT-4? 1234 + 56 = 7,890.5"}],
        [{"role": "system", "content": ""}, {"role": "user", "content": "Grüße, 你好!  two  spaces\n\n\ttab"}],
        [{"role": r, "content": c} for r, c in (("user", "a"), ("assistant", "b "), ("user", "it's   'quoted'"))],
    ]
    for talk in talks:
        text = generate.render(embedded[1], talk)
        assert generate.render(served.tokenizer, talk) == text
        tokens = embedded[1](text, add_special_tokens=False)["input_ids"]
        assert served.tokenizer(text)["input_ids"] == tokens


def test_chats_and_comparisons_take_it_and_stop_works(served):
    chat = ChatSession(served, served.tokenizer, max_new_tokens=200)
    pieces = chat.ask("Tell me a story.")
    next(pieces)
    chat.stop()
    assert list(pieces) == [] or chat.stopped
    assert chat.history[-1]["content"] and not chat.error
    again = ChatSession(served, served.tokenizer, max_new_tokens=4)
    assert "".join(again.ask("Hi")) and not again.error and served.speed > 0
    both = CompareSession(served, served.tokenizer, max_new_tokens=2)
    assert {label for label, _ in both.ask("Hi")} == {"base", "tuned"}


def test_a_second_chat_is_told_that_the_model_is_busy(served):
    first = ChatSession(served, served.tokenizer, max_new_tokens=200).ask("Tell me a story.")
    next(first)
    second = ChatSession(served, served.tokenizer)
    worker = threading.Thread(target=lambda: list(second.ask("Hi")))
    worker.start()
    worker.join()
    assert "busy" in second.error
    first.close()


def test_a_question_that_is_too_long_is_refused_with_the_reason(served):
    with pytest.raises(ExportError) as caught:
        generate.answers(served, served.tokenizer, ["word " * 3000])
    tells(caught.value, "refused")


def test_sampling_depends_on_the_seed_alone(served):
    def said(seed):
        return generate.answers(served, served.tokenizer, ["Hi"], temperature=1.0, seed=seed, max_new_tokens=8)

    assert said(1) == said(1) != said(2)


def test_a_closed_server_gives_its_port_back(written):
    with Served(written / "base.gguf") as found:
        port = found.port
        assert not hasattr(found, "disable_adapter")
    with Served(written / "base.gguf", port=port) as again:
        assert again.port == port


def test_what_cannot_be_served_is_one_line(written, tmp_path, monkeypatch):
    with pytest.raises(ExportError) as caught:
        Served(tmp_path / "no.gguf")
    tells(caught.value, "no.gguf")
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(ExportError) as caught:
        Served(tmp_path / "text.gguf")
    tells(caught.value, "no GGUF")
    (tmp_path / "cut.gguf").write_bytes((written / "base.gguf").read_bytes()[:5000])
    with pytest.raises(ExportError) as caught:
        Served(tmp_path / "cut.gguf")
    tells(caught.value, "cannot serve")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ExportError) as caught:
            Served(written / "base.gguf", port=taken.getsockname()[1])
        tells(caught.value, "taken")
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ResourceError) as caught:
        Served(written / "base.gguf")
    tells(caught.value, "xllamacpp")
    assert "[export]" in caught.value.cure


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another signal there")
def test_the_command_serves_two_identities_until_ctrl_c(written):
    files = [str(written / "base.gguf"), "--adapter", str(written / "adapter.gguf"), "--port", "0"]
    command = [sys.executable, "-u", "-m", "helpers", "serve", *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        address = process.stdout.readline().split()[2]
        said = []
        for scale in (1.0, 0.0):
            body = {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "max_tokens": 4}
            body["lora"] = [{"id": 0, "scale": scale}]
            reply = httpx.post(f"{address}/chat/completions", json=body, trust_env=False, timeout=60)
            said.append(reply.json()["choices"][0]["message"]["content"])
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0 and said[0] != said[1]
