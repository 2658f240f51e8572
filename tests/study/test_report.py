"""The tables and the picture of README, docs and data card are those of the study, as they stand in its files."""

import pandas as pd
import pytest

from helpers import files
from helpers.measure.tables import FIGURES
from study import picture, report
from study.reference import REFERENCE


@pytest.fixture
def figures():
    """The shipped figures."""
    return pd.read_csv(REFERENCE / FIGURES)


def test_the_pages_hold_the_figures_of_the_file(figures):
    for page, contents in report.blocks(figures).items():
        text = (files.project_root() / page).read_text(encoding="utf-8")
        for block, content in contents.items():
            assert report.filled(text, block, content) == text, f"{page}, {block}: run python -m study tables"


def test_another_figure_is_another_page(figures):
    changed = figures.assign(share=figures["share"] * 0.5)
    assert report.table(changed, report.SHORT) != report.table(figures, report.SHORT)
    assert report.by_name(changed) != report.by_name(figures)
    assert report.expected(changed) != report.expected(figures)
    assert report.claims(changed) != report.claims(figures)


def test_the_picture_is_drawn_from_the_kept_answers():
    drawn = picture.drawn(REFERENCE)
    assert (files.project_root() / picture.FILE).read_text(encoding="utf-8") == drawn, "run python -m study tables"
    for _, question, before, after in picture.told(REFERENCE):
        for word in f"{question} {before} {after}".split():
            assert picture.escape(word) in drawn


def test_a_page_without_its_comments_is_refused(figures, tmp_path):
    (tmp_path / "README.md").write_text("nothing here\n", encoding="utf-8")
    with pytest.raises(ValueError, match="picture"):
        report.write(figures, tmp_path)


def test_the_readme_stays_short():
    assert len((files.project_root() / "README.md").read_text(encoding="utf-8").splitlines()) < 120
