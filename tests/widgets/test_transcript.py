"""The widget with JavaScript of its own: what it sends to the page, and what it leaves out."""

import re

import pytest

from helpers import files
from helpers.widgets.transcript import Conversation, entry

WIDGETS = files.project_root() / "helpers" / "widgets"
SCRIPT = (WIDGETS / "transcript.js").read_text(encoding="utf-8")
STYLES = [path.read_text(encoding="utf-8") for path in WIDGETS.glob("*.css")]


@pytest.fixture
def screen():
    made = Conversation(["Model"], lambda text: True)
    made.ops = []
    made.send = made.ops.append
    return made


def replay(ops, columns=1):
    """What a page makes of the messages, in JavaScript's count of characters."""
    page = [[] for _ in range(columns)]
    for op in ops:
        if op["op"] == "entries":
            page[op["column"]][op["from"] :] = [dict(e) for e in op["entries"]]
        else:
            there = page[op["column"]][op["entry"]]
            assert len(there["text"].encode("utf-16-le")) // 2 == op["at"]
            there["text"] += op["text"]
    return page


def test_a_growing_answer_costs_its_additions_only(screen):
    history = [entry("you", "You", "x" * 1000)] * 50
    screen.show(0, [*history, entry("model", "Model", "I ")])
    for text in ("I am", "I am 👩‍👩‍👧", "I am 👩‍👩‍👧 Tavi."):
        screen.show(0, [*history, entry("model", "Model", text)])
    assert [op["text"] for op in screen.ops[1:]] == ["am", " 👩‍👩‍👧", " Tavi."]
    assert replay(screen.ops) == screen.columns
    assert screen.get_state()["columns"][0][-1]["text"] == "I am 👩‍👩‍👧 Tavi."  # what a page loaded again is given


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["a", "b"], ["a", "b", "c"]),
        (["a", "b", "c"], ["a"]),
        (["a", "b"], ["x", "b"]),
        (["a", "b "], ["a", "b"]),
        (["a"], []),
    ],
)
def test_any_change_reaches_the_page(screen, before, after):
    for texts in (before, after, after):
        screen.show(0, [entry("model", "Model", text) for text in texts])
    assert [e["text"] for e in replay(screen.ops)[0]] == after == [e["text"] for e in screen.columns[0]]
    assert len(screen.ops) == 2  # what is the same is not sent again


def test_a_page_that_missed_something_is_given_everything(screen):
    screen.show(0, [entry("you", "You", "q")])
    screen._received(screen, {"op": "resync"}, [])
    assert screen.ops[-1] == {"op": "all", "columns": [[entry("you", "You", "q")]]}
    screen._received(screen, {"op": "something else"}, [])
    assert len(screen.ops) == 2


def test_the_script_never_parses_markup_and_no_file_calls_the_network():
    for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "setHTML"):
        assert name not in SCRIPT
    assert len(STYLES) == 2
    for text in (SCRIPT, *STYLES):
        assert not re.search(r"https?:|\bimport\b|@import|url\(|fetch\(|XMLHttpRequest|WebSocket", text)
