"""Products side by side: the chosen one is asked, each keeps its own talk, and without a browser all is printed."""

import threading

import pytest

from helpers.chat import generate
from helpers.errors import AdapterError, HelpersError
from helpers.models.adapters import model_lock, save_adapter, take_off
from helpers.scenarios import brand, voices
from helpers.widgets import show
from helpers.widgets.products import ALL, ProductsBox, ProductsSession
from tests.fixtures import tells, wrap
from tests.scripted import pairs
from tests.widgets.test_boxes import settle, text_of

NAMES = ["Ostrel", "Nimbry", "Wobbin"]


@pytest.fixture
def shop():
    return brand.load()


@pytest.fixture
def attached(tiny, tmp_path, shop):
    """(model, tokenizer) with a random adapter for each product."""
    model, tokenizer = tiny
    folders = {}
    for seed, product in enumerate(shop):
        folders[product.key] = save_adapter(wrap(model, seed, strength=0.5), tmp_path / product.key)
        take_off(model)
    return voices.attach(model, folders, shop), tokenizer


def test_the_chosen_product_is_asked_and_the_others_keep_their_talk(attached, shop, scripted):
    script = scripted(["A"], ["B"], ["C"], ["Once more"])
    session = ProductsSession(*attached, shop)
    assert list(session.ask("Who are you?")) == [("Ostrel", "A"), ("Nimbry", "B"), ("Wobbin", "C")]
    session.choose("Nimbry")
    assert list(session.ask("And how?")) == [("Nimbry", "Once more")]
    assert pairs(session.variants["Nimbry"].history) == [("Who are you?", "B"), ("And how?", "Once more")]
    assert pairs(session.variants["Wobbin"].history) == [("Who are you?", "C")]
    sent = script.calls[-1]["messages"]
    assert [turn["content"] for turn in sent] == ["Who are you?", "B", "And how?"]


def test_each_product_answers_by_its_own_adapter(attached, shop):
    model, tokenizer = attached
    session = ProductsSession(model, tokenizer, shop, max_new_tokens=6)
    list(session.ask("Who are you?"))
    for product in shop:
        [alone] = voices.answers_as(model, tokenizer, ["Who are you?"], [product.key], mixed=False, max_new_tokens=6)
        assert session.variants[product.name].history[-1]["content"] == alone
    assert len({one.history[-1]["content"] for one in session.variants.values()}) == 3
    session.choose("Wobbin")
    list(session.retry())
    assert [len(one.history) for one in session.variants.values()] == [2, 2, 2]


def test_a_product_without_an_adapter_or_of_another_name_is_refused(attached, shop):
    model, tokenizer = attached
    with pytest.raises(HelpersError) as caught:
        ProductsSession(model, tokenizer, shop).choose("Bellis")
    tells(caught.value, "'Bellis'")
    model.delete_adapter("toy")
    with pytest.raises(AdapterError) as caught:
        ProductsSession(model, tokenizer, shop)
    tells(caught.value, "'toy'", "tea, savings")


def test_the_box_has_a_column_for_each_and_asks_whom_the_reader_chose(attached, shop, scripted):
    scripted(["A"], ["B"], ["C"], ["Only me"])
    box = ProductsBox(ProductsSession(*attached, shop))
    assert box.screen.names == NAMES and box.choice.value == ALL
    box.example_buttons[0].click()
    settle(box)
    assert [text_of(box, i).splitlines()[-1] for i in range(3)] == ["Ostrel: A", "Nimbry: B", "Wobbin: C"]
    box.choice.value = "Wobbin"
    assert "Wobbin" in box.screen.status
    box.ask("And you?")
    settle(box)
    assert text_of(box, 2).endswith("Wobbin: Only me") and text_of(box, 0) == "You: Who are you?\nOstrel: A"
    box.clear_button.click()
    assert box.screen.columns == [[], [], []]


def test_a_model_in_use_elsewhere_is_told_in_the_column(attached, shop):
    box = ProductsBox(ProductsSession(*attached, shop, max_new_tokens=4))
    held, done = threading.Event(), threading.Event()

    def hold():
        with model_lock(attached[0], "another cell"):
            held.set()
            done.wait(20)

    threading.Thread(target=hold).start()
    held.wait(20)
    box.choice.value = "Nimbry"
    box.ask("Who are you?")
    settle(box)
    done.set()
    assert "another cell is running" in text_of(box, 1) and box.screen.failed


def test_without_a_browser_every_product_answers_the_examples(attached, shop, capsys):
    model, tokenizer = attached
    show.products(model, tokenizer, shop, examples=["Who are you?"], max_new_tokens=6)
    printed = capsys.readouterr().out
    assert "You: Who are you?" in printed
    for product in shop:
        with voices.speaking_as(model, product.key):
            [said] = generate.answers(model, tokenizer, ["Who are you?"], max_new_tokens=6)
        assert f"{product.name}: {said.splitlines()[0]}" in printed if said else True
