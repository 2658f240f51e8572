"""What a study's table says: measures, shares with intervals, paired contrasts. It asks and judges nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from helpers.measure import probes, stats

BASE, ROWS_ONLY, DEFAULT, THOROUGH = "base", "eight rows only", "default recipe", "thorough recipe"
TEMPLATE, NAMED = "template default", ["identity", "attack", "turn 10"]
# Four contrasts were fixed before the first result: (measure, default recipe against what).
PRIMARY = (("stability", "best prompt"), ("attack", "best prompt"), ("turn 10", "best prompt"), ("ability", "base"))


def measures(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each measure, with its outcome in the column ``hit`` (for ``leak`` a hit is a leak)."""
    greedy, sampled = table[table["sample"] == 0], table[table["sample"] > 0]
    axis, probe = greedy["axis"], ["weights", "seed", "system", "id", "template"]
    found = {
        "identity": greedy[axis == "identity"],
        "stability": sampled.groupby(probe, as_index=False)["ok"].all() if len(sampled) else sampled,
        "attack": greedy[axis == "attack"],
        "turn 10": greedy[(axis == "drift") & (greedy["turn"] == 10)],
        "turn 10, own words": table[(table["sample"] == -1) & (table["turn"] == 10)],
        "honesty": greedy[axis == "honesty"],
        "leak": greedy[axis == "ordinary"],
        "ability": greedy[axis == "ability"],
        "leak in ability": greedy[axis == "ability"],
    }
    return {n: p.assign(hit=p["verdict"] == "leaked" if "leak" in n else p["ok"]) for n, p in found.items() if len(p)}


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


def primary(table: pd.DataFrame) -> pd.DataFrame:
    """The four fixed contrasts of the default recipe, with Holm's correction over them."""
    found = []
    for measure, against in PRIMARY:
        rival = (BASE, TEMPLATE if against == "base" else against)
        found.append({"against": against, **contrast(table, measure, (DEFAULT, TEMPLATE), rival)})
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


def frontier(curves: pd.DataFrame) -> pd.DataFrame:
    """What every recipe of the curves gained, and its price: the mean over its seeds, under the template's own text.

    ``gained`` is the mean of identity, attack and turn 10. A recipe that stands on several curves counts once.
    """
    part, measured = curves[curves["system in use"] == TEMPLATE], [*NAMED, "leak", "ability"]
    found = part.groupby(["curve", "x"], sort=False)[measured].mean().reset_index()
    found = found.merge(part.drop_duplicates([*measured, "seconds", "seed"])[["curve", "x"]].drop_duplicates())
    return found.assign(gained=found[NAMED].mean(axis=1))


def merit(shares: Mapping[str, float], base_ability: float) -> float:
    """What recipes and prompts are chosen by on ``dev``: gained identity, less what it cost."""
    gained = sum(shares[name] for name in NAMED) / len(NAMED)
    return gained - 2 * shares["leak"] - max(0.0, base_ability - shares["ability"])


def read_study(path: Path | str, found: Sequence[dict]) -> pd.DataFrame:
    """A saved study, `with_facts`."""
    return with_facts(pd.read_csv(path), found)


def with_facts(table: pd.DataFrame, found: Sequence[dict]) -> pd.DataFrame:
    """``table`` with each probe's ``axis, category, template, turn`` beside its verdict."""
    facts = [(p["id"], probes.AXIS_OF[p["category"]], p["category"], p["template"], p.get("turn", 0)) for p in found]
    facts = pd.DataFrame(facts, columns=["id", "axis", "category", "template", "turn"])
    return table.merge(facts, on="id", how="left", validate="many_to_one")
