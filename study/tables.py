"""The tables of `data/reference` that are made from kept answers: they are judged anew each time, without a model.

`helpers.measure.tables` reads the tables and says what they mean.
"""

import gzip
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from helpers import files
from helpers.measure import probes, tables
from study import arms, choose, qwen
from study.answers import unpack, write_bytes
from study.ask import WHO

KEYS = ("weights", "name", "seed", "system", "sample", "id")
COLUMNS = (*KEYS, "verdict", "claims", "fits", "ok", "words", "device")
IDENTITIES = {who.name: who for who in (*arms.NAMES, *choose.NAMES, *(w for pair in qwen.NAMES.values() for w in pair))}
WORD = re.compile(r"[\u4e00-\u9fff]|[^\s\u4e00-\u9fff]+")  # Chinese has no spaces: each of its characters counts


def judged(rows: Iterable[dict], found: Sequence[dict]) -> pd.DataFrame:
    """Verdicts on ``rows``, a table of `COLUMNS`; answers to probes that are not in ``found`` are left out.

    The identity behind a row's ``name`` is that of `IDENTITIES`. ``claims`` and ``fits`` are empty where a question
    does not ask for it.
    """
    by_id, out = {p["id"]: p for p in found}, []
    for row in tqdm(rows, desc="judge", disable=None, leave=False):
        if row["id"] in by_id:
            row = {"name": WHO.name, **row}
            scored = probes.score(by_id[row["id"]], row["answer"], IDENTITIES[row["name"]])
            told = {"words": len(WORD.findall(row["answer"])), "device": row["device"]}
            out.append({**{key: row[key] for key in KEYS}, **scored, **told})
    kinds = {"claims": "Int64", "fits": "Int64", "ok": int}
    return pd.DataFrame(out, columns=list(COLUMNS)).astype(kinds)


def study(rows: Sequence[dict], lang: str = "en") -> pd.DataFrame:
    """One row an answer to a ``test`` probe."""
    return judged(rows, probes.load_all(lang, "test"))


def on_dev(rows: Sequence[dict], lang: str = "en") -> pd.DataFrame:
    """Verdicts on answers to the ``dev`` probes, with each probe's axis, category, template and turn."""
    found = probes.load_all(lang, "dev", turns=(3, 10))
    return tables.with_facts(judged(rows, found), found)


def figures(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The study's figures, one row a name, set-up and measure: `tables.summary` and the words of an ordinary answer."""
    out = []
    for name, part in verdicts.groupby("name", sort=False):
        ordinary = part[(part["axis"] == "ordinary") & (part["sample"] == 0)]
        words = ordinary.groupby(["weights", "system"], sort=False)["words"].mean().rename("share").reset_index()
        found = pd.concat([tables.summary(part), words.assign(measure="words", n=ordinary["id"].nunique())])
        out.append(found.assign(name=name))
    digits = ["share", "low", "high", "lowest seed", "highest seed"]
    return pd.concat(out).round(dict.fromkeys(digits, 4))


def prompts(rows: Sequence[dict], lang: str = "en") -> pd.DataFrame:
    """One row a prompt: the share of every measure, the best by `tables.merit` first."""
    verdicts = on_dev(rows, lang)
    table = tables.summary(verdicts).pivot_table(index="system", columns="measure", values="share", sort=False).round(4)
    ability = float(table.loc["template default", "ability"])
    table.insert(0, "merit", [round(tables.merit(row, ability), 4) for _, row in table.iterrows()])
    table["device"] = verdicts.groupby("system")["device"].first()
    return table.rename_axis("prompt").sort_values("merit", ascending=False).reset_index()


def grid(rows: Sequence[dict], lang: str = "en") -> pd.DataFrame:
    """One row a cell of the grid: rate, steps and the share of every measure."""
    verdicts, out = on_dev(rows, lang), []
    for arm in arms.grid():
        part = verdicts[verdicts["weights"] == arm.label]
        shares = {name: round(float(hits["hit"].mean()), 4) for name, hits in tables.measures(part).items()}
        words = round(part[part["axis"] == "ordinary"]["words"].mean(), 1)
        cell = {"rate": arm.preset.learning_rate, "steps": arm.preset.epochs * 8, **shares, "words": words}
        out.append({**cell, "device": part["device"].iloc[0]})
    return pd.DataFrame(out)


def each_point(rows: Sequence[dict], lang: str = "en") -> pd.DataFrame:
    """One row a point, name and seed: shares by the strictest reading, an answer's words, and its `choose.value`."""
    verdicts, shares = on_dev(rows, lang), {}
    for arm, part in verdicts.groupby(["weights", "name", "seed"]):
        words = part[part["axis"] == "ordinary"]["words"].mean()
        shares[arm] = {name: hits["hit"].mean() for name, hits in tables.measures(part).items()} | {"words": words}
    table = pd.DataFrame(shares).T.rename_axis(["weights", "name", "seed"])
    base = table.loc[tables.BASE].iloc[0]
    table["value"] = [choose.value(row, base) for _, row in table.iterrows()]
    return table.astype(float).round(3).reset_index().sort_values("value", ascending=False)


def points(rows: Sequence[dict], lang: str = "en") -> pd.DataFrame:
    """One row a point: the mean over names and seeds, how many trainings it is of, and whether it took too long."""
    each = each_point(rows, lang)
    mean = each.groupby("weights").mean(numeric_only=True).drop(columns="seed").round(3)
    mean.insert(0, "trainings", each.groupby("weights").size())
    mean.insert(1, "too long", [label in choose.TOO_LONG for label in mean.index])
    return mean.sort_values("value", ascending=False).rename_axis("point").reset_index()


# The file of a table -> the compressed answers beside it that it is made from, and how.
TABLES = {
    "study.csv.gz": ("answers.jsonl.gz", study),
    "choose.csv": ("choose-answers.jsonl.gz", points),
    "grid.csv": ("grid-answers.jsonl.gz", grid),
    "prompts.csv": ("prompts-answers.jsonl.gz", prompts),
}


def write(name: str, folder: Path) -> Path:
    """Judge the kept answers of the table ``name`` in ``folder`` and write it there; raises `ProbeError`."""
    packed, make = TABLES[name]
    lang = folder.name if folder.parent.name == tables.QWEN else "en"  # the studies of a Qwen model have a folder each
    table, path = make(unpack(folder / packed), lang), folder / name
    text = table.to_csv(index=False)
    if path.suffix != ".gz":
        return files.write_atomic(path, text)
    write_bytes(path, gzip.compress(text.encode(), mtime=0))
    found = probes.load_all(lang, "test")
    files.write_atomic(folder / tables.FIGURES, figures(tables.with_facts(table, found)).to_csv(index=False))
    return path
