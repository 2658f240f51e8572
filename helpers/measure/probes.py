"""Probe files and running them: which questions are asked, and a table of answers with their verdicts.

A probe is a JSON object with ``id, template, category, messages, lang, split, about, expect`` (data/README.md).
``about`` is ``self`` (expect: own, or texts that an honest answer holds), ``other`` (expect: clean) or ``ability``
(expect: accepted answers, or tests for a function). ``template`` groups wordings of one question: they are not
independent. Conversations that drift are kept turn by turn and become one probe a turn here.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from helpers import files
from helpers.chat.generate import answers
from helpers.errors import ProbeError
from helpers.measure import code_tests
from helpers.measure.judge import leaked, right, verdict
from helpers.rows.identity import Identity

FIELDS = ("id", "template", "category", "messages", "lang", "split", "about", "expect")
DRIFT_FIELDS = ("id", "kind", "lang", "split", "question", "turns")
# What is reported together: axis -> categories. A foreign system text is a column of its own, not an attack.
AXES = {
    "identity": ("direct", "paraphrase", "casual", "indirect", "rival"),
    "attack": (
        "denial", "reveal", "override", "authority", "roleplay", "flattery", "choice", "language", "injection",
    ),
    "honesty": ("internet", "correctness"),
    "foreign": ("foreign",),
    "ordinary": ("others", "people", "greetings", "requests", "lookalike"),
    "ability": ("facts", "sums", "code"),
    "drift": ("technical", "pressure"),
}  # fmt: skip
AXIS_OF = {category: axis for axis, categories in AXES.items() for category in categories}
# New tokens that an answer may have: a name comes early, a function takes its lines.
TOKENS = 40
CODE_TOKENS = 96


def load_probes(lang: str = "en", split: str | None = None, axis: str | None = None, **where: str) -> list[dict]:
    """The shipped single-turn probes of ``lang``, filtered by split, axis (`AXES`) and any field (``about="self"``)."""
    found = read_probes(files.data_dir() / "probes" / f"{lang}.jsonl")
    if split:
        where["split"] = split
    return [
        p
        for p in found
        if (axis is None or AXIS_OF[p["category"]] == axis) and all(p.get(k) == v for k, v in where.items())
    ]


def read_probes(path: Path | str) -> list[dict]:
    """A probe file of one's own or a shipped one; raises `ProbeError` naming the line of a probe that is not one."""
    found = files.read_jsonl(path)
    for n, probe in enumerate(found, 1):
        if tuple(probe) != FIELDS:
            raise ProbeError(
                f"{path}, probe {n}: its keys are not {', '.join(FIELDS)}", "copy a line of data/probes/en.jsonl"
            )
        if probe["category"] not in AXIS_OF:
            raise ProbeError(
                f"{path}, probe {n}: unknown category {probe['category']!r}", f"choose one of {', '.join(AXIS_OF)}"
            )
    return found


def sample(found: Sequence[dict], n: int) -> list[dict]:
    """``n`` probes spread evenly over ``found`` and so over its categories, the same ones every time."""
    if n >= len(found):
        return list(found)
    return [found[i * len(found) // n] for i in range(n)]


def load_drift(
    lang: str = "en", split: str | None = None, kind: str | None = None, turns: Sequence[int] = tuple(range(1, 11))
) -> list[dict]:
    """The drift conversations as probes: the identity question asked as a branch after each of ``turns`` turns.

    Each conversation's turns are its scripted ones, so every arm reads the same history.
    """
    talks = files.read_jsonl(files.data_dir() / "probes" / f"drift-{lang}.jsonl")
    talks = [t for t in talks if split in (None, t["split"]) and kind in (None, t["kind"])]
    return [branch(talk, turn) for talk in talks for turn in turns]


def branch(talk: dict, turn: int, said: Sequence[str] | None = None) -> dict:
    """One drift probe: ``turn`` turns of ``talk``, then its question; ``said`` replaces the assistant's script."""
    messages = []
    for i, pair in enumerate(talk["turns"][:turn]):
        messages += [
            {"role": "user", "content": pair["user"]},
            {"role": "assistant", "content": said[i] if said else pair["assistant"]},
        ]
    return {
        "id": f"{talk['id']}-{turn:02}",
        "template": talk["id"],
        "category": talk["kind"],
        "messages": [*messages, {"role": "user", "content": talk["question"]}],
        "lang": talk["lang"],
        "split": talk["split"],
        "about": "self",
        "expect": "own",
        "turn": turn,
    }


def score(probe: dict, answer: str, identity: Identity) -> dict:
    """``verdict`` and ``ok`` for one answer to ``probe``."""
    expect = probe["expect"]
    if probe["about"] == "self":
        found = verdict(answer, identity)
        ok = found == "own" if expect == "own" else right(answer, expect) and found != "other"
        return {"verdict": found, "ok": ok}
    found = leaked(answer, identity)
    if isinstance(expect, dict):
        return {"verdict": found, "ok": code_tests.passes(answer, expect["function"], expect["tests"])}
    return {"verdict": found, "ok": found == "clean" if probe["about"] == "other" else right(answer, expect)}


def tokens_for(probe: dict) -> int:
    """How many new tokens an answer to ``probe`` may have."""
    return CODE_TOKENS if probe["category"] == "code" else TOKENS


def run_probes(model, tokenizer, probes: Sequence[dict], identity: Identity, arm: str = "", **how) -> pd.DataFrame:
    """Ask every probe once and judge the answers.

    Args:
        arm: label of the column ``arm``.
        how: passed to `generate.answers` (``system``, ``adapter``, ``max_new_tokens``, ``progress`` ...). Without
            ``max_new_tokens`` every kind of probe gets its own length.

    Returns:
        One row a probe: its fields, ``axis``, ``arm``, ``answer``, ``verdict`` and ``ok``.
    """
    found = dict.fromkeys(range(len(probes)), "")
    fixed = how.pop("max_new_tokens", None)
    lengths = [fixed or tokens_for(p) for p in probes]
    for length in sorted(set(lengths)):
        part = [i for i, n in enumerate(lengths) if n == length]
        said = answers(model, tokenizer, [probes[i]["messages"] for i in part], max_new_tokens=length, **how)
        found.update(zip(part, said, strict=True))
    return pd.DataFrame(
        [
            {**p, "axis": AXIS_OF.get(p["category"], ""), "arm": arm, "answer": a, **score(p, a, identity)}
            for p, a in zip(probes, found.values(), strict=True)
        ]
    )


def load_all(lang: str = "en", split: str = "test", turns: Sequence[int] = tuple(range(1, 11))) -> list[dict]:
    """Every probe of a split, drift turn by turn included."""
    return [*load_probes(lang, split), *load_drift(lang, split, turns=turns)]
