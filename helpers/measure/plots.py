"""Every chart of the course, drawn from tables and lists; nothing is computed here but positions and intervals.

Colours are Okabe and Ito's, which colour-blind readers can tell apart (https://jfly.uni-koeln.de/color/); dashes and
hatches differ too. Each function leaves its figure as pyplot's current one: a notebook shows it at the cell's end.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

from helpers.measure.stats import rate
from helpers.rows.read import CJK

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
# Six of each beside seven colours, so that the two run out at different places.
STYLES = {
    "hatch": ("", "//", "..", "xx", "\\\\", "++"),
    "marker": ("o", "s", "^", "D", "v", "P"),
    "linestyle": ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1))),
}
TWO_LINES = ({"color": COLOURS[0], "linestyle": "-"}, {"color": COLOURS[5], "linestyle": "--"})
# matplotlib's own font has no Chinese, and none is shipped. Charts fall back on the first of these that is installed.
CHINESE = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB",
    "Heiti TC", "SimHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Noto Sans CJK JP", "Arial Unicode MS",
)  # fmt: skip
INSTALLED = set(font_manager.fontManager.get_font_names())
CHINESE_FONT = [name for name in CHINESE if name in INSTALLED][:1]
plt.rcParams["font.family"] = ["sans-serif", *CHINESE_FONT]  # glyph by glyph


def style(i: int, kind: str) -> dict:
    """Colour and ``kind`` (of `STYLES`) of the group ``i`` as pyplot's keywords; 42 groups all look different."""
    return {"color": COLOURS[i % len(COLOURS)], kind: STYLES[kind][i % len(STYLES[kind])]}


def _axes(title: str, x: str, y: str, size: tuple = (7.5, 3.6), labels: str = "", **columns) -> Axes | np.ndarray:
    # The first axes carry the title and what x and y are; `columns` ask for more beside them. Texts in `labels` follow.
    if not CHINESE_FONT and CJK.search(title + x + y + labels):
        what = "no font with Chinese characters is installed, so they show as boxes in this chart. What to do: install"
        cure = "one (Debian and Ubuntu: apt install fonts-noto-cjk), delete matplotlib's cache and restart the kernel"
        warnings.warn(f"{what} {cure}", stacklevel=3)
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
    _, found = plt.subplots(figsize=size, layout="constrained", **columns)
    for ax in np.ravel(found):
        ax.spines[["top", "right"]].set_visible(False)
    first = np.ravel(found)[0]
    first.set_title(title, loc="left", fontsize=11)
    first.set(xlabel=x, ylabel=y)
    return found


def _rates(table: DataFrame, by: str, groups: Iterable, value: str) -> tuple[np.ndarray, np.ndarray]:
    # The share of each group, shape (groups,), and how far its interval reaches down and up, shape (2, groups).
    found = [rate(list(table[table[by] == group][value])) for group in groups]
    share, low, high = np.transpose([(r.share, r.low, r.high) for r in found])
    return share, np.maximum(0, [share - low, high - share])


def loss_curves(log: Sequence[Mapping], title: str) -> None:
    """Training and held-out loss (nats a token) against optimiser steps, from a trainer's ``log_history``."""
    ax = _axes(title, "optimiser step", "loss (nats a token)")
    for key, label, look in zip(("loss", "eval_loss"), ("training rows", "held-out rows"), TWO_LINES, strict=True):
        points = [(entry["step"], float(entry[key])) for entry in log if key in entry]
        if points:
            ax.plot(*zip(*points, strict=True), **look, marker="o", ms=3, label=label)
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)


def change_of_mind(history: Sequence[Mapping], own: str, rival: str, title: str) -> None:
    """Mean log-probability of the own and the rival answer against steps, from `IdentityTracker.history`."""
    ax = _axes(title, "optimiser step", "mean log-probability\n(nats a token; 0 is certainty)", labels=own + rival)
    for key, label, look in zip(("own", "rival"), (own, rival), TWO_LINES, strict=True):
        ax.plot([h["step"] for h in history], [h[key] for h in history], **look, marker="o", ms=4, label=label)
    crossed = next((h["step"] for h in history if h["own"] > h["rival"]), None)
    if crossed is not None:
        ax.axvline(crossed, color="grey", lw=1, ls=":")
        place = {"xytext": (6, 4), "textcoords": "offset points", "va": "bottom", "fontsize": 9}
        ax.annotate(f"own answer ahead by step {crossed}", (crossed, ax.get_ylim()[0]), **place)
    ax.figure.legend(frameon=False, fontsize=9, loc="outside lower left")


