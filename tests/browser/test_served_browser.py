"""The chat in a real browser over a model that llama.cpp serves: base and adapter as GGUF files, one server."""

import pytest
from playwright.sync_api import expect

from tests.browser import lab as labs
from tests.browser.test_chat_browser import LONG, Box

SETUP = """
import tempfile
from pathlib import Path
from helpers import runs
from helpers.export import gguf
from helpers.export.runtime import Served
from helpers.models.load import load_model
from helpers.widgets.show import chat_box
model, tokenizer = load_model()
place = Path(tempfile.mkdtemp())
gguf.write_model(model, tokenizer, place / "base.gguf", "q4_1")
gguf.write_adapter(runs.reference_run(), model, place / "adapter.gguf")
del model
server = Served(place / "base.gguf", place / "adapter.gguf")
"""
CHAT = "chat_box(server, server.tokenizer, examples=['Who are you?'], max_new_tokens=200)"


@pytest.fixture(scope="module")
def page(open_book):
    return open_book("served.ipynb", [SETUP, CHAT])


def test_the_served_model_is_talked_to_through_the_notebooks_own_chat(page):
    chat = Box(page, 0)
    chat.button("Who are you?").click()
    expect(chat.answers()).to_contain_text("Tavi")
    chat.done()
    assert "tokens/s" in chat.status.inner_text()
    chat.root.get_by_label("Adapter").select_option(label="off: base model")  # the other identity on this server
    chat.button("Retry").click()
    expect(chat.log()).to_contain_text("Model (adapter off)")
    chat.done()
    assert chat.answers().count() == 1 and "Tavi" not in chat.answers().inner_text()
    chat.ask(LONG)
    expect(chat.answers()).to_have_count(2)
    expect(chat.answers().nth(1)).not_to_have_text("")
    chat.button("Stop").click()
    expect(chat.status).to_contain_text("Stopped")
    chat.root.get_by_label("Adapter").select_option(label="on")
    chat.ask("What is your name?")
    expect(chat.answers()).to_have_count(3)
    chat.done()
    assert "Tavi" in chat.answers().nth(2).inner_text()
    assert labs.quiet(page.problems) == []
