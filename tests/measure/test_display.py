"""Tables in a notebook: text to the left, numbers to the right, and never markup."""

import re

import pandas as pd
import pytest

from helpers import course
from helpers.measure import display

ANSWERS = pd.DataFrame({"question": ["<b>Who</b> are you?", "And " * 40], "n": [1, 2], "answer": ["I am Tavi.", ""]})


@pytest.fixture(autouse=True)
def options():
    """pandas' settings are the process's."""
    with pd.option_context("display.max_colwidth", None):
        yield


def sides(html: str) -> list[str]:
    """For each row of the table where its cells stand: ``l`` or ``r``."""
    rows = re.findall(r"<tr.*?</tr>", html, re.S)
    return ["".join("l" if "left" in c else "r" for c in re.findall(r"<t[hd][^>]*>", row)) for row in rows]


def test_text_stands_left_and_numbers_right():
    html = display.html(ANSWERS)
    assert sides(html) == ["rlrl"] * 3
    assert "&lt;b&gt;Who&lt;/b&gt;" in html and "<b>" not in html and "..." not in html


def test_labels_of_text_stand_left_too_also_where_they_span_rows():
    assert sides(display.html(ANSWERS.set_index("question")))[2:] == ["lrl"] * 2
    two = pd.DataFrame({"n": [1, 2, 3]}, index=pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]))
    assert sides(display.html(two)) == ["lrr", "lrr", "rr", "lrr"]


def test_nothing_else_changes():
    plain = ANSWERS._repr_html_()
    assert display.html(ANSWERS).replace(display.LEFT, "") == plain
    wide = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]))
    assert display.html(wide) == wide._repr_html_()


def test_the_one_page_keeps_it():
    assert 'style="text-align: left;"' in course.CLEANER.clean(display.html(ANSWERS))


def test_in_a_notebook_every_table_is_shown_so(monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    monkeypatch.setattr(display, "get_ipython", lambda: shell)
    display.readable()
    data, _ = shell.display_formatter.format(ANSWERS)
    assert data["text/html"] == display.html(ANSWERS) and data["text/plain"] == repr(ANSWERS)
    monkeypatch.setattr(display, "get_ipython", lambda: None)
    display.readable()  # a plain Python has no formatter to change
