"""The chat boxes: nothing said is rendered, the page is never held up, and without a browser there is a static form."""

import threading
import time
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from helpers import generate
from helpers.widgets import boxes, render
from helpers.widgets.session import pairs
from tests.scripted import HOSTILE, WordTokenizer, fake_model


def settle(box, seconds=20.0):
    """Wait until the box has finished; fails if it never does."""
    end = time.monotonic() + seconds
    while not box.stop_button.disabled:
        assert time.monotonic() < end, "the box is still answering"
        time.sleep(0.01)


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def box_of(**settings):
    return boxes.ChatBox(fake_model(), WordTokenizer(), **settings)


# ---------------------------------------------------------------- what is shown


class Seen(HTMLParser):
    """What a browser would make of a value: its tags, its attributes, its text."""

    def __init__(self, value):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(value)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_shown_and_never_rendered(scripted, text):
    scripted([text], [RuntimeError(text)])
    box = box_of(examples=())
    box.ask(text)
    settle(box)
    seen = Seen(box.screen.value)
    assert seen.tags <= {"div"} and seen.attributes <= {"class", "dir"}
    assert seen.text.count(render.plain(text)) == 2  # as the question and as the answer
    box.ask("fail")
    settle(box)
    assert Seen(box.status.value).tags == {"div"}
    box.screen.value.encode(), box.status.value.encode()  # can be sent to a browser


def test_enter_sends_the_text_once_and_leaving_the_field_does_not_send(scripted):
    script = scripted(["A"], ["B"])
    box = box_of()
    box.field.value = "left by a click elsewhere"
    time.sleep(2 * boxes.ENTER_WAIT)
    assert script.calls == []
    enter = {"event": "submit"}
    box.field._handle_custom_msg(enter, [])  # Enter, then the value it commits
    box.field.value = "typed and Enter"
    settle(box)
    until(lambda: len(script.calls) == 1)
    assert script.calls[0]["messages"][-1]["content"] == "typed and Enter" and box.field.value == ""
    box.field._handle_custom_msg(enter, [])  # Enter in the empty field
    time.sleep(2 * boxes.ENTER_WAIT)
    assert len(script.calls) == 1
    box.field.value = "known before Enter"
    box.field._handle_custom_msg(enter, [])
    until(lambda: len(script.calls) == 2)


def test_a_question_during_an_answer_stays_in_the_field(scripted):
    gate = threading.Semaphore(0)
    scripted(["A"], gate=gate)
    box = box_of()
    assert box.ask("first")
    box.field.value = "second"
    box.send_question()
    assert box.field.value == "second" and "Still answering" in box.status.value
    gate.release()
    settle(box)
    assert pairs(box.session.history) == [("first", "A")]


def test_callbacks_return_at_once_and_stop_and_clear_take_hold(scripted):
    gate = threading.Semaphore(1)
    scripted(["I ", "am ", "Tavi."], ["x ", "y"], gate=gate)
    box = box_of()
    box.example_buttons[0].click()
    until(lambda: "I" in Seen(box.screen.value).text.split("Model")[-1])
    assert not box.stop_button.disabled and box.send_button.disabled and box.example_buttons[0].disabled
    box.stop_button.click()
    gate.release()
    settle(box)
    assert "Stopped" in box.status.value and pairs(box.session.history) == [("Who are you?", "I")]
    gate.release()
    box.retry_button.click()
    until(lambda: "x" in Seen(box.screen.value).text)
    box.clear_button.click()
    assert "Nothing was asked" in box.screen.value
    gate.release()
    settle(box)
    assert "Nothing was asked" in box.screen.value and "Cleared" in box.status.value and box.retry_button.disabled


def test_the_page_is_updated_at_most_about_ten_times_a_second(scripted):
    def pieces():
        for _ in range(200):
            time.sleep(0.005)
            yield "word "

    scripted(pieces())
    box = box_of()
    box.session._count = lambda text: 1
    updates = []
    box.screen.observe(lambda change: updates.append(change["new"]), names="value")
    began = time.monotonic()
    box.ask("q")
    settle(box)
    assert 5 <= len(updates) <= 10 * (time.monotonic() - began) + 4
    assert updates[-1].count("word") == 200


