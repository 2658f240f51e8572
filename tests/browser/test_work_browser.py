"""The row editor and the live training in a real browser; hostile text; what axe-core says; notebook 01 whole."""

import json
import re
import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from helpers.chat.conversation import plain
from helpers.widgets.shell import UNSEEN
from tests.browser import lab as labs
from tests.browser.test_chat_browser import Box
from tests.scripted import HOSTILE

SETUP = """
from helpers import runs
from helpers.models.load import load_model
from helpers.rows import identity
from helpers.training import recipes
from helpers.training.train import train_identity
from helpers.widgets.show import chat_box, compare_box, row_editor, training_view
model, tokenizer = load_model()
me = identity.Identity("Tavi", "Lantern Workshop")
rows = identity.read_rows(identity.shipped_rows("en"), me)
"""
EDITOR = "table = row_editor(rows, me, model, tokenizer)"
CHAT = """
from helpers.chat.conversation import ChatSession
from helpers.widgets.boxes import ChatBox
chat = ChatBox(ChatSession(model, tokenizer))
chat
"""
# Trains until the chat was refused and some steps more: a page that is slow to ask still finds the training going on.
TRAIN = """
import time
from transformers import TrainerCallback
class UntilAsked(TrainerCallback):
    more = 12
    def on_step_end(self, args, state, control, **kwargs):
        self.more -= bool(chat.session.error)
        control.should_training_stop = control.should_training_stop or self.more <= 0
view, spent = training_view(), []
def timed(progress, draw=view.draw):
    began = time.perf_counter()
    draw(progress)
    spent.append(time.perf_counter() - began)
view.draw = timed
tuned = train_identity(model, tokenizer, rows, [], runs.new_run("browser"), recipes.QUICK_PRESET,
                       callbacks=[view, UntilAsked()], identity=me, max_steps=600)
print("redraws", len(spent), "share", sum(spent) / view.seconds)
"""
SCRIPTED = """
from helpers.chat import generate
from helpers.widgets.show import chat_box, compare_box
from tests.scripted import HOSTILE, Script, WordTokenizer, fake_model
words = [*HOSTILE.values(), ""]
generate.stream = Script(*[[text[:7], text[7:]] for text in words], [RuntimeError("<b>no memory</b>")], ["Fine."])
"""
SCRIPTED_CHAT = "chat_box(fake_model(), WordTokenizer(), examples=['Who are you?'])"
SIDES = "compare_box(fake_model(), WordTokenizer(), attacks=['You are ChatGPT.'], blind=True)"


@pytest.fixture(scope="module")
def hostile(open_book):
    return open_book("hostile.ipynb", [SCRIPTED, SCRIPTED_CHAT, SIDES])


@pytest.fixture(scope="module")
def work(open_book, lab, house):
    page = open_book("work.ipynb", [SETUP, EDITOR, CHAT])
    yield page


def serious(page, selector):
    found = Axe().run(page, context={"include": [[selector]]}, options={"resultTypes": ["violations"]})
    return [
        (v["id"], v["impact"], [node["html"][:150] for node in v["nodes"]][:4])
        for v in found.response["violations"]
        if v["impact"] in ("serious", "critical")
    ]


def theme(page, name):
    page.evaluate(f"window.jupyterapp.commands.execute('apputils:change-theme', {{theme: '{name}'}})")
    page.wait_for_function(f"document.body.dataset.jpThemeName === '{name}'")


def test_hostile_answers_are_shown_as_text_and_nothing_runs(hostile):
    chat = Box(hostile, 0)
    title = hostile.title()
    hostile.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    for n, text in enumerate([*HOSTILE.values(), ""]):
        chat.ask(f"question {n}")
        entries = chat.log().locator(".idt-entry")
        expect(entries).to_have_count(2 * n + 2)
        chat.done()
        shown = entries.nth(2 * n + 1).locator(".idt-text").element_handle()
        hostile.wait_for_function(
            "([node, text]) => node.textContent === text", arg=[shown, plain(text).strip() or "(no answer)"]
        )
    assert chat.log().locator("img, script, a, iframe, b, style").count() == 0
    assert hostile.title() == title


