"""The README's tables and the data card's are the figures of the study, as they stand in their file."""

import pandas as pd
import pytest

from helpers import files
from helpers.measure.tables import FIGURES
from study import report
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


def test_a_page_without_its_comments_is_refused(figures, tmp_path):
    (tmp_path / "README.md").write_text("nothing here\n")
    with pytest.raises(ValueError, match="figures"):
        report.write(figures, tmp_path)
