"""The chat boxes and the sessions under them: nothing said is lost, nothing said is rendered, nothing waits."""

import ast
import inspect
import threading
import time
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from helpers import generate
from helpers.errors import AdapterError, BusyError, HelpersError
from helpers.widgets import boxes, render, session
from helpers.widgets.session import ChatSession, CompareSession, pairs

HOSTILE = {
    "image": "<img src=x onerror=\"document.title='owned'\">",
    "script": "</div></style><script>alert('x')</script>",
    "quotes": "\" onmouseover='alert(1)' x=`",
    "entity": "&lt;b&gt; &amp; &#60;script&#62;",
    "long": "a" * 10_000,
    "right-to-left": "مرحبا \u202e<b>evil</b>\u202c שלום",
    "emoji": "👩‍👩‍👧 🏳️‍🌈 ✨\n\n  indented",
    "controls": "\x1b[31mred\x00\x07\ud800",
}


def fake_model(context=100_000):
    return SimpleNamespace(config=SimpleNamespace(max_position_embeddings=context), disable_adapter=None)


class WordTokenizer:
    """A word is a token."""

    def apply_chat_template(self, messages, **kwargs):
        return " ".join(m["content"] for m in messages)

    def __call__(self, text, **kwargs):
        return {"input_ids": text.split()}


class Script:
    """Stands in for `generate.stream`: says the pieces of ``answers`` in order, raising what is an exception.

    ``gate``, if set, is waited for before each piece, so that a test can act while an answer is under way.
    """

    def __init__(self, *answers, gate=None):
        self.answers, self.gate, self.calls = list(answers), gate, []

    def __call__(self, model, tokenizer, messages, *, stop=None, wait=True, **how):
        self.calls.append({"messages": [dict(m) for m in messages], "wait": wait, **how})
        for piece in self.answers.pop(0):
            if self.gate:
                self.gate.acquire(timeout=5)
            if stop.is_set():
                return
            if isinstance(piece, Exception):
                raise piece
            yield piece


@pytest.fixture
def scripted(monkeypatch):
    """Install a script; returns a function that takes its answers."""

    def install(*answers, gate=None):
        script = Script(*answers, gate=gate)
        monkeypatch.setattr(generate, "stream", script)
        return script

    return install


@pytest.fixture
def chat():
    return ChatSession(fake_model(), WordTokenizer())


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


# ---------------------------------------------------------------- one conversation


def test_an_answer_streams_and_both_turns_are_kept(chat, scripted):
    script = scripted(["I am ", "Tavi."], ["Fine."])
    assert list(chat.ask(" Who are you? ")) == ["I am ", "Tavi."]
    list(chat.ask("And how?"))
    assert pairs(chat.history) == [("Who are you?", "I am Tavi."), ("And how?", "Fine.")]
    assert [m["content"] for m in script.calls[1]["messages"]] == ["Who are you?", "I am Tavi.", "And how?"]
    assert chat.transcript() == "You: Who are you?\nModel: I am Tavi.\nYou: And how?\nModel: Fine."


def test_the_model_is_never_waited_for_and_settings_reach_it(scripted):
    script = scripted(["x"])
    list(ChatSession(fake_model(), WordTokenizer(), "", adapter=False, max_new_tokens=7, temperature=0.5).ask("q"))
    call = script.calls[0]
    assert call["wait"] is False
    assert (call["system"], call["adapter"], call["max_new_tokens"], call["temperature"]) == ("", False, 7, 0.5)


def test_stop_keeps_what_was_said(chat, scripted):
    scripted(["I ", "am ", "Tavi."], ["Yes."])
    pieces = chat.ask("Who are you?")
    next(pieces), next(pieces)
    chat.stop()
    assert list(pieces) == []
    assert pairs(chat.history) == [("Who are you?", "I am")]
    assert chat.stopped and not chat.error
    assert list(chat.ask("Go on?")) == ["Yes."] and not chat.stopped


def test_a_stop_before_the_first_word_is_not_lost(chat, scripted):
    script = scripted(["never said"])
    pieces = chat.ask("Who are you?")
    chat.stop()
    assert list(pieces) == [] and script.calls == []
    assert pairs(chat.history) == [("Who are you?", None)]


def test_leaving_the_loop_keeps_what_was_said(chat, scripted):
    scripted(["I ", "am ", "Tavi."])
    for _ in chat.ask("Who are you?"):
        break
    assert pairs(chat.history) == [("Who are you?", "I")]


def test_retry_replaces_the_answer_and_brings_it_back_when_it_fails(chat, scripted):
    scripted(["old"], ["new"], [BusyError("the model is busy", "wait for it")])
    list(chat.ask("Who are you?"))
    list(chat.retry())
    assert pairs(chat.history) == [("Who are you?", "new")]
    list(chat.retry())
    assert pairs(chat.history) == [("Who are you?", "new")]
    assert chat.error == "the model is busy. What to do: wait for it"


def test_retry_of_nothing_and_blank_text_ask_nothing(chat, scripted):
    script = scripted()
    assert list(chat.retry()) == list(chat.ask(" \n\t")) == []
    assert script.calls == [] and chat.history == []


def test_a_busy_model_is_told_and_the_question_can_be_retried(chat, scripted):
    script = scripted([BusyError("the model is busy: training is running", "wait for it")], ["Tavi."])
    assert list(chat.ask("Who are you?")) == []
    assert "training is running" in chat.error and pairs(chat.history) == [("Who are you?", None)]
    assert list(chat.retry()) == ["Tavi."]
    assert not chat.error and len(script.calls[1]["messages"]) == 1


