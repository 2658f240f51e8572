"""The sessions under the chat boxes: nothing said is lost, nothing waits, and no widget is needed for it."""

import json
import threading
import time

import pytest

from helpers.chat.conversation import ChatSession, plain
from helpers.errors import BusyError, HelpersError
from helpers.widgets.transcript import entries
from tests.scripted import HOSTILE, WordTokenizer, fake_model, pairs


def test_an_answer_streams_and_both_turns_are_kept(chat, scripted):
    script = scripted(["I am ", "Tavi."], ["Fine."])
    assert list(chat.ask(" Who are you? ")) == ["I am ", "Tavi."]
    list(chat.ask("And how?"))
    assert pairs(chat.history) == [("Who are you?", "I am Tavi."), ("And how?", "Fine.")]
    assert [m["content"] for m in script.calls[1]["messages"]] == ["Who are you?", "I am Tavi.", "And how?"]


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


def test_what_is_shown_of_an_answer_only_grows(chat, scripted):
    scripted([" I ", "am ", "Tavi. "])
    shown = [entries(chat)[-1]["text"] for _ in chat.ask("q")] + [entries(chat)[-1]["text"]]
    assert shown == ["I", "I am", "I am Tavi.", "I am Tavi."]  # the page gets each piece once


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
    assert pairs(chat.history) == [("first", None), ("second", "Yes.")]


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


@pytest.mark.parametrize(("words", "longest"), [(500, 96), (1, 100)])
def test_what_can_never_fit_is_refused_with_its_length_and_the_setting(chat, scripted, words, longest):
    script = scripted(["never said"])
    chat.model, chat.max_new_tokens = fake_model(100), longest
    list(chat.ask("a " * words))
    assert f"{words} tokens and {longest} for the answer, but only 100 fit" in chat.error
    assert "lower max_new_tokens" in chat.error and script.calls == []


def test_settings_changed_after_a_question_hold_from_the_next(chat, scripted):
    script = scripted(["one two"], ["three"])
    pieces = chat.ask("first")
    chat.system, chat.max_new_tokens = "Be brief.", 2
    assert chat.settings()["system"] is None and list(pieces) == ["one two"] and not chat.note
    list(chat.ask("second"))
    assert [c["system"] for c in script.calls] == [None, "Be brief."]
    assert [c["max_new_tokens"] for c in script.calls] == [t["max_new_tokens"] for t in chat.history[1::2]] == [96, 2]


def test_an_answer_cut_at_the_limit_says_so(chat, scripted):
    chat.max_new_tokens = 3
    scripted(["one two three"], ["one two"])
    list(chat.ask("count"))
    assert "cut at 3 tokens" in chat.note
    list(chat.ask("count"))
    assert not chat.note


def test_plain_text_cannot_steer_a_terminal():
    text = plain(HOSTILE["controls"] + HOSTILE["right-to-left"] + "\n\t")
    assert not set("\x1b\x00\x07\u202e\ud800") & set(text) and "مرحبا" in text and text.endswith("\n\t")


def test_stop_works_quickly_and_keeps_the_text(embedded):
    session = ChatSession(*embedded, max_new_tokens=400)
    stopped_at = None
    for i, _ in enumerate(session.ask("Tell me a long story about the sea.")):
        if i == 3:
            stopped_at = time.monotonic()
            session.stop()
    assert time.monotonic() - stopped_at < 3.0  # 0.1 s on an idle machine; the whole answer takes 20
    [(_, answer)] = pairs(session.history)
    assert session.stopped and 3 <= len(answer.split()) < 50


def test_stop_also_ends_the_reading_of_a_long_prompt(embedded):
    # Reading 1,900 tokens takes seconds, and no token is made meanwhile: a layer must notice.
    model, session = embedded[0], ChatSession(*embedded, max_new_tokens=100)
    last, ends = list(model.modules())[-1], []
    watch = last.register_forward_hook(lambda *_: ends.append(time.monotonic()))
    pieces = session.ask("the sea " * 900)
    threading.Timer(0.2, session.stop).start()
    assert list(pieces) == [] and ends == []  # not one pass came to its end
    watch.remove()
    assert session.stopped and not session.error
    assert not any(m._forward_pre_hooks for m in model.modules())
    assert "".join(session.ask("What is the capital of France?"))  # and the model is free again


def test_every_answer_carries_what_it_was_made_by_and_the_conversation_can_be_saved(chat, scripted, tmp_path):
    scripted(["one"], ["\x1b[31mtwo\ud800"])
    list(chat.ask("first"))
    chat.adapter, chat.temperature = False, 0.7
    list(chat.ask("second"))
    lines = [json.loads(line) for line in chat.save(tmp_path / "chat.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(t["role"], t.get("adapter"), t.get("temperature")) for t in lines] == [
        ("user", None, None), ("assistant", True, None), ("user", None, None), ("assistant", False, 0.7),
    ]  # fmt: skip
    assert [t["content"] for t in lines] == ["first", "one", "second", "\ufffd[31mtwo\ufffd"]
    chat.clear()
    with pytest.raises(HelpersError, match="nothing was said"):
        chat.save(tmp_path / "chat.jsonl")
    assert len((tmp_path / "chat.jsonl").read_text(encoding="utf-8").splitlines()) == 4


def test_the_speed_is_tokens_over_the_time_they_took(chat, scripted):
    def slow():
        time.sleep(0.2)
        yield "one two three four"

    scripted(slow(), [BusyError("busy", "wait")])
    list(chat.ask("q"))
    assert 0 < chat.speed <= 4 / 0.2
    list(chat.ask("again"))
    assert chat.speed == 0
