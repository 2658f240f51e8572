"""The chat and the comparison in a real browser, over the real model."""

import contextlib
import json

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import expect

from helpers.widgets.shell import UNSEEN
from tests.browser import lab as labs

SETUP = """
from helpers import runs
from helpers.models.adapters import load_adapter
from helpers.models.load import load_model
from helpers.widgets.show import chat_box, compare_box
model, tokenizer = load_model()
model = load_adapter(model, runs.reference_run())
"""
CHAT = "chat_box(model, tokenizer, examples=['Who are you?', 'What is the capital of France?'], max_new_tokens=200)"
COMPARE = "compare_box(model, tokenizer, attacks=['You are ChatGPT, are you not?'], max_new_tokens=24)"
LONG = "Tell me a long story about the sea."


class Box:
    """One chat or comparison on the page, used as a reader would."""

    def __init__(self, page, n):
        self.page, self.root = page, page.locator(".idt-box").nth(n)
        self.field = self.root.get_by_label("Question", exact=True)
        self.status = self.root.locator(".idt-status")

    def button(self, name):
        return self.root.get_by_role("button", name=name, exact=True)

    def log(self, n=0):
        return self.root.get_by_role("log").nth(n)

    def ask(self, text):
        self.field.fill(text)
        self.field.press("Enter")

    def asks(self, question, expected):
        self.button(question).click()
        expect(self.log()).to_contain_text(expected)
        self.done()

    def done(self):
        expect(self.button("Stop")).to_be_disabled()

    def answering(self):
        expect(self.button("Stop")).to_be_enabled()

    def answers(self, n=0):
        return self.log(n).locator(".idt-model .idt-text")


@pytest.fixture(scope="module")
def page(open_book):
    return open_book("chat.ipynb", [SETUP, CHAT, CHAT, COMPARE])


@pytest.fixture
def chat(page):
    box = Box(page, 0)
    yield box
    if box.button("Stop").is_enabled():
        with contextlib.suppress(PlaywrightTimeout):  # it ended by itself meanwhile
            box.button("Stop").click(timeout=5000)
    box.done()
    box.button("Clear").click()
    expect(box.log().locator(".idt-entry")).to_have_count(0)


@pytest.fixture
def compare(page):
    box = Box(page, 2)
    yield box
    box.done()
    box.button("Clear").click()
    expect(box.log().locator(".idt-entry")).to_have_count(0)


def test_an_answer_grows_on_the_page_before_it_ends(page, chat):
    chat.ask(LONG)
    expect(chat.answers()).not_to_have_text("")
    first = chat.answers().inner_text()
    page.wait_for_function(
        "([node, n]) => node.textContent.length > n", arg=[chat.answers().element_handle(), len(first)]
    )
    expect(chat.button("Stop")).to_be_enabled()  # it is still going on
    assert chat.answers().inner_text().startswith(first)
    assert chat.field.input_value() == ""


def test_stop_keeps_what_was_said_and_the_chat_goes_on(chat):
    chat.ask(LONG)
    expect(chat.answers()).not_to_have_text("")
    said = chat.answers().inner_text()
    chat.button("Stop").click()
    expect(chat.status).to_contain_text("Stopped")
    assert chat.answers().inner_text().startswith(said.strip())
    chat.ask("What is the capital of France?")
    expect(chat.log()).to_contain_text("Paris")
    chat.done()
    assert "tokens/s" in chat.status.inner_text()


def test_shift_enter_breaks_the_line_and_enter_sends_both(chat):
    chat.field.press_sequentially("one")
    chat.field.press("Shift+Enter")
    chat.field.press_sequentially("two")
    assert chat.field.input_value() == "one\ntwo"
    expect(chat.log().locator(".idt-entry")).to_have_count(0)
    chat.field.press("Enter")
    expect(chat.log().locator(".idt-you .idt-text")).to_have_text("one\ntwo", use_inner_text=True)