@pytest.mark.parametrize("failure", [RuntimeError("out of memory\nmore"), ValueError(), MemoryError("no room")])
def test_any_failure_keeps_the_text_and_the_session_usable(chat, scripted, failure):
    scripted(["I am ", failure], ["Yes."])
    assert list(chat.ask("Who are you?")) == ["I am "]
    assert type(failure).__name__ in chat.error and "\n" not in chat.error
    assert pairs(chat.history) == [("Who are you?", "I am")]
    assert list(chat.ask("Still there?")) == ["Yes."] and not chat.error


def test_an_unanswered_question_is_kept_but_not_sent_again(chat, scripted):
    script = scripted([BusyError("busy", "wait")], ["Yes."])
    list(chat.ask("first"))
    list(chat.ask("second"))
    assert [m["content"] for m in script.calls[1]["messages"]] == ["second"]
    assert chat.transcript() == "You: first\nModel: (no answer)\nYou: second\nModel: Yes."


def test_clear_forgets_even_an_answer_under_way(chat, scripted):
    scripted(["I ", "am ", "Tavi."], ["Yes."])
    pieces = chat.ask("Who are you?")
    next(pieces)
    chat.clear()
    assert list(pieces) == []
    assert chat.history == [] and not chat.error and not chat.stopped
    assert list(chat.ask("New?")) == ["Yes."] and pairs(chat.history) == [("New?", "Yes.")]


def test_the_oldest_turns_make_room_and_the_reader_is_told(chat, scripted):
    chat.model, chat.max_new_tokens = fake_model(100), 50
    script = scripted(["one"], ["two"], ["three"])
    for question in ("a " * 30, "b " * 10, "c " * 15):
        list(chat.ask(question))
    assert script.calls[2]["messages"][0]["content"][0] == "b"
    assert "oldest 1 turns" in chat.note and len(chat.history) == 6


def test_a_question_too_long_for_the_model_is_refused_with_its_length(chat, scripted):
    script = scripted(["never said"])
    chat.model = fake_model(100)
    list(chat.ask("a " * 500))
    assert "500 tokens, 4 fit" in chat.error and script.calls == []


def test_an_answer_that_can_never_fit_names_the_setting(chat, scripted):
    scripted(["never said"])
    chat.model, chat.max_new_tokens = fake_model(100), 100
    list(chat.ask("short"))
    assert "max_new_tokens=100 leaves no room" in chat.error


def test_an_answer_cut_at_the_limit_says_so(chat, scripted):
    chat.max_new_tokens = 3
    scripted(["one two three"], ["one two"])
    list(chat.ask("count"))
    assert "cut at 3 tokens" in chat.note
    list(chat.ask("count"))
    assert not chat.note


# ---------------------------------------------------------------- side by side


def test_arms_answer_in_turn_and_keep_their_own_conversations(scripted):
    script = scripted(["A"], ["B"], ["C"], ["D"])
    both = CompareSession(fake_model(), WordTokenizer())
    assert list(both.ask("q")) == [("base", "A"), ("tuned", "B")]
    list(both.ask("r"))
    assert [c["adapter"] for c in script.calls] == [False, True] * 2
    assert [m["content"] for m in script.calls[3]["messages"]] == ["q", "B", "r"]


def test_stop_skips_the_arms_to_come_and_failures_name_their_arm(scripted):
    both = CompareSession(fake_model(), WordTokenizer(), {"x": {"system": "a"}, "y": {"system": "b"}})
    scripted(["I ", "am"], [BusyError("busy", "wait")], ["B"])
    pieces = both.ask("q")
    next(pieces)
    both.stop()
    assert list(pieces) == [] and both.stopped
    assert pairs(both.arms["x"].history) == [("q", "I")] and pairs(both.arms["y"].history) == [("q", None)]
    assert list(both.ask("r")) == [("y", "B")]
    assert both.error == "x: busy. What to do: wait."


@pytest.mark.parametrize(
    ("arms", "kind", "words"),
    [
        (None, AdapterError, "no adapter"),
        ({}, HelpersError, "no arm"),
        ({"x": {"systm": "a"}}, HelpersError, "'systm'"),
    ],
)
def test_arms_that_cannot_differ_are_refused_with_the_cure(arms, kind, words):
    with pytest.raises(kind, match=words):
        CompareSession(None, WordTokenizer(), arms)


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


def test_plain_text_cannot_steer_a_terminal(chat, scripted):
    scripted([HOSTILE["controls"] + HOSTILE["right-to-left"]])
    list(chat.ask("q"))
    assert not set("\x1b\x00\x07\u202e\ud800") & set(chat.transcript())
    assert "مرحبا" in chat.transcript()


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


def test_session_and_render_need_no_widgets():
    for module in (session, render):
        imports = [
            n for n in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(n, ast.Import | ast.ImportFrom)
        ]
        assert imports and not [n for n in imports if "ipywidgets" in ast.unparse(n) or "IPython" in ast.unparse(n)]


# ---------------------------------------------------------------- the real model


def test_stop_takes_hold_quickly_and_keeps_the_text(embedded):
    talk = ChatSession(*embedded, max_new_tokens=400)
    stopped_at = None
    for i, _ in enumerate(talk.ask("Tell me a long story about the sea.")):
        if i == 3:
            stopped_at = time.monotonic()
            talk.stop()
    assert time.monotonic() - stopped_at < 3.0  # 0.1 s on an idle machine; the whole answer takes 20
    [(_, answer)] = pairs(talk.history)
    assert talk.stopped and 3 <= len(answer.split()) < 50
    assert "".join(talk.ask("What is the capital of France?"))  # and the model is free again


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