def test_a_defect_in_the_thread_is_shown_and_the_box_stays_usable(scripted, monkeypatch):
    def defect(text):
        raise KeyError("a <b>defect</b>")
        yield

    scripted(["A"])
    box = box_of()
    with monkeypatch.context() as broken:
        broken.setattr(box.session, "ask", defect)
        box.ask("q")
        settle(box)
    assert "KeyError" in box.status.value and "<b>" not in box.status.value
    box.ask("again")
    settle(box)
    assert pairs(box.session.history) == [("again", "A")]


def test_compare_columns_carry_labels_and_waiting_marks(scripted):
    gate = threading.Semaphore(0)
    scripted(["one"], ["two"], gate=gate)
    box = boxes.CompareBox(fake_model(), WordTokenizer(), arms={"<b>": {"system": "a"}, "second": {"system": "b"}})
    box.ask("q")
    until(lambda: all("…" in screen.value for screen in box.screens.values()))
    gate.release()
    until(lambda: "one" in box.screens["<b>"].value)
    assert "…" in box.screens["second"].value
    gate.release()
    settle(box)
    assert Seen(box.screens["<b>"].value).tags == {"div"}
    assert "two" in box.screens["second"].value and "…" not in box.screens["second"].value


# ---------------------------------------------------------------- without a browser


def test_the_static_form_prints_what_the_model_answers_and_returns_nothing(embedded, capsys):
    questions = ("Who are you?", "What is the capital of France?")
    said = generate.answers(*embedded, questions, max_new_tokens=12)
    assert boxes.chat_box(*embedded, examples=questions, max_new_tokens=12) is None
    first = capsys.readouterr().out
    assert (
        first == f"{boxes.STATIC}\n\nYou: {questions[0]}\nModel: {said[0]}\n\nYou: {questions[1]}\nModel: {said[1]}\n"
    )
    arms = {"default": {}, "prompt": {"system": "You are Tavi."}}
    assert boxes.compare_box(*embedded, arms=arms, examples=questions[:1], max_new_tokens=12) is None
    printed = capsys.readouterr().out.splitlines()
    assert printed[2:4] == [f"You: {questions[0]}", f"default: {said[0]}"] and printed[4].startswith("prompt: ")


def test_without_the_variable_a_kernel_decides(monkeypatch):
    monkeypatch.delenv("IDENTITY_STATIC", raising=False)
    assert boxes.is_static()  # this is no notebook
    monkeypatch.setattr(boxes, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    assert not boxes.is_static()
    monkeypatch.setenv("IDENTITY_STATIC", "1")
    assert boxes.is_static()


def test_a_shown_box_is_displayed_once_and_nothing_is_returned(monkeypatch):
    shown = []
    monkeypatch.setattr(boxes, "is_static", lambda: False)
    monkeypatch.setattr(boxes, "display", shown.append)
    assert boxes.chat_box(None, WordTokenizer()) is None
    assert boxes.compare_box(None, WordTokenizer(), arms={"x": {}}) is None
    assert [type(box) for box in shown] == [boxes.ChatBox, boxes.CompareBox]


def test_two_chats_on_one_model_never_mix(embedded):
    first, second = boxes.ChatBox(*embedded, max_new_tokens=300), boxes.ChatBox(*embedded, max_new_tokens=20)
    first.ask("Tell me a long story about the sea.")
    until(lambda: first.session.history[-1]["role"] == "assistant")
    second.ask("What is the capital of France?")
    settle(second)
    assert "the model is busy" in second.status.value and "a chat answer is running" in second.status.value
    assert pairs(second.session.history) == [("What is the capital of France?", None)]
    first.stop_button.click()
    settle(first)
    second.retry_button.click()
    settle(second)
    assert pairs(second.session.history)[0][1].startswith("The capital of France is Paris")
    assert "Paris" not in first.session.transcript() and "story" not in second.session.transcript()
