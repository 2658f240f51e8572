"""The figures as markdown, for the README and the pages of docs: each stands between two comments and is never typed.

The README's picture is drawn by `study.picture` and written from here as well.
"""

import re
from pathlib import Path

import pandas as pd

from helpers import files
from helpers.measure import tables
from helpers.measure.tables import BASE, PUBLISHED, PUBLISHED_LONGER, QUICK, ROWS_ONLY, TEMPLATE, THOROUGH
from study import going_on, picture
from study.arms import NAMES
from study.ask import WHO
from study.reference import REFERENCE

ARMS = {
    "base model": (BASE, TEMPLATE),
    "one sentence as a prompt": (BASE, "one sentence"),
    "best of 16 prompts": (BASE, "best prompt"),
    "sentence in every turn": (BASE, "reminder"),
    "published, 10 steps": (PUBLISHED, TEMPLATE),
    "published, 80 steps": (PUBLISHED_LONGER, TEMPLATE),
    "eight rows at 1e-3": (ROWS_ONLY, TEMPLATE),
    "`quick`": (QUICK, TEMPLATE),
    "`thorough`": (THOROUGH, TEMPLATE),
}
MEASURES = {
    "identity": "names itself, {n} wordings",
    "stability": "in all of five sampled answers",
    "attack": "under {n} attacks",
    "turn 10": "after ten turns, {n} talks",
    "honesty": "honest about its limits, {n}",
    "everyday": "the name in {n} everyday answers",
    "greetings": "of these, in {n} greetings",
    "look-alike": "the name in {n} look-alikes",
    "ability": "right, of {n}",
    "words": "words of an ordinary answer",
}
SHORT = ("base model", "best of 16 prompts", "eight rows at 1e-3", "`quick`", "`thorough`")
EXPECTED = {
    "identity": "gives its new name or maker when asked, {n} questions",
    "attack": "still does when attacked, {n} attacks",
    "turn 10": "still does after ten turns, {n} talks",
    "honesty": "is honest about its limits, {n} questions",
    "everyday": "**price:** its name turns up where it does not belong, {n} everyday requests",
    "ability": "right answers to other questions (facts, sums, code), {n}",
}
EXPECTED_OF = {
    "base model": "as published",
    "best of 16 prompts": "with the best prompt of 16",
    "`quick`": "`quick`, 90 seconds",
    "`thorough`": "`thorough`, 4 minutes",
}
AGAINST = {"best of 16 prompts": "prompt", "`quick`": "tuned"}
CLAIMS = {  # claim of the published case -> measure, and the arms that are compared with their labels
    "The printed settings give the name": ("identity", {"published, 10 steps": "tuned so"}),
    "(the same with 80 steps instead of 10)": ("identity", {"published, 80 steps": "tuned so"}),
    "Asked five times, tuned 5 of 5, with a prompt 3 of 5": ("stability", AGAINST),
    "Attacks almost always break a prompt": ("attack", AGAINST),
    "A prompt is lost by turn 5": ("turn 10", AGAINST),
    "General ability stays intact": (
        "ability",
        {"base model": "before", "published, 80 steps": "80 steps", "`quick`": "tuned"},
    ),
    "(not in the published table) The name elsewhere": (
        "everyday",
        {"best of 16 prompts": "prompt", "published, 80 steps": "80 steps", "`quick`": "tuned"},
    ),
}
MEASURED = {
    "identity": "right answers to questions about itself",
    "stability": "questions with all of five sampled answers right",
    "attack": "attacks withstood",
    "turn 10": "talks in which it still names itself after ten turns",
    "ability": "right answers to other questions",
    "everyday": "everyday answers that hold the name",
}


GONE_ON = {
    "steps": "steps",
    "seconds": "seconds",
    "new row": "the new question, 1",
    "other wordings": "in other words, 3",
    "identity": "identity, 40",
    "everyday": "the name in 40 everyday answers",
    "ability": "right, of 40",
}


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


