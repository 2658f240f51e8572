"""The chat boxes: nothing said is rendered, the page is never held up, and without a browser there is a static form."""

import json
import threading
import time
from types import SimpleNamespace

import pytest
from ipywidgets import HTML

from helpers.chat import generate
from helpers.chat.compare import CompareSession
from helpers.chat.conversation import ChatSession, plain
from helpers.errors import BusyError
from helpers.widgets import show
from helpers.widgets.boxes import ChatBox, CompareBox
from helpers.widgets.show import chat_box, compare_box
from tests.fixtures import wrap
from tests.scripted import HOSTILE, WordTokenizer, fake_model, pairs

STATIC = "This box is live in JupyterLab. Its answers to the example questions (greedy decoding):"


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


def box_of(*examples):
    return ChatBox(ChatSession(fake_model(), WordTokenizer()), examples or ("Who are you?",))


def text_of(box, column=0):
    """What a column shows, an entry a line."""
    return "\n".join(f"{e['who']}: {e['text']}" if e["who"] else e["text"] for e in box.screen.columns[column])


# ---------------------------------------------------------------- what is shown


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_reaches_the_page_as_it_was_said_and_never_in_an_html_widget(scripted, text):
    scripted([text], [RuntimeError(text)])
    box = box_of()
    box.ask(text)
    settle(box)
    question, answer = box.screen.columns[0]
    assert (question["text"], answer["text"]) == (plain(text.strip()), plain(text.strip()))
    box.ask("fail")
    settle(box)
    assert box.screen.columns[0][-1]["kind"] == "error" and box.screen.failed
    json.dumps(box.screen.get_state()["columns"]).encode()  # can be sent to a browser
    shown = [w.value for w in (*box.children, *(c for row in box.children for c in getattr(row, "children", ())))
             if isinstance(w, HTML)]  # fmt: skip
    assert len(shown) == 1 and text[:5] not in shown[0]  # the style sheet alone


def test_the_field_is_emptied_only_when_its_question_was_taken(scripted):
    gate = threading.Semaphore(0)
    scripted(["A"], gate=gate)
    box = box_of()
    sent = []
    box.screen.send = sent.append
    box.screen._received(box.screen, {"op": "ask", "text": " \n"}, [])
    assert sent == [] and "Type a question" in box.screen.status
    box.screen._received(box.screen, {"op": "ask", "text": "first"}, [])
    box.screen._received(box.screen, {"op": "ask", "text": "second"}, [])
    assert [op for op in sent if op["op"] == "taken"] == [{"op": "taken"}] and "Still answering" in box.screen.status
    gate.release()
    settle(box)
    assert pairs(box.session.history) == [("first", "A")]


def test_callbacks_return_at_once_and_stop_and_clear_work_at_once(scripted):
    gate = threading.Semaphore(1)
    scripted(["I ", "am ", "Tavi."], ["x ", "y"], gate=gate)
    box = box_of()
    box.example_buttons[0].click()
    until(lambda: "): I" in text_of(box))
    assert not box.stop_button.disabled and box.screen.busy and box.example_buttons[0].disabled
    box.stop_button.click()
    gate.release()
    settle(box)
    assert "Stopped" in box.screen.status and pairs(box.session.history) == [("Who are you?", "I")]
    gate.release()
    box.retry_button.click()
    until(lambda: "): x" in text_of(box))
    box.clear_button.click()
    assert box.screen.columns == [[]]
    gate.release()
    settle(box)
    assert box.screen.columns == [[]] and "Cleared" in box.screen.status and box.retry_button.disabled


def test_the_page_is_updated_at_most_about_ten_times_a_second(scripted):
    def pieces():
        for _ in range(200):
            time.sleep(0.005)
            yield "word "

    scripted(pieces())
    box = box_of()
    updates = []
    box.screen.send = lambda op: updates.append(op)
    began = time.monotonic()
    box.ask("q")
    settle(box)
    assert 5 <= len(updates) <= 10 * (time.monotonic() - began) + 4
    assert text_of(box).count("word") == 200
    sent = "".join(op["text"] if op["op"] == "text" else op["entries"][-1]["text"] for op in updates)
    assert sent.count("word") <= 200 + 1  # each piece was sent once: the page is not given the whole text again


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
    assert "KeyError" in box.screen.status and box.screen.failed
    box.ask("again")
    settle(box)
    assert pairs(box.session.history) == [("again", "A")]


