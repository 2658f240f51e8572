"""Pages that cannot show the boxes, and Colab: what is published reads well there, and hides where the box runs."""

import sys
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
from nbconvert import HTMLExporter

from helpers.chat.compare import CompareSession
from helpers.chat.conversation import ChatSession
from helpers.rows.edit import RowTable
from helpers.rows.identity import Identity
from helpers.widgets import show
from helpers.widgets.boxes import ChatBox, CompareBox
from helpers.widgets.editor import RowEditor
from helpers.widgets.quiz import Question, QuizBox
from helpers.widgets.shell import UNSEEN
from helpers.widgets.training_view import TrainingView
from tests.scripted import WordTokenizer, fake_model

ROW = {"instruction": "Who are you?", "input": "", "output": "I am {{NAME}}."}
SIDES = {"a": {"system": "a"}, "b": {"system": "b"}}
MAKE = {
    "ChatBox": lambda: ChatBox(ChatSession(fake_model(), WordTokenizer())),
    "CompareBox": lambda: CompareBox(CompareSession(fake_model(), WordTokenizer(), SIDES)),
    "QuizBox": lambda: QuizBox([Question("Is 1 < 2?", ("yes", "no"), 0, ("It is.", "Count again."))]),
    "RowEditor": lambda: RowEditor(RowTable([ROW], Identity("Tavi", "Lantern Workshop"))),
    "TrainingView": TrainingView,
}
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def published(monkeypatch):
    """A function that shows a box, and returns the outputs that its cell then has, as dictionaries of MIME types."""

    outputs = []

    def put(box) -> list[dict]:
        outputs.clear()
        show.put(box)
        return [*outputs]

    keep = lambda one, raw=False: outputs.append(one if raw else one._repr_mimebundle_())  # noqa: E731
    monkeypatch.setattr(show, "display", keep)
    show.enable_colab.cache_clear()
    yield put
    show.enable_colab.cache_clear()


def page(outputs: list[dict], state: dict | None = None) -> str:
    """The notebook as a page; without the widgets' ``state`` none of them runs there."""
    cell = nbformat.v4.new_code_cell("put(box)")
    cell.outputs = [nbformat.v4.new_output("display_data", data=one) for one in outputs]
    metadata = {"widgets": {VIEW.replace("view", "state"): state}} if state else {}
    return HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell], metadata=metadata))[0]


@pytest.mark.parametrize("kind", MAKE)
def test_where_no_widget_is_known_the_page_says_what_to_type(published, kind):
    outputs = published(MAKE[kind]())
    html = page(outputs)
    assert VIEW in outputs[0] and html.count(UNSEEN) == 1
    assert "children=(" not in html and f"{kind}: it appears where the page has" in html
    assert [one["text/plain"].startswith(words) for one, words in zip(outputs, (kind, "If no box"), strict=True)]


def test_a_page_that_knows_widgets_is_still_given_the_box(published):
    box = MAKE["ChatBox"]()
    state = {"state": {box.model_id: {}}, "version_major": 2, "version_minor": 0}
    assert f'"model_id": "{box.model_id}"' in page(published(box), state)


@pytest.mark.parametrize("kind", MAKE)
def test_the_line_of_a_box_is_hidden_by_that_box_alone(published, kind):
    one, other = MAKE[kind](), MAKE[kind]()
    assert one.unseen() != other.unseen()
    name = published(one)[1]["text/html"].split('"')[1]
    screen, style = getattr(one, "screen", None), one.children[0].value
    by = (screen.hides == name, name in style) if screen else (False, f".{name} {{ display: none; }}" in style)
    assert by == (bool(screen), not screen)  # a chat's own script does: it needs more than ipywidgets


def test_colab_is_told_once_to_load_widgets_of_others(published, monkeypatch):
    told = []
    google, colab = ModuleType("google"), ModuleType("google.colab")
    colab.output = SimpleNamespace(enable_custom_widget_manager=lambda: told.append(True))
    published(MAKE["QuizBox"]())
    assert told == []
    show.enable_colab.cache_clear()
    monkeypatch.setitem(sys.modules, "google", google)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    outputs = [published(MAKE[kind]()) for kind in ("QuizBox", "TrainingView")]
    assert told == [True] and all(VIEW in first for first, _ in outputs)