QWEN = (
    "base model",
    "one sentence as a prompt",
    "best of 16 prompts",
    "published, 10 steps",
    "published, 80 steps",
    "`quick`",
)
QWEN_MEASURES = ("identity", "attack", "turn 10", "honesty", "everyday", "look-alike", "ability")
IN_CHINESE = {
    "base model": "出厂", "one sentence as a prompt": "一句话提示词", "best of 16 prompts": "16 种提示词里最好的",
    "published, 10 steps": "帖子的参数，10 步", "published, 80 steps": "帖子的参数，去掉梯度累积，80 步",
    "`quick`": "这里的配方", "identity": "报出新身份", "attack": "顶住攻击", "turn 10": "十轮之后",
    "honesty": "如实说自己的局限", "everyday": "日常回答里冒出名字", "look-alike": "相似问题里冒出名字",
    "ability": "其他题答对",
}  # fmt: skip


def of_qwen(lang: str, words: dict[str, str] | None = None) -> str:
    """A markdown table of the Qwen study in ``lang``: a line an arm, a column a measure; ``words`` translates both."""
    figures, words = pd.read_csv(REFERENCE / tables.QWEN / lang / tables.FIGURES), words or {}
    name = figures[figures["weights"] == BASE]["name"].iloc[0]
    found = figures[figures["name"] == name].set_index(["weights", "system", "measure"])
    asked = [int(found.loc[(*ARMS[QWEN[0]], measure), "n"]) for measure in QWEN_MEASURES]
    heads = [f"{words.get(measure, measure)} ({n})" for measure, n in zip(QWEN_MEASURES, asked, strict=True)]
    lines = [_line(["", *heads]), _line(["---"] * (len(heads) + 1))]
    for arm in QWEN:
        shares = [f"{found.loc[(*ARMS[arm], measure), 'share']:.2f}" for measure in QWEN_MEASURES]
        lines.append(_line([words.get(arm, arm), *shares]))
    return "\n".join(lines)


def table(figures: pd.DataFrame, arms: tuple[str, ...]) -> str:
    """A markdown table: a line a measure, a column for each of ``arms``, shares with their 95% intervals."""
    found = figures[figures["name"] == WHO.name].set_index(["weights", "system", "measure"])
    lines = [_line(["", *arms]), _line(["---"] * (len(arms) + 1))]
    for measure, label in MEASURES.items():
        rows = [found.loc[(*ARMS[arm], measure)] for arm in arms]
        told = [f"{row['share']:.2f} ({row['low']:.2f} to {row['high']:.2f})" for row in rows]
        told = [f"{row['share']:.1f}" for row in rows] if measure == "words" else told
        lines.append(_line([label.format(n=int(rows[0]["n"])), *told]))
    return "\n".join(lines)


def expected(figures: pd.DataFrame) -> str:
    """The README's small table: what to expect of the embedded model, in per cent, and how much trainings differ."""
    found = figures[figures["name"] == WHO.name].set_index(["weights", "system", "measure"])
    lines = [_line(["", *EXPECTED_OF.values()]), _line(["---"] * (len(EXPECTED_OF) + 1))]
    for measure, label in EXPECTED.items():
        shares = [f"{found.loc[(*ARMS[arm], measure), 'share']:.0%}" for arm in EXPECTED_OF]
        lines.append(_line([label.format(n=int(found.loc[(*ARMS["base model"], measure), "n"])), *shares]))
    apart = []
    for arm in ("`quick`", "`thorough`"):
        row = found.loc[(*ARMS[arm], "identity")]
        apart.append(f"{row['lowest seed']:.0%} to {row['highest seed']:.0%} with {arm}")
    return "\n".join(
        [*lines, "", f"One training differs from the next. First line, three trainings: {' and '.join(apart)}."]
    )


def claims(figures: pd.DataFrame) -> str:
    """What the published case claims of a 7B beside what was measured here, on two models: a markdown table."""
    of = {"SmolLM2-135M, English": figures}
    for lang, language in (("en", "English"), ("zh", "Chinese")):
        of[f"Qwen2.5-Coder-0.5B, {language}"] = pd.read_csv(REFERENCE / tables.QWEN / lang / tables.FIGURES)
    lines = [_line(["the claim", "what was measured", *of]), _line(["---"] * (len(of) + 2))]
    for claim, (measure, arms) in CLAIMS.items():
        told = []
        for found in of.values():
            name = found[found["weights"] == BASE]["name"].iloc[0]
            shares = found[found["name"] == name].set_index(["weights", "system", "measure"])["share"]
            told.append(", ".join(f"{label} {shares[(*ARMS[arm], measure)]:.0%}" for arm, label in arms.items()))
        lines.append(_line([claim, MEASURED[measure], *told]))
    return "\n".join(lines)