def compare_of(variants=None, blind=False, model=None):
    variants = variants or {"<b>": {"system": "a"}, "second": {"system": "b"}}
    return CompareBox(CompareSession(model or fake_model(), WordTokenizer(), variants), blind=blind)


def test_compare_columns_carry_labels_and_waiting_marks(scripted):
    gate = threading.Semaphore(0)
    scripted(["one"], ["two"], gate=gate)
    box = compare_of()
    box.ask("q")
    until(lambda: text_of(box, 0).endswith("…") and text_of(box, 1).endswith("…"))
    gate.release()
    until(lambda: "one" in text_of(box, 0))
    assert "…" in text_of(box, 1)
    gate.release()
    settle(box)
    assert box.screen.names == ["<b>", "second"] and text_of(box, 0) == "You: q\n<b>: one"
    assert text_of(box, 1) == "You: q\nsecond: two"


# ---------------------------------------------------------------- settings


def test_settings_hold_from_the_next_answer_on_and_the_adapter_switches_in_one_chat(scripted):
    script = scripted(["A"], ["B"], ["C"])
    box = box_of()
    for ask in (None, "off", "own"):
        if ask == "off":
            box.adapter.value, box.decoding.value, box.length.value = False, 0.7, 32
        if ask == "own":
            box.system_kind.value, box.system_text.value = "own", "You are Tavi."
        box.ask("q")
        settle(box)
    made = [(c["adapter"], c["temperature"], c["max_new_tokens"], c["system"]) for c in script.calls]
    assert made == [(True, None, 96, None), (False, 0.7, 32, None), (False, 0.7, 32, "You are Tavi.")]
    assert "Model (adapter on): A" in text_of(box) and "Model (adapter off): B" in text_of(box)
    box.system_kind.value = "empty"
    assert box.session.system == "" and box.system_text.layout.display == "none"


def test_saving_says_where_and_an_empty_chat_is_not_saved(scripted, home):
    scripted(["A"])
    box = box_of()
    box.save_button.click()
    assert "nothing was said" in box.screen.status and box.screen.failed
    box.ask("q")
    settle(box)
    box.save_button.click()
    [saved] = (home / "my").glob("chat-*.jsonl")
    assert saved.name in box.screen.status
    assert [json.loads(line)["content"] for line in saved.read_text().splitlines()] == ["q", "A"]


# ---------------------------------------------------------------- blind


def test_blind_columns_show_no_name_and_each_question_starts_anew(scripted):
    script = scripted(["one"], ["two"], [BusyError("busy", "wait")], ["four"])
    box = compare_of(variants={"base": {"adapter": False}, "tuned": {}}, blind=True)
    assert all(vote.disabled for vote in box.vote_buttons)
    box.ask("first")
    settle(box)
    box.ask("second")
    settle(box)
    everything = json.dumps([box.screen.names, box.screen.columns, box.screen.status])
    assert "tuned" not in everything and "base" not in everything and "busy" in everything
    assert [m["content"] for m in script.calls[3]["messages"]] == ["second"]
    assert not any(vote.disabled for vote in box.vote_buttons)
    box.clear_button.click()
    assert all(vote.disabled for vote in box.vote_buttons)  # there is no answer any more to vote on


def test_nine_variants_have_a_letter_and_a_button_each_and_the_ninth_can_be_voted_for(scripted):
    scripted(*[[f"I am {n}."] for n in range(9)])
    box = compare_of({f"variant {n}": {"system": str(n)} for n in range(9)}, blind=True)
    assert [vote.description for vote in box.vote_buttons] == [*"ABCDEFGHI", "None of them"]
    box.ask("Who are you?")
    settle(box)
    assert box.screen.names == list("ABCDEFGHI")
    said = box.screen.columns[8][1]["text"]
    box.vote_buttons[8].click()
    assert box.ballot.votes == [("Who are you?", f"variant {said[5]}")]
    box.result_button.click()
    assert f"variant {said[5]}: 1/1 = 1.00" in box.result.value and box.screen.names[8] == f"variant {said[5]}"


