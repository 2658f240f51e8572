"""What a study's table says: measures, shares with intervals, paired contrasts. It asks and judges nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from helpers import runs
from helpers.measure import probes, stats
from helpers.models.catalog import EMBEDDED, ModelSpec

BASE, PUBLISHED, PUBLISHED_LONGER = "base", "published, 10 steps", "published, 80 steps"
ROWS_ONLY, QUICK, THOROUGH = "eight rows at 1e-3", "quick", "thorough"
QWEN = "Qwen2.5-Coder-0.5B-Instruct"  # the only Qwen2.5 that a study could be made with
FIGURES = "figures.csv"
TEMPLATE, NAMED = "template default", ["identity", "attack", "turn 10"]
# Four contrasts were fixed before the first result: (measure, a recipe against what).
PRIMARY = (("stability", "best prompt"), ("attack", "best prompt"), ("turn 10", "best prompt"), ("ability", "base"))


def measures(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each measure, with its outcome in the column ``hit`` (for ``leak`` a hit is a leak)."""
    greedy, sampled = table[table["sample"] == 0], table[table["sample"] > 0]
    axis, probe = greedy["axis"], ["weights", "seed", "system", "id", "template"]
    kinds = {kind: greedy[greedy["category"].isin(names)] for kind, names in probes.KINDS.items()}
    kinds["greetings"] = greedy[greedy["category"] == "greetings"]
    found = {
        "identity": greedy[axis == "identity"],
        "stability": sampled.groupby(probe, as_index=False)["ok"].all() if len(sampled) else sampled,
        "attack": greedy[axis == "attack"],
        "turn 10": greedy[(axis == "drift") & (greedy["turn"] == 10)],
        "turn 10, own words": table[(table["sample"] == -1) & (table["turn"] == 10)],
        "honesty": greedy[axis == "honesty"],
        "leak": greedy[axis == "ordinary"],
        **kinds,
        "ability": greedy[axis == "ability"],
        "leak in ability": greedy[axis == "ability"],
    }
    leaks = ("leak", "leak in ability", *kinds)
    return {n: p.assign(hit=p["verdict"] == "leaked" if n in leaks else p["ok"]) for n, p in found.items() if len(p)}


def readings(table: pd.DataFrame, names: Sequence[str] = tuple(NAMED)) -> pd.DataFrame:
    """The shares of the measures ``names`` by each reading of `sense.readings`: one row a set-up and measure."""
    found = measures(table)
    parts = [found[name].assign(measure=name) for name in names]
    told = pd.concat(parts).rename(columns={"hit": "makes sense", "fits": "fits the question"})
    columns = ["claims", "fits the question", "makes sense"]
    told[columns] = told[columns].astype(float)
    return told.groupby(["weights", "system", "measure"], sort=False)[columns].mean()


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each set-up (weights, system text) and measure: probes, mean share over seeds with its interval.

    Seeds add no new probes: the interval is that of the mean count over the probes of one seed.
    """
    out = []
    for measure, part in measures(table).items():
        for (weights, system), arm in part.groupby(["weights", "system"], sort=False):
            seeds = arm.groupby("seed")["hit"]
            shares, n = seeds.mean(), int(seeds.size().iloc[0])
            interval = stats.wilson(round(shares.mean() * n), n)
            found = {"weights": weights, "system": system, "measure": measure, "seeds": len(shares), "n": n}
            found |= {"share": float(shares.mean()), "low": interval.low, "high": interval.high}
            out.append({**found, "lowest seed": shares.min(), "highest seed": shares.max()})
    return pd.DataFrame(out)


def contrast(table: pd.DataFrame, measure: str, one: tuple[str, str], other: tuple[str, str]) -> dict:
    """Two set-ups, each (weights, system), paired by probe: difference with interval, and McNemar's exact p.

    Over several seeds a probe counts as hit for McNemar's test if most seeds hit; the difference uses their share.
    """
    by_arm = measures(table)[measure].groupby(["weights", "system", "id"])
    hit, template = by_arm["hit"].mean(), by_arm["template"].first()
    both = pd.DataFrame({"a": hit.loc[one], "b": hit.loc[other], "template": template.loc[one]}).dropna()
    found = stats.difference(both["a"], both["b"], both["template"])
    p = stats.mcnemar(both["a"] > 0.5, both["b"] > 0.5)
    return {"measure": measure, "difference": found, "p": p, "n": len(both)}


def primary(table: pd.DataFrame, weights: str = QUICK) -> pd.DataFrame:
    """The four fixed contrasts of the recipe ``weights``, with Holm's correction over them."""
    found = []
    for measure, against in PRIMARY:
        rival = (BASE, TEMPLATE if against == "base" else against)
        found.append({"against": against, **contrast(table, measure, (weights, TEMPLATE), rival)})
    adjusted = stats.holm({row["measure"]: row["p"] for row in found})
    return pd.DataFrame([{**row, "p (Holm)": adjusted[row["measure"]]} for row in found])


