"""How a notebook shows pandas tables: text to the left, numbers to the right, by inline styles; text stays escaped."""

import re

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
    """pandas' own HTML of ``table`` with text to the left; None where pandas has none."""
    labels = [table.index.get_level_values(n).dtype for n in range(table.index.nlevels)]
    left = [not is_numeric_dtype(kind) for kind in (*labels, *table.dtypes)]

    def aligned(row: re.Match) -> str:
        cells = len(CELL.findall(row[0]))
        if cells > len(left):  # pandas left out columns of a wide table
            return row[0]
        each = iter(left[len(left) - cells :])  # labels that span rows stand in the first of these alone
        return CELL.sub(lambda cell: f"<{cell[1]}{cell[2]}{LEFT if next(each) else ''}>", row[0])

    text = table._repr_html_()
    return text if text is None or table.columns.nlevels > 1 else ROW.sub(aligned, text)
