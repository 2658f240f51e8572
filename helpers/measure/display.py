"""How pandas tables look in a notebook: whole sentences, aligned to the left as text is read; numbers to the right.

Jupyter sets every cell to the right, which is right for numbers and hard to read for the answers of a model. Only the
HTML form changes, by inline styles (GitHub, which strips them, shows Jupyter's own); what is text stays escaped.
"""

import re
from collections.abc import Sequence

import pandas as pd
from IPython import get_ipython
from pandas.api.types import is_numeric_dtype

LEFT = ' style="text-align: left"'
ROW, CELL = re.compile(r"<tr.*?</tr>", re.S), re.compile(r"<(t[hd])([^>]*)>")


def readable() -> None:
    """From here on show tables of this notebook with `html`, and no sentence cut short; outside of one do nothing."""
    pd.set_option("display.max_colwidth", None)
    if shell := get_ipython():
        shell.display_formatter.formatters["text/html"].for_type(pd.DataFrame, html)


def html(table: pd.DataFrame) -> str | None:
    """pandas' own HTML of ``table`` with text, its headings and text labels to the left; None where pandas has none."""
    text = table._repr_html_()
    if text is None or table.columns.nlevels > 1:
        return text
    columns = [not is_numeric_dtype(kind) for kind in table.dtypes]
    levels = [table.index.get_level_values(n) for n in range(table.index.nlevels)]
    labels = [not is_numeric_dtype(level.dtype) for level in levels]
    return ROW.sub(lambda row: _aligned(row[0], labels, columns), text)


def _aligned(row: str, labels: Sequence[bool], columns: Sequence[bool]) -> str:
    left, cells = [*labels, *columns], len(CELL.findall(row))
    if cells > len(left):  # pandas left out columns of a wide table
        return row
    each = iter(left[len(left) - cells :])  # labels that span rows stand in the first of these alone
    return CELL.sub(lambda cell: f"<{cell[1]}{cell[2]}{LEFT if next(each) else ''}>", row)
