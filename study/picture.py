"""The README's first picture: a question and an attack, each answered before and after training, in real answers.

It is drawn as SVG from the kept answers of the study and from its figures. Nothing in it is typed by hand but headings.
"""

import gzip
import json
import textwrap
from pathlib import Path
from xml.sax.saxutils import escape

import pandas as pd

from helpers.measure import probes
from helpers.measure.tables import BASE, FIGURES, QUICK, TEMPLATE
from study.ask import WHO

FILE = "docs/before_after.svg"
ASKED = {"en-direct-new-003": "Somebody asks", "en-override-new-001": "Somebody attacks"}  # probe -> heading
WIDTH, LINE, SEED = 900, 21, 42
COLUMNS = (  # left edge, weights, heading, background, ink
    (20, BASE, "Before: the model as published", "#f3e3d3", "#5c3a12"),
    (460, QUICK, "After: 90 seconds of training", "#d3eadf", "#0b4a33"),
)


def answers(folder: Path) -> dict[str, dict[str, str]]:
    """Probe of the picture -> weights -> the greedy answer, of the first seed, under the name of `WHO`."""
    found: dict[str, dict[str, str]] = {probe: {} for probe in ASKED}
    with gzip.open(folder / "answers.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            plain = row["system"] == TEMPLATE and row["sample"] == 0 and row["seed"] in (0, SEED)
            if row["id"] in found and plain and row["name"] == WHO.name:
                found[row["id"]][row["weights"]] = row["answer"]
    return found


def told(folder: Path) -> list[tuple[str, str, str, str]]:
    """Heading, question, answer before and answer after, for each probe of the picture; long answers are cut."""
    said, questions = answers(folder), {p["id"]: p["messages"][-1]["content"] for p in probes.load_probes("en", "test")}
    short = {probe: {k: textwrap.shorten(v, 110, placeholder=" …") for k, v in a.items()} for probe, a in said.items()}
    return [(head, questions[p], short[p][BASE], short[p][QUICK]) for p, head in ASKED.items()]


def counted(folder: Path) -> str:
    """How often each of the two models names itself, asked and attacked, as one sentence."""
    figures = pd.read_csv(folder / FIGURES).query("name == @WHO.name and system == @TEMPLATE")
    found = figures.set_index(["weights", "measure"])
    parts = []
    for measure, label in (("identity", "Asked in {} ways who it is, right answers"), ("attack", "Under {} attacks")):
        before, after = (found.loc[(weights, measure)] for weights in (BASE, QUICK))
        parts.append(f"{label.format(int(before['n']))}: {before['share']:.0%} before, {after['share']:.0%} after.")
    return " ".join(parts)


def _text(x: int, y: int, line: str, ink: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" fill="{ink}"{more}>{escape(line)}</text>'


def _bubble(x: int, y: int, width: int, height: int, fill: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="12" fill="{fill}"/>'


def drawn(folder: Path) -> str:
    """The picture as SVG, from the study in ``folder``; its colours do not depend on the page's theme."""
    parts = [_text(x + 4, 34, head, ink, ' font-weight="bold"') for x, _, head, _, ink in COLUMNS]
    y = 50
    for head, question, *said in told(folder):
        parts += [_bubble(20, y, WIDTH - 40, 42, "#e4e9f2"), _text(36, y + 27, f"{head}: “{question}”", "#1f2a44")]
        wrapped = [textwrap.wrap(f"“{answer}”", 40, break_on_hyphens=False) for answer in said]
        height = 30 + LINE * max(map(len, wrapped))
        for (x, _, _, fill, ink), lines in zip(COLUMNS, wrapped, strict=True):
            parts.append(_bubble(x, y + 50, 420, height, fill))
            parts += [_text(x + 16, y + 76 + LINE * i, line, ink) for i, line in enumerate(lines)]
        y += height + 68
    parts.append(_text(24, y + 12, counted(folder), "#333333", ' font-size="15"'))
    source = "Real answers of SmolLM2-135M-Instruct with the course's quick recipe, from data/reference."
    parts.append(_text(24, y + 36, source, "#666666", ' font-size="13"'))
    size = f'width="{WIDTH}" height="{y + 52}" viewBox="0 0 {WIDTH} {y + 52}"'
    font = 'font-family="system-ui, \'Segoe UI\', Helvetica, Arial, sans-serif" font-size="16"'
    body = "\n".join([_bubble(0, 0, WIDTH, y + 52, "#ffffff"), *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} role="img">\n{body}\n</svg>\n'


def markdown(folder: Path) -> str:
    """The picture as a line of markdown, with what it shows in words."""
    words = " ".join(f"{head}: {q} Before: “{before}” After: “{after}”" for head, q, before, after in told(folder))
    return f"![{words} {counted(folder)}]({FILE})".replace("\n", " ")
