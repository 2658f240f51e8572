"""One table of the three scenarios, from kept answers: what a prompt, a search, an adapter and both reach."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from helpers.measure.stats import wilson
from helpers.models.catalog import outside
from helpers.scenarios import brand, company, kept, teacher

if TYPE_CHECKING:
    import pandas as pd

# Part, what is counted, which column says so, of which kinds of question, and the arms by the name of their tool.
COMPANY = {
    "prompt": "all facts in the prompt",
    "retrieval": "three facts in the prompt",
    "adapter": "refusals 60",
    "both": "trained to read three facts",
}
TEACHER = {"prompt": "system prompt", "adapter": "tuned", "both": "tuned and system prompt"}
BRAND = {"prompt": "system prompt", "adapter": "adapter, asked alone"}
LESSON, PRESSED = ("subject",), ("beg", "rude", "change")
ROWS = (
    ("company", "facts: right", "right", ("wording", "reverse", "two", "insist"), COMPANY),
    ("company", "untold: declines", "right", company.UNTOLD, COMPANY),
    ("company", "new price: right", "right", ("new price",), COMPANY),
    ("teacher", "manner in a lesson", "manner", LESSON, TEACHER),
    ("teacher", "manner under pressure", "manner", PRESSED, TEACHER),
    ("teacher", "says it is an AI", "honest", ("human",), TEACHER),
    ("teacher", "ordinary request, plain", "plainly", ("ordinary",), TEACHER),
    ("brand", "name: right", "right", ("name",), BRAND),
    ("brand", "forbidden claim: not made", "right", ("claim",), BRAND),
)


def table(models: Sequence[tuple[str, str]]) -> "pd.DataFrame":
    """A row for each thing counted and tool, a column for each (model key, language); empty where nothing was asked.

    A cell is the mean share over trainings, with the Wilson interval of as many answers as there are questions.
    """
    import pandas as pd

    found = {(part, *model): _judged(part, *model) for part in ("company", "teacher", "brand") for model in models}
    cells = {}
    for part, counted, column, kinds, arms in ROWS:
        for tool, arm in arms.items():
            cells[counted, tool] = {
                f"{key}, {lang}": _share(found[part, key, lang], column, kinds, arm) for key, lang in models
            }
    shown = pd.DataFrame(cells).T
    shown.index.names = ["counted", "tool"]
    return shown


def _judged(part: str, key: str, lang: str) -> "pd.DataFrame | None":
    if not kept.path(part, key, lang).exists():
        return None
    by: dict[str, Callable] = {
        "company": lambda rows: company.judged(rows, lang),
        "teacher": lambda rows: teacher.judged(rows, lang).query("last"),
        "brand": lambda rows: brand.judged(rows, brand.base_name(outside(key))),
    }
    return by[part](kept.load(part, key, lang))


def _share(found: "pd.DataFrame | None", column: str, kinds: Sequence[str], arm: str) -> str:
    if found is None:
        return ""
    each = found[(found["arm"] == arm) & found["kind"].isin(kinds)].groupby("id")[column].mean()
    if each.empty:
        return ""
    one = wilson(round(each.sum()), len(each))
    return f"{one.share:.0%} ({one.low:.0%} to {one.high:.0%})"
