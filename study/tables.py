"""The tables of `data/reference` that are made from kept answers: they are judged anew each time, without a model.

`helpers.measure.tables` reads the tables and says what they mean.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from helpers import files
from helpers.measure import probes, tables
from study.answers import unpack
from study.ask import WHO

KEYS = ("weights", "seed", "system", "sample", "id")
COLUMNS = (*KEYS, "verdict", "ok", "words", "device")


def judged(rows: Iterable[dict], found: Sequence[dict]) -> pd.DataFrame:
    """Verdicts on ``rows``, a table of `COLUMNS`; answers to probes that are not in ``found`` are left out."""
    by_id, out = {p["id"]: p for p in found}, []
    for row in tqdm(rows, desc="judge", disable=None, leave=False):
        if row["id"] in by_id:
            scored = probes.score(by_id[row["id"]], row["answer"], WHO)
            told = {"words": len(row["answer"].split()), "device": row["device"]}
            out.append({**{key: row[key] for key in KEYS}, **scored, **told})
    return pd.DataFrame(out, columns=list(COLUMNS)).astype({"ok": int})


def study(rows: Sequence[dict]) -> pd.DataFrame:
    """One row an answer to a ``test`` probe."""
    return judged(rows, probes.load_all("en", "test"))


def on_dev(rows: Sequence[dict]) -> pd.DataFrame:
    """Verdicts on answers to the ``dev`` probes, with each probe's axis, category, template and turn."""
    found = probes.load_all("en", "dev", turns=(3, 10))
    return tables.with_facts(judged(rows, found), found)


def prompts(rows: Sequence[dict]) -> pd.DataFrame:
    """One row a prompt: the share of every measure, the best by `tables.merit` first."""
    verdicts = on_dev(rows)
    table = tables.summary(verdicts).pivot_table(index="system", columns="measure", values="share", sort=False).round(4)
    ability = float(table.loc["template default", "ability"])
    table.insert(0, "merit", [round(tables.merit(row, ability), 4) for _, row in table.iterrows()])
    table["device"] = verdicts.groupby("system")["device"].first()
    return table.rename_axis("prompt").sort_values("merit", ascending=False).reset_index()


def curves(rows: Sequence[dict]) -> pd.DataFrame:
    """One row a point and system text in use: the share of every measure, and what its training took.

    ``weights`` is the recipe's key here. Each answer also names the ``points`` of its recipe, as lists of place in the
    table, curve and x, and the ``seconds`` and ``versions`` of its training (`sweep.gather`).
    """
    recipes, out = {row["weights"]: row for row in rows}, []
    for (key, system), part in on_dev(rows).groupby(["weights", "system"], sort=False):
        told = recipes[key]
        shares = {name: round(float(hits["hit"].mean()), 4) for name, hits in tables.measures(part).items()}
        trained = {"seconds": told["seconds"], "device": told["device"], **told["versions"]}
        for place, curve, x in told["points"]:
            where = {"curve": curve, "x": x, "system in use": system, "seed": told["seed"]}
            out.append((place, {**where, **shares, **trained}))
    return pd.DataFrame([row for _, row in sorted(out, key=lambda pair: pair[0])])


# The file of a table -> the compressed answers beside it that it is made from, and how.
TABLES = {
    "study.csv": ("answers.jsonl.gz", study),
    "prompts.csv": ("prompts-answers.jsonl.gz", prompts),
    "curves.csv": ("curves-answers.jsonl.gz", curves),
}


def write(name: str, folder: Path) -> Path:
    """Judge the kept answers of the table ``name`` in ``folder`` and write it there; raises `ProbeError`."""
    answers, make = TABLES[name]
    return files.write_atomic(folder / name, make(unpack(folder / answers)).to_csv(index=False))
