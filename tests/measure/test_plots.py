"""Charts in Chinese, or a warning that says how to get there; what is drawn is looked at in the notebooks."""

import importlib
import io
import warnings

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from helpers.measure import plots

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


@pytest.mark.skipif(not plots.CHINESE_FONT, reason="no font with Chinese characters is installed")
def test_chinese_text_is_drawn_with_every_glyph():
    plots.change_of_mind(HISTORY, OWN, RIVAL, TITLE)
    assert drawn().startswith(b"\x89PNG")
    labels = [text.get_text() for text in plt.gcf().legends[0].get_texts()]
    assert labels == [OWN, RIVAL] and plt.gca().get_title(loc="left") == TITLE
    assert "step 8" in plt.gca().texts[0].get_text()


def test_without_a_chinese_font_the_reader_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(plots, "CHINESE_FONT", [])
    with warnings.catch_warnings(), pytest.warns(UserWarning, match="fonts-noto-cjk"):
        plots.change_of_mind(HISTORY, OWN, RIVAL, TITLE)


def test_latin_text_needs_no_other_font_and_warns_of_nothing(monkeypatch):
    monkeypatch.setattr(plots, "CHINESE_FONT", [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.change_of_mind(HISTORY, "I am Tavi.", "I am SmolLM.", "It changes its mind")
        drawn()


@pytest.mark.parametrize(("installed", "taken"), [(["SimHei", "Heiti TC", "Other"], ["Heiti TC"]), (["Other"], [])])
def test_the_first_of_the_known_fonts_that_is_installed_is_taken(monkeypatch, installed, taken):
    try:
        with monkeypatch.context() as patch:
            patch.setattr(plots.font_manager.fontManager, "get_font_names", lambda: installed)
            importlib.reload(plots)
        assert taken == plots.CHINESE_FONT and plots.plt.rcParams["font.family"] == ["sans-serif", *taken]
    finally:
        importlib.reload(plots)


MANY = [f"group {i}" for i in range(10)]
TABLE = pd.DataFrame([{"by": b, "arm": a, "turn": t, "ok": True} for b in "xy" for a in MANY for t in (1, 10)])
SUMMARY = pd.DataFrame(
    [
        {"weights": name, "system": "", "measure": measure, "share": 0.5, "low": 0.4, "high": 0.6}
        for name in MANY
        for measure in ("leak", "identity")
    ]
)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.shares(TABLE, "by", "arm", "ok", "t"),
        lambda: plots.retention(TABLE, "arm", "turn", "ok", "t"),
        lambda: plots.trade(SUMMARY, "leak", "identity", "t"),
        lambda: plots.memory([(0.0, 2**20), (1.0, 2**21)], dict.fromkeys(MANY, 2**20), "t"),
    ],
    ids=["shares", "retention", "trade", "memory"],
)
def test_ten_groups_are_drawn(draw):
    draw()
    drawn()
    named = [text for f in (plt.gcf(), *plt.gcf().axes) for legend in _legends(f) for text in legend.get_texts()]
    assert sum(any(name in text.get_text() for text in named) for name in MANY) == 10


def _legends(of):
    return of.legends if hasattr(of, "legends") else [legend for legend in [of.get_legend()] if legend]


@pytest.mark.parametrize("kind", plots.STYLES)
def test_no_two_of_forty_groups_look_the_same(kind):
    assert len({str(plots.style(i, kind)) for i in range(40)}) == 40


def test_a_grid_shows_each_share_in_its_cell():
    cells = [{"rate": rate, "steps": steps, "hit": rate * steps} for rate in (0.01, 0.02) for steps in (8, 16)]
    plots.grid(pd.DataFrame(cells), {"hit": "what hits", "rate": "the rate"}, "t")
    drawn()
    first, second = plt.gcf().axes
    assert [text.get_text() for text in first.texts] == ["0.08", "0.16", "0.16", "0.32"]
    assert [label.get_text() for label in first.get_xticklabels()] == ["8", "16"]
    assert "what hits" in first.get_xlabel() and "the rate" in second.get_xlabel()


def test_dots_name_each_arm_once_beside_its_share_and_leave_out_an_arm_that_was_not_measured():
    shares = [
        ("a prompt", "identity", 0.4),
        ("a prompt", "leak", 0.1),
        ("tuned", "identity", 0.8),
        ("tuned", "leak", 0),
    ]
    told = [(*key, share, share - 0.1, share + 0.1) for *key, share in shares]
    table = pd.DataFrame(told, columns=["arm", "measure", "share", "low", "high"])
    kinds = {"a prompt": "prompt", "tuned": "tuned", "never asked": "tuned"}
    plots.dots(table, kinds, {"identity": "asked", "leak": "elsewhere"}, "t", low=["leak"])
    drawn()
    ax = plt.gca()
    assert [text.get_text() for text in ax.texts] == ["40%  a prompt", "80%  tuned", "10%", "0%"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["asked", "elsewhere"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first block stands on top"