def lengths(table: pd.DataFrame) -> pd.DataFrame:
    """Words of a greedy ordinary answer for each weights: the mean, and the paired difference from the base model.

    Answers end at their token limit, so long ones count as shorter than they would be, in every arm alike.
    """
    part = table[(table["sample"] == 0) & (table["axis"] == "ordinary") & (table["system"] == TEMPLATE)]
    mean = part.groupby(["weights", "id"], sort=False)["words"].mean().unstack("weights")
    templates = part.drop_duplicates("id").set_index("id")["template"].loc[mean.index]
    changed = {w: str(stats.difference(mean[w], mean[BASE], templates)) for w in mean if w != BASE}
    return pd.DataFrame({"words": mean.mean().round(1), "against the base model": pd.Series(changed)}).fillna("")


def merit(shares: Mapping[str, float], base_ability: float) -> float:
    """What prompts are chosen by on ``dev``: gained identity, less what it cost."""
    gained = sum(shares[name] for name in NAMED) / len(NAMED)
    return gained - 2 * shares["leak"] - max(0.0, base_ability - shares["ability"])


class Study(NamedTuple):
    """A shipped study: its folder, the language of its questions, and a line that says whose figures these are."""

    folder: Path
    lang: str
    whose: str


def of_model(spec: ModelSpec, lang: str = "en") -> Study:
    """The shipped study that fits a model best: for a Qwen model that of `QWEN`, for others the embedded model's."""
    folder, key = runs.reference_run() / QWEN / lang, QWEN
    if spec.model_name != "Qwen" or not (folder / FIGURES).exists():
        folder, key, lang = runs.reference_run(), EMBEDDED.key, "en"
    return Study(folder, lang, whose(key, lang, spec))


def whose(key: str, lang: str, spec: ModelSpec) -> str:
    """A line that says of which model, in which language, shipped figures are that are shown to a user of ``spec``."""
    spoken = {"en": "English", "zh": "Chinese"}[lang]
    other = "" if spec.key == key else f", not of {spec.key}, on which nothing was measured"
    return f"The figures below are of {key} in {spoken}{other}."


def read_study(path: Path | str, found: Sequence[dict], name: str = "Tavi") -> pd.DataFrame:
    """What a saved study says of the models that were given ``name``, `with_facts`."""
    table = pd.read_csv(path)
    return with_facts(table[table["name"] == name], found)


def with_facts(table: pd.DataFrame, found: Sequence[dict]) -> pd.DataFrame:
    """``table`` with each probe's ``axis, category, template, turn`` beside its verdict."""
    facts = [(p["id"], probes.AXIS_OF[p["category"]], p["category"], p["template"], p.get("turn", 0)) for p in found]
    facts = pd.DataFrame(facts, columns=["id", "axis", "category", "template", "turn"])
    return table.merge(facts, on="id", how="left", validate="many_to_one")
