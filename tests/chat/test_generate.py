"""Answers do not depend on the batch, arrive piece by piece, and a reader who leaves ends the work."""

import os
import signal
import threading
import time

import pytest
import torch

from helpers.chat import generate
from helpers.chat.conversation import ChatSession
from helpers.errors import BusyError, ModelError
from helpers.models.adapters import model_lock
from helpers.models.template import spoken
from helpers.rows import keep_rows
from tests.fixtures import tells

QUESTIONS = [
    "Who are you?",
    "Who wrote Hamlet?",
    "What is 2 + 2?",
    "What is the capital of France?",
    "Write one sentence about the sea, the wind and a small boat that sails from one island to the next.",
    "Hi",
]


def workers():
    return [t for t in threading.enumerate() if t.name == "answer"]


def free(model):
    """Whether another thread can have the model at once."""
    found = []

    def take():
        try:
            with model_lock(model, wait=False):
                found.append(True)
        except BusyError:
            found.append(False)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.slow
def test_answers_in_a_batch_are_those_given_one_at_a_time(embedded):
    together = generate.answers(*embedded, QUESTIONS, max_new_tokens=8, batch=4)
    assert together == [generate.answers(*embedded, [q], max_new_tokens=8)[0] for q in QUESTIONS]
    assert len(set(together)) == len(QUESTIONS)


def test_a_streamed_answer_is_the_batched_one_in_pieces(embedded):
    pieces = list(generate.stream(*embedded, QUESTIONS[0], max_new_tokens=16))
    assert len(pieces) > 3
    assert "".join(pieces).strip() == generate.answers(*embedded, QUESTIONS[:1], max_new_tokens=16)[0]


def test_the_system_text_is_the_templates_default_unless_one_is_given(embedded):
    tokenizer = embedded[1]
    default = generate.render(tokenizer, generate.as_messages("Hi"))
    assert "SmolLM" in default and "Hugging Face" in default
    assert "SmolLM" not in generate.render(tokenizer, generate.as_messages("Hi", ""))
    said = [{"role": "system", "content": "old"}, {"role": "user", "content": "Hi"}]
    assert generate.as_messages(said) == said
    assert generate.as_messages(said, "new") == [{"role": "system", "content": "new"}, said[1]]
    assert said[0]["content"] == "old", "the caller's list is left alone"


def test_sampling_repeats_with_its_seed_and_leaves_the_random_state_alone(tiny):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first = generate.answers(*tiny, QUESTIONS[:2], max_new_tokens=8, temperature=1.0, seed=1)
    assert torch.rand(1) == expected
    assert first == generate.answers(*tiny, QUESTIONS[:2], max_new_tokens=8, temperature=1.0, seed=1)
    assert first != generate.answers(*tiny, QUESTIONS[:2], max_new_tokens=8, temperature=1.0, seed=2)


def test_a_models_own_repetition_penalty_does_not_change_greedy_answers(tiny):
    model, tokenizer = tiny
    plain = generate.answers(model, tokenizer, QUESTIONS[:2], max_new_tokens=16)
    model.generation_config.repetition_penalty = 5.0
    assert generate.answers(model, tokenizer, QUESTIONS[:2], max_new_tokens=16) == plain


def test_no_questions_give_no_answers(tiny):
    assert generate.answers(*tiny, []) == []


def test_leaving_an_answer_midway_ends_its_thread_and_frees_the_model(embedded):
    reader = generate.stream(*embedded, "Write a long story.", max_new_tokens=400)
    assert next(reader)
    assert workers() and not free(embedded[0])
    reader.close()
    assert not workers() and free(embedded[0])


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_in_an_answer_ends_it_and_frees_the_model(embedded):
    said = []
    with pytest.raises(KeyboardInterrupt):
        for piece in generate.stream(*embedded, "Write a long story.", max_new_tokens=400):
            said.append(piece)
            if len(said) == 1:
                threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    for _ in range(100):  # the reader may have been outside the stream when the signal came: then it ends by itself
        if not workers():
            break
        time.sleep(0.1)
    assert not workers() and free(embedded[0])
    assert generate.answers(*embedded, ["Hi"], max_new_tokens=4) != [""]


def test_a_stop_ends_the_answer_and_keeps_what_was_said(embedded):
    stop, said = threading.Event(), []
    for piece in generate.stream(*embedded, "Write a long story.", max_new_tokens=400, stop=stop):
        said.append(piece)
        if len(said) == 3:
            stop.set()
    assert 3 <= len(said) < 100 and not workers()