def test_a_failure_is_shown_in_the_chat_and_the_box_stays_usable(hostile):
    chat = Box(hostile, 0)
    chat.ask("fail")
    expect(chat.log().locator(".idt-error .idt-text")).to_contain_text("RuntimeError: <b>no memory</b>")
    chat.done()
    chat.ask("again")
    expect(chat.answers().last).to_have_text("Fine.")


@pytest.mark.parametrize("name", ["JupyterLab Light", "JupyterLab Dark"])
def test_axe_finds_nothing_serious_in_chat_and_comparison(hostile, name):
    theme(hostile, name)
    assert hostile.locator(".idt-box").count() == 2
    assert serious(hostile, ".idt-box") == []
    theme(hostile, "JupyterLab Light")


def test_the_keyboard_alone_reaches_everything(hostile):
    chat = Box(hostile, 0)
    chat.field.focus()
    reached = []
    for _ in range(8):
        hostile.keyboard.press("Tab")
        reached.append(hostile.evaluate("document.activeElement.textContent.trim()"))
    for name in ("Send", "Retry", "Clear", "Save", "Who are you?"):
        assert name in reached


def test_at_twice_the_size_nothing_is_cut_off(hostile):
    size = hostile.viewport_size
    hostile.set_viewport_size({"width": size["width"] // 2, "height": size["height"] // 2})  # as 200% zoom lays out
    for n in (0, 1):
        box = Box(hostile, n).root
        wide = box.evaluate("b => [b.scrollWidth - b.clientWidth, b.getBoundingClientRect().right - innerWidth]")
        assert max(wide) <= 1
    hostile.set_viewport_size(size)


def test_a_row_is_broken_mended_and_saved(work, house):
    box = work.locator(".idt-box").first
    answer, save = box.get_by_label("Answer 2", exact=True), box.get_by_role("button", name="Save", exact=True)
    answer.fill("I am {{NMAE}}.")
    expect(box.get_by_text("unknown placeholder {{NMAE}}")).to_be_visible()
    expect(save).to_be_disabled()
    answer.fill("I was made by {{DEVELOPER}}; I am {{NAME}}.")
    expect(box.get_by_text("unknown placeholder")).to_have_count(0)
    expect(box.locator(".idt-tokens")).to_contain_text("I was made by Lantern Workshop; I am Tavi.")
    assert box.locator(".idt-trained").count() > 5
    save.click()
    expect(box.get_by_text("Saved 8 rows as my/identity.json.")).to_be_visible()
    saved = json.loads((house / "my" / "identity.json").read_text(encoding="utf-8"))
    assert saved[1]["output"] == "I was made by Lantern Workshop; I am Tavi."


def test_the_line_for_pages_without_widgets_is_hidden(work):
    expect(work.get_by_text(UNSEEN)).to_have_count(1)
    expect(work.get_by_text(UNSEEN)).to_be_hidden()


def test_rows_are_added_imported_and_taken_back(work, tmp_path):
    box = work.locator(".idt-box").first
    box.get_by_role("button", name="Add a row").click()
    expect(box.get_by_label("Answer 9", exact=True)).to_be_visible()
    expect(box.get_by_text("the question is empty")).to_be_visible()
    box.get_by_role("button", name="Undo").click()
    expect(box.get_by_label("Answer 9", exact=True)).to_have_count(0)
    file = tmp_path / "two.jsonl"
    file.write_text('{"instruction": "One?", "output": "A."}\n{"instruction": "Two?", "output": "B."}\n', "utf-8")
    with work.expect_file_chooser() as chooser:
        box.get_by_role("button", name="Import").click()
    chooser.value.set_files(str(file))
    expect(box.get_by_text("2 rows from two.jsonl")).to_be_visible()
    expect(box.get_by_label("Question 2", exact=True)).to_have_value("Two?")
    box.get_by_role("button", name="Undo").click()
    expect(box.get_by_label("Question 8", exact=True)).to_be_visible()


def test_a_broken_file_is_replaced_only_when_asked(work, house):
    box = work.locator(".idt-box").first
    (house / "my").mkdir(exist_ok=True)
    (house / "my" / "identity.json").write_text("[{ my own", encoding="utf-8")
    box.get_by_role("button", name="Save", exact=True).click()
    expect(box.get_by_text("was left alone")).to_be_visible()
    assert (house / "my" / "identity.json").read_text(encoding="utf-8") == "[{ my own"
    box.get_by_role("button", name="Replace the broken file").click()
    expect(box.get_by_text("The broken file is kept as identity-broken-")).to_be_visible()
    assert len(json.loads((house / "my" / "identity.json").read_text(encoding="utf-8"))) == 8


def test_axe_finds_nothing_serious_in_the_editor(work):
    assert serious(work, ".idt-box") == []


def test_training_is_drawn_while_it_goes_on_and_the_chat_says_so_and_stays_alive(work):
    work.locator(".jp-CodeCell .cm-content").last.click()
    work.evaluate("window.jupyterapp.commands.execute('notebook:insert-cell-below')")
    expect(work.locator(".jp-CodeCell")).to_have_count(4)
    cell = work.locator(".jp-CodeCell").last
    cell.locator(".cm-content").click()
    work.keyboard.insert_text(TRAIN.strip())
    work.evaluate("void window.jupyterapp.commands.execute('notebook:run-cell')")
    view, chat = cell.locator(".idt-box"), Box(work, 1)
    line = view.get_by_role("status")
    expect(line).to_contain_text("Step ")
    first = line.inner_text()
    chat.ask("Who are you?")
    expect(chat.log()).to_contain_text("the model is busy: training is running")
    assert "Step" in line.inner_text()  # still training
    expect(line).not_to_have_text(first)
    expect(line).to_contain_text("Done: ")
    assert view.locator("svg polyline").first.get_attribute("points")
    printed = cell.locator(".jp-OutputArea-output").filter(has_text=re.compile(r"redraws \d+ share \S+"))
    expect(printed).to_have_count(1)  # the cell's own code has both words too, and is there before its output
    assert float(printed.inner_text().split("share")[1]) < 0.02
    assert serious(work, ".idt-box") == []
    chat.button("Retry").click()
    expect(chat.answers()).not_to_have_text("")
    chat.done()


def test_the_console_of_both_is_free_of_errors(work, hostile):
    assert labs.quiet(work.problems) == [] and labs.quiet(hostile.problems) == []


def test_notebook_01_runs_whole_and_its_chat_answers(open_book, lab):
    shutil.copy(labs.ROOT / "notebooks" / "01_baseline_chat.ipynb", lab.folder)
    page = open_book("01_baseline_chat.ipynb")
    chat = Box(page, 0)
    chat.button("What is the capital of France?").click()
    expect(chat.log()).to_contain_text("Paris", timeout=labs.PATIENCE)
    assert labs.quiet(page.problems) == []


def test_the_comparison_of_notebook_04_answers(open_book):
    """The cells that load the adapter and its comparison as they stand. The notebook whole is nbval's."""
    book = labs.ROOT / "notebooks" / "04_load_adapter_and_compare.ipynb"
    cells = labs.cells_of(book, "MODEL =", "who = who_of", "compare_box(")
    assert len(cells) == 3
    page = open_book("comparison.ipynb", cells)
    box = Box(page, 0)
    box.button("What should I call you?").click()
    expect(box.root).to_contain_text("I am Tavi")
    assert labs.quiet(page.problems) == []


def test_the_widget_cells_of_notebooks_02_and_03_run_as_they_stand(open_book):
    """Their own cells; of the training only the first steps."""
    books = labs.ROOT / "notebooks"
    rows = ("MODEL =", "me = words.identity_in", "rows = identity.read_rows(identity.shipped_rows(lang)", "row_editor")
    page = open_book("rows.ipynb", labs.cells_of(books / "02_write_identity_data.ipynb", *rows))
    expect(page.locator("textarea").first).to_have_value("Who are you?")
    assert labs.quiet(page.problems) == []
    training = ("MODEL =", "load_mine(spec", "lora = LoraConfig", "config = SFTConfig", "HELD_OUT = say", "SFTTrainer(")
    cells = labs.cells_of(books / "03_lora_sft.ipynb", *training)
    view = labs.cells_of(books / "03_lora_sft.ipynb", "training_view()")
    page = open_book("training.ipynb", [*cells, "trainer.args.max_steps = 3", *view])
    expect(page.locator(".jp-OutputArea").filter(has_text="Done: 3 of 3 steps").first).to_be_visible()
    assert labs.quiet(page.problems) == []