def memory(samples: Sequence[tuple], parts: Mapping[str, int], title: str) -> None:
    """Memory in use over time (seconds, MiB), with ``parts`` (name -> bytes) stacked beside it as one bar.

    ``samples`` come from a `watch.MemoryCallback`; a GPU's are peaks of a step, with what was reserved.
    """
    gpu = len(samples[0]) > 2
    labels = "time (s), one point a step" if gpu else "time (s)", f"memory of the {'GPU' if gpu else 'process'} (MiB)"
    ax, bar = _axes(title, *labels, ncols=2, width_ratios=(4, 1), sharey=True)
    for i, name in enumerate(("allocated", "reserved") if gpu else ("in use",)):
        at = [s[0] for s in samples], [s[i + 1] / 2**20 for s in samples]
        ax.plot(*at, **TWO_LINES[i], label=name, marker="." if gpu else None, ms=3)
    if gpu:
        ax.legend(frameon=False, fontsize=8)
    heights = [size / 2**20 for size in parts.values()]
    for i, (name, height) in enumerate(zip(parts, heights, strict=True)):
        look = {"label": f"{name}: {height:.0f}", "edgecolor": "white", **style(i, "hatch")}
        bar.bar(0, height, bottom=sum(heights[:i]), **look)
    place = {"loc": "upper left", "bbox_to_anchor": (1, 1), "reverse": True}
    bar.legend(frameon=False, fontsize=8, title="at the peak (MiB)", title_fontsize=8, **place)
    bar.set_xticks([])
    ax.set_ylim(bottom=0)


def shares(
    table: DataFrame, by: str, arm: str, value: str, title: str, y: str = "share of answers", size: tuple = (7.5, 3.8)
) -> None:
    """Grouped bars: the share of true ``value`` for each ``by`` and ``arm``, with 95% Wilson intervals.

    Groups and arms stand in the order in which they first appear; ``n`` of each group is written under its name.
    """
    groups, arms = list(dict.fromkeys(table[by])), list(dict.fromkeys(table[arm]))
    ax, width = _axes(title, "", y, size), 0.8 / len(arms)
    for i, name in enumerate(arms):
        heights, errors = _rates(table[table[arm] == name], by, groups, value)
        at = [j + (i - (len(arms) - 1) / 2) * width for j in range(len(groups))]
        look = {"edgecolor": "white", "ecolor": "#444444", "capsize": 2, **style(i, "hatch")}
        ax.bar(at, heights, width * 0.92, yerr=errors, label=name, **look)
    ax.set_xticks(range(len(groups)), [f"{g}\nn = {int((table[by] == g).sum() / len(arms))}" for g in groups])
    ax.set_ylim(0, 1.05)
    ax.figure.legend(frameon=False, fontsize=9, ncols=min(len(arms), 3), loc="outside lower left")


def retention(table: DataFrame, arm: str, turn: str, value: str, title: str) -> None:
    """The share of true ``value`` at each turn for each arm, with Wilson intervals as whiskers."""
    ax = _axes(title, "turns of conversation before the question", "share that names itself")
    for i, name in enumerate(dict.fromkeys(table[arm])):
        part = table[table[arm] == name]
        turns = sorted(part[turn].unique())
        heights, errors = _rates(part, turn, turns, value)
        at = [t + (i - 1) * 0.06 for t in turns]
        ax.errorbar(at, heights, errors, marker="o", ms=4, capsize=2, label=name, **style(i, "linestyle"))
    ax.set_ylim(-0.03, 1.05)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.figure.legend(frameon=False, fontsize=9, ncols=3, loc="outside lower left")