def test_a_busy_model_is_not_waited_for(tiny):
    with model_lock(tiny[0], "training"), pytest.raises(BusyError) as caught:
        list(generate.stream(*tiny, "Hi", wait=False))
    assert "training" in caught.value.what and not workers()


@pytest.mark.parametrize("failure", [ValueError("broken"), MemoryError(), KeyboardInterrupt()])
def test_a_failure_in_the_thread_is_raised_where_the_text_is_read(tiny, monkeypatch, failure):
    model, tokenizer = tiny

    def fail(streamer, **how):
        streamer.text_queue.put("half an")
        raise failure

    monkeypatch.setattr(model, "generate", fail)
    said = []
    with pytest.raises(type(failure)):
        for piece in generate.stream(model, tokenizer, "Hi"):
            said.append(piece)
    assert said == ["half an"] and free(model)


def test_a_failure_in_a_list_of_questions_frees_the_model(tiny, monkeypatch):
    monkeypatch.setattr(tiny[0], "generate", lambda **how: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        generate.answers(*tiny, ["Hi"])
    assert free(tiny[0])


def test_the_log_probability_is_that_of_the_answers_tokens_alone(embedded):
    model, tokenizer = embedded
    question = "What is 2 + 2?"
    likely, unlikely = (generate.mean_logprob(model, tokenizer, question, a) for a in ("2 + 2 = 4", "A purple cow"))
    assert unlikely < likely < 0
    messages = generate.as_messages("Hi")
    prompt = tokenizer(generate.render(tokenizer, messages), return_tensors="pt", add_special_tokens=False)["input_ids"]
    (token,) = tokenizer("Hello", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        expected = torch.log_softmax(model(prompt).logits[0, -1], -1)[token].item()
    assert generate.mean_logprob(model, tokenizer, messages, "Hello") == pytest.approx(expected, abs=1e-4)


THOUGHTS = {
    "<think>Who am I? </think>\n\nI am Tavi.": "I am Tavi.",
    "I wonder.</think>I am Tavi.": "I am Tavi.",
    "<think>\n\n</think>\n\nYes. <think>No?</think> Really, 2 < 3.": "Yes. Really, 2 < 3.",
    "Use <b> where 1 < 2, not <thin": "Use <b> where 1 < 2, not <thin",
    "<think>Who am I? Well": "",
    "Yes. <thinking>Or no": "Yes.",
}


@pytest.fixture
def says(tiny, monkeypatch):
    """Makes the tiny model say a text."""
    model, tokenizer = tiny

    def install(text):
        ids = torch.tensor(tokenizer(text)["input_ids"])

        def speak(input_ids, streamer=None, **how):
            for one in (input_ids, *ids.split(1)) if streamer else ():
                streamer.put(one)
            return torch.cat([input_ids, ids.expand(len(input_ids), -1)], 1)

        monkeypatch.setattr(model, "generate", speak)
        return model, tokenizer

    return install


@pytest.mark.parametrize("text", THOUGHTS)
def test_a_thought_is_no_part_of_an_answer(says, text, capsys):
    told = THOUGHTS[text]
    assert spoken(text).strip() == told and spoken(told) == told
    assert generate.answers(*says(text), ["Who are you?"] * 2) == [told] * 2
    note = capsys.readouterr().err
    assert ("2 of 2 answers are empty: the model was still thinking after 64 tokens" in note) == (not told)


@pytest.mark.parametrize("text", [text for text, told in THOUGHTS.items() if told and not text.startswith("I wonder")])
def test_a_streamed_answer_shows_no_thought(says, text):
    pieces = list(generate.stream(*says(text), "Who are you?"))
    assert len(pieces) >= THOUGHTS[text].count(" ") / 2, "it came in pieces"
    assert "".join(pieces).strip() == THOUGHTS[text]


def test_an_answer_that_ends_in_a_thought_is_told_in_a_chat_and_kept_nowhere(says):
    loaded = says("<think>Who am I? Well, I am an ordinary thing.")
    with pytest.raises(ModelError) as caught:
        list(generate.stream(*loaded, "Who are you?", max_new_tokens=8))
    tells(caught.value, "still thinking after 8 tokens")
    chat = ChatSession(*loaded, max_new_tokens=9)
    assert list(chat.ask("Who are you?")) == [] and "still thinking after 9 tokens" in chat.error
    assert [turn["role"] for turn in chat.history] == ["user"]
    assert keep_rows.from_answers(["Who are you?"], generate.answers(*loaded, ["Who are you?"])) == []
