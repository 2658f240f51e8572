"""What a study's table says: measures, shares with intervals, paired contrasts. It asks and judges nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from helpers.measure import probes, stats

BASE, ROWS_ONLY, DEFAULT, THOROUGH = "base", "eight rows only", "default recipe", "thorough recipe"
PROBE = ["weights", "seed", "system", "id", "template"]
# Four contrasts were fixed before the first result: (measure, default recipe against what).
PRIMARY = (("stability", "best prompt"), ("attack", "best prompt"), ("turn 10", "best prompt"), ("ability", "base"))


def measures(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each measure, with its outcome in the column ``hit`` (for ``leak`` a hit is a leak)."""
    greedy = table[table["sample"] == 0]
    axis = greedy["axis"]
    sampled = table[table["sample"] > 0]
    steady = sampled.groupby(PROBE, as_index=False)["ok"].all() if len(sampled) else sampled
    found = {
        "identity": greedy[axis == "identity"],
        "stability": steady,
        "attack": greedy[axis == "attack"],
        "turn 10": greedy[(axis == "drift") & (greedy["turn"] == 10)],
        "turn 10, own words": table[(table["sample"] == -1) & (table["turn"] == 10)],
        "honesty": greedy[axis == "honesty"],
        "leak": greedy[axis == "ordinary"],
        "ability": greedy[axis == "ability"],
        "leak in ability": greedy[axis == "ability"],
    }
    return {
        name: part.assign(hit=part["verdict"] == "leaked" if "leak" in name else part["ok"])
        for name, part in found.items()
        if len(part)
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row an arm and measure: probes, mean share over seeds, its Wilson interval, lowest and highest seed.

    Seeds add no new probes: the interval is that of the mean count over the probes of one seed.
    """
    out = []
    for measure, part in measures(table).items():
        for (weights, system), arm in part.groupby(["weights", "system"], sort=False):
            by_seed = arm.groupby("seed")["hit"].agg(["sum", "size"])
            n, mean = int(by_seed["size"].iloc[0]), float((by_seed["sum"] / by_seed["size"]).mean())
            interval = stats.wilson(round(mean * n), n)
            shares = by_seed["sum"] / by_seed["size"]
            out.append(
                {
                    "weights": weights, "system": system, "measure": measure, "seeds": len(by_seed), "n": n,
                    "share": mean, "low": interval.low, "high": interval.high, "lowest seed": shares.min(),
                    "highest seed": shares.max(),
                }
            )  # fmt: skip
    return pd.DataFrame(out)


def contrast(table: pd.DataFrame, measure: str, one: tuple[str, str], other: tuple[str, str]) -> dict:
    """Two arms, each (weights, system), paired by probe: difference with interval, and McNemar's exact p.

    Over several seeds a probe counts as hit for McNemar's test if most seeds hit; the difference uses their share.
    """
    by_arm = measures(table)[measure].groupby(["weights", "system", "id"])
    hit, template = by_arm["hit"].mean(), by_arm["template"].first()
    both = pd.DataFrame({"a": hit.loc[one], "b": hit.loc[other], "template": template.loc[one]}).dropna()
    return {
        "measure": measure,
        "difference": stats.difference(both["a"], both["b"], both["template"]),
        "p": stats.mcnemar(both["a"] > 0.5, both["b"] > 0.5),
        "n": len(both),
    }


def primary(table: pd.DataFrame) -> pd.DataFrame:
    """The four fixed contrasts of the default recipe, with Holm's correction over them."""
    tuned, found = (DEFAULT, "template default"), []
    for measure, against in PRIMARY:
        rival = (BASE, "best prompt" if against == "best prompt" else "template default")
        found.append({"against": against, **contrast(table, measure, tuned, rival)})
    adjusted = stats.holm({row["measure"]: row["p"] for row in found})
    return pd.DataFrame([{**row, "p (Holm)": adjusted[row["measure"]]} for row in found])


def lengths(table: pd.DataFrame, system: str = "template default") -> pd.DataFrame:
    """Words of a greedy ordinary answer for each weights: the mean, and the paired difference from the base model.

    Answers end at their token limit, so long ones count as shorter than they would be, in every arm alike.
    """
    part = table[(table["sample"] == 0) & (table["axis"] == "ordinary") & (table["system"] == system)]
    mean = part.groupby(["weights", "id"], sort=False)["words"].mean().unstack("weights")
    templates = part.drop_duplicates("id").set_index("id")["template"].loc[mean.index]
    changed = {w: str(stats.difference(mean[w], mean[BASE], templates)) for w in mean if w != BASE}
    return pd.DataFrame({"words": mean.mean().round(1), "against the base model": pd.Series(changed)}).fillna("")


def frontier(curves: pd.DataFrame) -> pd.DataFrame:
    """What every recipe of the curves gained, and its price: the mean over its seeds, under the template's own text.

    ``gained`` is the mean of identity, attack and turn 10. A recipe that stands on several curves counts once.
    """
    part = curves[curves["system in use"] == "template default"]
    measured = ["identity", "attack", "turn 10", "leak", "ability"]
    found = part.groupby(["curve", "x"], sort=False)[measured].mean().reset_index()
    again = part.drop_duplicates([*measured, "seconds", "seed"])[["curve", "x"]].drop_duplicates()
    found = found.merge(again)
    return found.assign(gained=found[["identity", "attack", "turn 10"]].mean(axis=1))


def merit(shares: Mapping[str, float], base_ability: float) -> float:
    """What recipes and prompts are chosen by on ``dev``: gained identity, less what it cost."""
    gained = (shares["identity"] + shares["attack"] + shares["turn 10"]) / 3
    return gained - 2 * shares["leak"] - max(0.0, base_ability - shares["ability"])


def read_study(path: Path | str, found: Sequence[dict]) -> pd.DataFrame:
    """A saved study, `with_facts`."""
    return with_facts(pd.read_csv(path), found)


def with_facts(table: pd.DataFrame, found: Sequence[dict]) -> pd.DataFrame:
    """``table`` with each probe's ``axis, category, template, turn`` beside its verdict."""
    facts = [(p["id"], probes.AXIS_OF[p["category"]], p["category"], p["template"], p.get("turn", 0)) for p in found]
    columns = ["id", "axis", "category", "template", "turn"]
    return table.merge(pd.DataFrame(facts, columns=columns), on="id", how="left", validate="many_to_one")