def dots(
    table: DataFrame, kinds: Mapping[str, str], measures: Mapping[str, str], title: str, low: Sequence[str] = ()
) -> None:
    """Shares with intervals as dots: a block for each of ``measures`` (name -> label), in it a line for each arm.

    ``table`` has the columns ``arm, measure, share, low, high``. ``kinds`` says which arms are drawn (those that it
    has), in their order, and what kind each is: a kind has one colour, its first arm a hollow dot. The first block
    names the arms. A rule is drawn above each measure in ``low``, where less is better.
    """
    known, groups = set(table["arm"]), list(dict.fromkeys(kinds.values()))
    arms, at = [arm for arm in kinds if arm in known], table.set_index(["arm", "measure"])
    step = len(arms) + 1
    size = (8.5, 1.1 + 0.23 * step * len(measures))
    ax = _axes("", "share of answers, with 95% intervals", "", size, labels=title + "".join(measures.values()))
    ax.figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    for i, measure in enumerate(measures):
        for j, arm in enumerate(arms):
            share, *ends = at.loc[(arm, measure), ["share", "low", "high"]].astype(float)
            y, look = i * step + j, style(groups.index(kinds[arm]), "marker")
            hollow = next(one for one in kinds if kinds[one] == kinds[arm]) == arm
            ax.plot(ends, [y, y], color=look["color"], lw=1.5)
            ax.plot(share, y, ms=7, mfc="white" if hollow else look["color"], **look)
            said, place = f"{share:.0%}" + f"  {arm}" * (i == 0), {"textcoords": "offset points", "va": "center"}
            ax.annotate(said, (ends[1], y), (6, 0), fontsize=9, **place)
        if measure in low:
            ax.axhline(i * step - 1, color="grey", lw=0.8, ls=":")
    middles = [i * step + (len(arms) - 1) / 2 for i in range(len(measures))]
    ax.set_yticks(middles, list(measures.values()))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    ax.set(xlim=(-0.02, 1.2), ylim=(len(measures) * step - 1, -1))


def grid(table: DataFrame, measures: Mapping[str, str], title: str) -> None:
    """A panel for each of ``measures`` (column -> label): its share at every rate (down) and number of steps (across).

    ``table`` has the columns ``rate`` and ``steps``; the share is written into each cell, and darker is more.
    """
    axes = _axes(title, "optimiser steps", "learning rate", (3.1 * len(measures) + 0.6, 3.4), ncols=len(measures))
    for ax, (column, label) in zip(np.ravel(axes), measures.items(), strict=True):
        wide = table.pivot(index="rate", columns="steps", values=column)
        ax.imshow(wide, vmin=0, vmax=1, cmap="Blues", aspect="auto")
        for (i, j), share in np.ndenumerate(wide.to_numpy()):
            ax.text(
                j, i, f"{share:.2f}", ha="center", va="center", fontsize=9, color="white" if share > 0.6 else "black"
            )
        ax.set_xticks(range(wide.shape[1]), wide.columns)
        ax.set_yticks(range(wide.shape[0]), [f"{rate:g}" for rate in wide.index])
        ax.set_xlabel(f"optimiser steps\n{label}")
        ax.spines[["left", "bottom"]].set_visible(False)


def trade(summary: DataFrame, x: str, y: str, title: str) -> None:
    """One measure against another for every set-up of `tables.summary`, both with their intervals, each point named."""
    wide = summary.pivot(index=["weights", "system"], columns="measure", values=["share", "low", "high"])
    wide = wide.dropna(subset=[("share", x), ("share", y)])
    ax = _axes(title, f"{x} (share of answers)", f"{y} (share of answers)", (8.5, 4.4))
    kinds = list(dict.fromkeys(weights for weights, _ in wide.index))
    for n, ((weights, system), row) in enumerate(wide.iterrows(), 1):
        at = row["share", x], row["share", y]
        gaps = [row["share"] - row["low"], row["high"] - row["share"]]
        look = {"ls": "none", "ms": 6, "capsize": 2, **style(kinds.index(weights), "marker")}
        yerr, xerr = (np.maximum(0, [[gap[measure]] for gap in gaps]) for measure in (y, x))
        ax.errorbar(*at, yerr, xerr, label=f"{n}: {weights}, {system}", **look)
        ax.annotate(str(n), at, textcoords="offset points", xytext=(6, 5), fontsize=9)
    ax.set(xlim=(-0.03, 1.05), ylim=(-0.03, 1.08))
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
