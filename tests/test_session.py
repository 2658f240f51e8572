"""The sessions under the chat boxes: nothing said is lost, nothing waits, and no widget is needed for it."""

import ast
import inspect
import time

import pytest

from helpers.errors import AdapterError, BusyError, HelpersError
from helpers.widgets import render, session
from helpers.widgets.session import ChatSession, CompareSession, pairs
from tests.scripted import HOSTILE, WordTokenizer, fake_model


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


def test_plain_text_cannot_steer_a_terminal(chat, scripted):
    scripted([HOSTILE["controls"] + HOSTILE["right-to-left"]])
    list(chat.ask("q"))
    assert not set("\x1b\x00\x07\u202e\ud800") & set(chat.transcript())
    assert "مرحبا" in chat.transcript()


def test_session_and_render_need_no_widgets():
    for module in (session, render):
        imports = [
            n for n in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(n, ast.Import | ast.ImportFrom)
        ]
        assert imports and not [n for n in imports if "ipywidgets" in ast.unparse(n) or "IPython" in ast.unparse(n)]


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