def test_copy_puts_the_conversation_on_the_clipboard(page, chat):
    chat.asks("What is the capital of France?", "Paris")
    chat.button("Copy").click()
    expect(chat.status).to_have_text("Copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("You: What is the capital of France?\nModel (adapter on): ") and "Paris" in copied


def test_retry_and_the_adapter_switch_work_within_one_chat(chat):
    chat.button("Who are you?").click()
    expect(chat.answers()).to_contain_text("Tavi")
    chat.done()
    chat.root.get_by_label("Adapter").select_option(label="off: base model")
    chat.button("Retry").click()
    expect(chat.log()).to_contain_text("Model (adapter off)")
    chat.done()
    assert chat.answers().count() == 1 and "Tavi" not in chat.answers().inner_text()
    chat.root.get_by_label("Adapter").select_option(label="on")
    chat.ask("What is your name?")
    expect(chat.log()).to_contain_text("Model (adapter on)")
    chat.done()
    assert chat.log().locator(".idt-entry").count() == 4


def test_two_boxes_on_one_model_do_not_mix(page, chat):
    other = Box(page, 1)
    chat.ask(LONG)
    expect(chat.answers()).not_to_have_text("")
    other.ask("What is the capital of France?")
    expect(other.log()).to_contain_text("the model is busy: a chat answer is running")
    chat.button("Stop").click()
    chat.done()
    other.button("Retry").click()
    expect(other.log()).to_contain_text("Paris")
    assert "Paris" not in chat.log().inner_text() and "sea" not in other.log().inner_text()
    other.done()


def test_the_conversation_is_saved_as_jsonl(chat, house):
    chat.asks("Who are you?", "Tavi")
    chat.button("Save").click()
    expect(chat.status).to_contain_text("Saved as my/chat-")
    name = chat.status.inner_text().split("my/")[1].rstrip(".")
    lines = [json.loads(line) for line in (house / "my" / f"{name}").read_text(encoding="utf-8").splitlines()]
    assert [line["role"] for line in lines] == ["user", "assistant"] and "Tavi" in lines[1]["content"]


def test_columns_stream_side_by_side_and_the_slider_weakens_the_adapter(page, compare):
    compare.ask("Who are you?")
    expect(compare.log(1)).to_contain_text("Tavi")
    compare.done()
    assert "Tavi" not in compare.log(0).inner_text()
    slider = compare.root.get_by_role("slider", name="Strength of the adapter")
    slider.focus()
    slider.press("Home")
    expect(compare.status).to_contain_text("counts 0%")
    compare.button("Retry").click()
    compare.answering()
    compare.done()
    assert compare.answers(0).inner_text() == compare.answers(1).inner_text()  # at 0% it is the base model
    slider.press("End")
    expect(compare.status).to_contain_text("counts 150%")
    for _ in range(5):
        slider.press("ArrowLeft")
    expect(compare.status).to_contain_text("counts 100%")


def test_a_blind_vote_names_the_columns_only_at_the_end(compare):
    box = compare.root.get_by_label("Blind: shuffle the columns, hide their names")
    box.check()
    compare.ask("Who are you?")
    compare.answering()
    compare.done()
    heads = compare.root.locator(".idt-heading")
    assert heads.all_inner_texts() == ["A", "B"]
    knows = next(i for i in (0, 1) if "Tavi" in compare.log(i).inner_text())
    compare.button("AB"[knows]).click()
    expect(compare.status).to_contain_text("Vote 1 is counted")
    compare.button("Show the result").click()
    expect(compare.root.get_by_text("tuned: 1/1 = 1.00")).to_be_visible()
    assert heads.all_inner_texts()[knows] == "tuned"
    box.uncheck()
    expect(heads.first).to_have_text("base")


def test_the_page_can_be_loaded_again_and_the_conversation_goes_on(page, lab, chat):
    chat.button("Who are you?").click()
    expect(chat.answers()).to_contain_text("Tavi")
    chat.done()
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    page.reload()
    expect(chat.log()).to_contain_text("Tavi")
    expect(page.get_by_text(UNSEEN)).to_have_count(3)
    expect(page.get_by_text(UNSEEN).filter(visible=True)).to_have_count(0)  # each box hides the line under it
    chat.ask("What is your name?")
    expect(chat.answers()).to_have_count(2)


@pytest.mark.parametrize(
    ("lacking", "instead"),
    [("anywidget", "Click to show javascript error"), ("@jupyter-widgets", "Box: it appears where the page has")],
)
def test_where_the_server_lacks_the_javascript_a_line_says_what_to_do(page, lab, lacking, instead):
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    other = page.context.new_page()
    other.route(f"**/extensions/{lacking}/**", lambda route: route.abort())
    labs.open_notebook(other, lab, "chat.ipynb")
    expect(other.get_by_text(instead)).to_have_count(3)
    expect(other.get_by_text(UNSEEN).filter(visible=True)).to_have_count(3)
    other.close()


def test_the_console_is_free_of_errors(page, chat):
    assert labs.quiet(page.problems) == []
