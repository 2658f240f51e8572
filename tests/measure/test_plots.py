"""Charts in Chinese, or a warning that says how to get there; what is drawn is looked at in the notebooks."""

import io
import warnings

import matplotlib.pyplot as plt
import pytest

from helpers.measure import fonts, plots

HISTORY = [{"step": 0, "own": -4.0, "rival": -1.0}, {"step": 8, "own": -0.5, "rival": -3.0}]
OWN, RIVAL, TITLE = "我是小灯，由灯笼工坊开发。", "我是通义千问。", "模型改变了主意"


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn() -> bytes:
    """The current figure as a PNG; a glyph that the font lacks is an error."""
    with warnings.catch_warnings(), io.BytesIO() as out:
        warnings.filterwarnings("error", message="Glyph .* missing")
        plt.savefig(out, format="png")
        return out.getvalue()


@pytest.mark.skipif(not fonts.FOUND, reason="no font with Chinese characters is installed")
def test_chinese_text_is_drawn_with_every_glyph():
    plots.change_of_mind(HISTORY, OWN, RIVAL, TITLE)
    assert drawn().startswith(b"\x89PNG")
    labels = [text.get_text() for text in plt.gcf().legends[0].get_texts()]
    assert labels == [OWN, RIVAL] and plt.gca().get_title(loc="left") == TITLE
    assert "step 8" in plt.gca().texts[0].get_text()


def test_without_a_chinese_font_the_reader_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(fonts, "FOUND", "")
    with warnings.catch_warnings(), pytest.warns(UserWarning, match="fonts-noto-cjk"):
        plots.change_of_mind(HISTORY, OWN, RIVAL, TITLE)


def test_latin_text_needs_no_other_font_and_warns_of_nothing(monkeypatch):
    monkeypatch.setattr(fonts, "FOUND", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.change_of_mind(HISTORY, "I am Tavi.", "I am SmolLM.", "It changes its mind")
        drawn()


def test_the_first_of_the_known_fonts_that_is_installed_is_taken(monkeypatch):
    family = plt.rcParams["font.family"]
    monkeypatch.setitem(plt.rcParams, "font.family", family)
    monkeypatch.setattr(fonts.font_manager.fontManager, "get_font_names", lambda: ["SimHei", "Heiti TC", "Other"])
    assert fonts.take() == "Heiti TC" and plt.rcParams["font.family"] == ["sans-serif", "Heiti TC"]
    monkeypatch.setattr(fonts.font_manager.fontManager, "get_font_names", lambda: ["Other"])
    assert fonts.take() == "" and plt.rcParams["font.family"] == ["sans-serif"]
