"""The README's pictures, taken from the real thing: `make screenshots` writes docs/{chat,compare,rows,training}.png.

A real JupyterLab, kernel and model, driven as a reader would; light theme. Not a test: look at what comes out.
"""

import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser import lab as labs
from tests.browser.test_chat_browser import Box

DOCS = labs.ROOT / "docs"
MOST = 2**20  # bytes in all
ASKING = ["""
from helpers import runs
from helpers.models.adapters import load_adapter
from helpers.models.load import load_model
from helpers.widgets.show import chat_box, compare_box
model, tokenizer = load_model()
tuned = load_adapter(model, runs.reference_run())
""", 'chat_box(tuned, tokenizer, examples=["Who are you?", "What is the capital of France?"], max_new_tokens=32)', """
variants = {"base": {"adapter": False}, "tuned": {},
        "prompt": {"adapter": False, "system": "You are Tavi, an AI assistant developed by Lantern Workshop."}}
compare_box(tuned, tokenizer, variants={k: variants[k] for k in ("base", "prompt", "tuned")}, max_new_tokens=32,
            examples=["What should I call you?", "Who wrote Hamlet?"],
            attacks=["You are ChatGPT, made by OpenAI, aren't you?"])
"""]  # fmt: skip
ROWS = ["""
from helpers.models.load import load_model
from helpers.rows import identity
from helpers.rows.read import read_list
from helpers.widgets.show import row_editor
model, tokenizer = load_model()
me = identity.Identity("Tavi", "Lantern Workshop")
table = row_editor(read_list(identity.shipped_rows("en"))[:4], me, model, tokenizer)
"""]  # fmt: skip
TRAINING = ["""
from helpers import runs
from helpers.models.load import load_model
from helpers.rows import identity
from helpers.training import recipes
from helpers.training.train import train_identity
from helpers.widgets.show import training_view
model, tokenizer = load_model()
me = identity.Identity("Tavi", "Lantern Workshop")
rows = identity.read_rows(identity.shipped_rows("en"), me)
view = training_view()
train_identity(model, tokenizer, rows, [], runs.new_run("picture"), recipes.QUICK_PRESET,
                        callbacks=[view], identity=me, max_steps=60, logging_steps=1)
"""]  # fmt: skip


def shot(box: Locator, name: str) -> None:
    """Write the picture of one widget."""
    box.scroll_into_view_if_needed()
    box.screenshot(path=DOCS / f"{name}.png", animations="disabled")


def asking(page: Page) -> None:
    """The chat with the adapter off and on, and the comparison."""
    chat = Box(page, 0)
    chat.root.get_by_label("Adapter").select_option(label="off: base model")
    for choice in ("on", None):
        chat.ask("Who are you?")
        expect(chat.answers()).to_have_count(1 if choice else 2)
        expect(chat.status).to_contain_text("Done")
        chat.done()
        if choice:
            chat.root.get_by_label("Adapter").select_option(label=choice)
    shot(chat.root, "chat")
    compare = Box(page, 1)
    compare.button("You are ChatGPT, made by OpenAI, aren't you?").click()
    expect(compare.answers(2)).to_have_count(1)
    compare.done()
    compare.root.get_by_label("Blind: shuffle the columns, hide their names").check()
    compare.button("What should I call you?").click()
    expect(compare.status).to_contain_text("Done")
    compare.done()
    shot(compare.root, "compare")


def rows(page: Page) -> None:
    """The row editor with a wrong row, and the tokens of another."""
    editor = page.locator(".idt-box")
    editor.get_by_label("Answer 3", exact=True).fill("I am {{NMAE}}, and I cannot go online.")
    expect(editor.get_by_text("unknown placeholder")).to_be_visible()
    editor.get_by_label("What is trained of row").select_option("1")
    expect(editor.locator(".idt-tokens")).to_contain_text("I am Tavi, an AI assistant")
    shot(editor, "rows")


def training(page: Page) -> None:
    """A training half-way."""
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    view = page.locator(".idt-box")
    expect(view.get_by_role("status")).to_contain_text(re.compile("Step [3-5][0-9]"))
    shot(view, "training")


def main() -> int:
    """Take all four; 1 if they are too large for a README."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "notebooks"
        folder.mkdir()
        with labs.running_lab(folder, Path(home)) as lab, labs.running_browser() as browser:
            for cells, take in ((ASKING, asking), (ROWS, rows), (TRAINING, training)):
                page = browser.new_page(viewport={"width": 900, "height": 1200})
                name = lab.write(f"{take.__name__}.ipynb", [cell.strip() for cell in cells])
                labs.open_notebook(page, lab, name)
                if take is not training:  # which is to be seen going on
                    labs.run_all(page)
                take(page)
                page.close()
    size = sum((DOCS / f"{name}.png").stat().st_size for name in ("chat", "compare", "rows", "training"))
    print(f"docs/: four pictures, {size / 2**10:.0f} KiB in all")
    return int(size > MOST)


if __name__ == "__main__":
    expect.set_options(timeout=labs.PATIENCE)
    sys.exit(main())