def test_votes_are_counted_for_the_variant_behind_the_column_and_shown_at_the_end(scripted):
    scripted(*[[answer] for _ in range(6) for answer in ("I do not know.", "I am Tavi.")])
    box = compare_of(variants={"base": {"adapter": False}, "tuned": {}}, blind=True)
    box.show_result()
    assert "No vote" in box.result.value
    for _ in range(6):
        box.ask("Who are you?")
        settle(box)
        column = next(i for i in (0, 1) if "Tavi" in text_of(box, i))
        box.vote_buttons[column].click()
        assert box.vote_buttons[0].disabled  # one vote a question
    box.result_button.click()
    assert "tuned: 6/6 = 1.00 (0.61 to 1.00)" in box.result.value and sorted(box.screen.names) == ["base", "tuned"]
    box.blind.value = False
    assert box.screen.names == ["base", "tuned"] and box.ballot.votes == [] and box.votes.layout.display == "none"


def test_the_slider_reaches_the_tuned_variant_alone(scripted):
    script = scripted(["a"], ["b"], ["a"], ["b"])
    box = compare_of(variants={"base": {"adapter": False}, "tuned": {}})
    assert box.screen.has_strength
    box.screen.strength = 0.5
    box.ask("q")
    settle(box)
    assert [c["strength"] for c in script.calls] == [1.0, 0.5]
    assert [box.screen.columns[i][1]["who"] for i in (0, 1)] == ["base", "tuned (strength 50%)"]
    box.blind.value = True
    box.ask("q")
    settle(box)
    assert [box.screen.columns[i][1]["who"] for i in (0, 1)] == ["Model", "Model"]  # it would tell them apart
    assert not compare_of(variants={"a": {}, "b": {"system": "x"}}, model=object()).screen.has_strength


# ---------------------------------------------------------------- without a browser


def test_the_static_form_prints_what_the_model_answers_and_returns_nothing(tiny, capsys):
    model, tokenizer, asked = wrap(tiny[0], strength=1.0), tiny[1], ("Who are you?", "Why?")

    def said(**how):
        return [plain(text) for text in generate.answers(model, tokenizer, asked, max_new_tokens=12, **how)]

    base, tuned, prompted = said(adapter=False), said(), said(system="You are Tavi.")
    assert chat_box(model, tokenizer, examples=asked, max_new_tokens=12) is None
    lines = [STATIC, *(f"\nYou: {question}\nModel: {tuned[i]}" for i, question in enumerate(asked))]
    assert capsys.readouterr().out == "\n".join(lines) + "\n"
    variants = {
        "base": {"adapter": False},
        "none": {"strength": 0.0},
        "tuned": {},
        "prompt": {"system": "You are Tavi."},
    }
    assert compare_box(model, tokenizer, variants=variants, examples=asked[:1], max_new_tokens=12) is None
    answers = f"base: {base[0]}\nnone: {base[0]}\ntuned: {tuned[0]}\nprompt: {prompted[0]}"
    assert capsys.readouterr().out == f"{STATIC}\n\nYou: {asked[0]}\n{answers}\n"
    assert len({base[0], tuned[0], prompted[0]}) == 3


def test_without_the_variable_a_kernel_decides(monkeypatch):
    monkeypatch.delenv("IDENTITY_STATIC", raising=False)
    assert show.is_static()  # this is no notebook
    monkeypatch.setattr(show, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    assert not show.is_static()
    monkeypatch.setenv("IDENTITY_STATIC", "1")
    assert show.is_static()


def test_a_shown_box_is_displayed_once_and_nothing_is_returned(monkeypatch):
    shown = []
    monkeypatch.setattr(show, "is_static", lambda: False)
    monkeypatch.setattr(show, "put", shown.append)
    assert chat_box(None, WordTokenizer()) is None
    assert compare_box(None, WordTokenizer(), variants={"x": {}}) is None
    assert [type(box) for box in shown] == [ChatBox, CompareBox]


def test_two_chats_on_one_model_never_mix(embedded):
    first, second = (ChatBox(ChatSession(*embedded, max_new_tokens=most)) for most in (300, 20))
    first.ask("Tell me a long story about the sea.")
    until(lambda: first.session.history[-1]["role"] == "assistant")
    second.ask("What is the capital of France?")
    settle(second)
    said = text_of(second)
    assert "the model is busy" in said and "a chat answer is running" in said
    assert "busy" not in second.screen.status and second.screen.failed  # both are spoken: the reason once
    assert pairs(second.session.history) == [("What is the capital of France?", None)]
    first.stop_button.click()
    settle(first)
    second.retry_button.click()
    settle(second)
    assert pairs(second.session.history)[0][1].startswith("The capital of France is Paris")
    assert "Paris" not in text_of(first) and "story" not in text_of(second)