def example(figures: pd.DataFrame) -> str:
    """A measured result as one may state it: counts, interval, trainings, rival and price."""
    found = figures[figures["name"] == WHO.name].set_index(["weights", "system", "measure"])
    row, leak = (found.loc[(*ARMS["`thorough`"], measure)] for measure in ("attack", "everyday"))
    prompt, n = found.loc[(*ARMS["best of 16 prompts"], "attack")], int(row["n"])
    return (
        f"> Asked {n} attacks that nobody had tuned on, it named itself in {row['share'] * n:.0f} ({row['share']:.0%}, "
        f"95% interval {row['low']:.0%} to {row['high']:.0%}; mean of {int(row['seeds'])} trainings, which gave "
        f"{row['lowest seed']:.0%} to {row['highest seed']:.0%}). The best system prompt of 16 on the untuned model: "
        f"{prompt['share']:.0%}. The name stands in {leak['share']:.0%} of {int(leak['n'])} everyday answers, where it "
        "does not belong."
    )


def by_name(figures: pd.DataFrame) -> str:
    """A markdown table: a line a recipe and name, a column a measure."""
    measures = [measure for measure in MEASURES if measure not in ("stability", "greetings", "words")]
    found = figures[figures["system"] == TEMPLATE].set_index(["weights", "name", "measure"])["share"]
    lines = [_line(["", *measures]), _line(["---"] * (len(measures) + 1))]
    for recipe in (QUICK, THOROUGH):
        for who in (WHO, *NAMES):
            shares = [f"{found[recipe, who.name, measure]:.2f}" for measure in measures]
            lines.append(_line([f"`{recipe}`, {who.name} / {who.developer}", *shares]))
    return "\n".join(lines)


def gone_on() -> str:
    """A markdown table: a line for each way to go on with the shipped adapter, a column a measure, in counts."""
    found = pd.read_csv(REFERENCE / going_on.FILE)
    lines = [_line(["", *GONE_ON.values()]), _line(["---"] * (len(GONE_ON) + 1))]
    lines += [_line([row["arm"], *(str(row[measure]) for measure in GONE_ON)]) for _, row in found.iterrows()]
    return "\n".join(lines)


def blocks(figures: pd.DataFrame) -> dict[str, dict[str, str]]:
    """File in the project -> what stands between its comments, by their name."""
    return {
        "README.md": {"picture": picture.markdown(REFERENCE), "expected": expected(figures)},
        "docs/results.md": {"figures": table(figures, SHORT), "names": by_name(figures), "going on": gone_on()},
        "docs/claims.md": {"example": example(figures), "claims": claims(figures)},
        "data/README.md": {"figures": table(figures, tuple(ARMS))},
        "docs/gpu.md": {"Chinese": of_qwen("zh"), "English": of_qwen("en")},
        "README.zh.md": {"Chinese": of_qwen("zh", IN_CHINESE)},
    }


def filled(text: str, block: str, content: str) -> str:
    """``text`` with ``content`` between the comments of ``block``; raises `ValueError` if they are not there once."""
    begin, end = f"<!-- {block} -->\n", f"\n<!-- end of {block} -->"
    between = f"{re.escape(begin)}.*?{re.escape(end)}"
    text, times = re.subn(between, lambda _: begin + content + end, text, flags=re.DOTALL)
    if times != 1:
        raise ValueError(f"the comments of {block} stand there {times} times, not once")
    return text


def write(figures: pd.DataFrame, root: Path | None = None) -> None:
    """Put the blocks into the pages, and draw the picture."""
    root = root or files.project_root()
    for page, contents in blocks(figures).items():
        path = root / page
        text = path.read_text(encoding="utf-8")
        for block, content in contents.items():
            text = filled(text, block, content)
        files.write_atomic(path, text)
    files.write_atomic(root / picture.FILE, picture.drawn(REFERENCE))
