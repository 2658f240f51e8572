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
TURNS = tuple(range(1, 11))


def load_probes(lang: str = "en", split: str | None = None, axis: str | None = None, **where: str) -> list[dict]:
    """The shipped single-turn probes of ``lang``, filtered by split, axis (`AXES`) and any field (``about="self"``)."""
    where |= {"split": split} if split else {}
    return [
        probe
        for probe in read_probes(files.data_dir() / "probes" / f"{lang}.jsonl")
        if axis in (None, AXIS_OF[probe["category"]]) and where.items() <= {k: probe.get(k) for k in where}.items()
    ]


def read_probes(path: Path | str) -> list[dict]:
    """A probe file of one's own or a shipped one; raises `ProbeError` naming the probe that is not one."""
    found = files.read_jsonl(path)
    for n, probe in enumerate(found, 1):
        where = f"{path}, probe {n}"
        if tuple(probe) != FIELDS:
            raise ProbeError(f"{where}: its keys are not {', '.join(FIELDS)}", "copy a line of data/probes/en.jsonl")
        if probe["category"] not in AXIS_OF:
            raise ProbeError(f"{where}: unknown category {probe['category']!r}", f"choose one of {', '.join(AXIS_OF)}")
    return found


def load_drift(
    lang: str = "en", split: str | None = None, kind: str | None = None, turns: Sequence[int] = TURNS
) -> list[dict]:
    """The drift conversations as probes: the identity question asked as a branch after each of ``turns`` turns.

    Each conversation's turns are its scripted ones, so every arm reads the same history.
    """
    drifts = files.read_jsonl(files.data_dir() / "probes" / f"drift-{lang}.jsonl")
    chosen = [t for t in drifts if split in (None, t["split"]) and kind in (None, t["kind"])]
    return [branch(drift, turn) for drift in chosen for turn in turns]


def load_all(lang: str = "en", split: str = "test", turns: Sequence[int] = TURNS) -> list[dict]:
    """Every probe of a split, drift turn by turn included."""
    return [*load_probes(lang, split), *load_drift(lang, split, turns=turns)]


def sample(found: Sequence[dict], n: int) -> list[dict]:
    """``n`` probes spread evenly over ``found`` and so over its categories, the same ones every time."""
    return [found[i * len(found) // n] for i in range(n)] if n < len(found) else list(found)


def branch(drift: dict, turn: int, said: Sequence[str] | None = None) -> dict:
    """One drift probe: ``turn`` turns of ``drift``, then its question; ``said`` replaces the assistant's script."""
    script = said or [pair["assistant"] for pair in drift["turns"]]
    messages = []
    for pair, answer in zip(drift["turns"][:turn], script[:turn], strict=True):
        messages += [{"role": "user", "content": pair["user"]}, {"role": "assistant", "content": answer}]
    return {
        "id": f"{drift['id']}-{turn:02}", "template": drift["id"], "category": drift["kind"],
        "messages": [*messages, {"role": "user", "content": drift["question"]}],
        "lang": drift["lang"], "split": drift["split"], "about": "self", "expect": "own", "turn": turn,
    }  # fmt: skip


def score(probe: dict, answer: str, identity: Identity) -> dict:
    """``verdict`` and ``ok`` for one answer to ``probe``."""
    expect = probe["expect"]
    if probe["about"] == "self":
        found = verdict(answer, identity)
        return {
            "verdict": found,
            "ok": found == "own" if expect == "own" else right(answer, expect) and found != "other",
        }
    found = leaked(answer, identity)
    if isinstance(expect, dict):
        return {"verdict": found, "ok": code_tests.passes(answer, expect["function"], expect["tests"])}
    return {"verdict": found, "ok": found == "clean" if probe["about"] == "other" else right(answer, expect)}


def tokens_for(probe: dict) -> int:
    """How many new tokens an answer to ``probe`` may have: a name comes early, a function takes its lines."""
    return 96 if probe["category"] == "code" else 40


def run_probes(model, tokenizer, probes: Sequence[dict], identity: Identity, arm: str = "", **how) -> pd.DataFrame:
    """Ask every probe once and judge the answers.

    Args:
        arm: label of the column ``arm``.
        how: passed to `generate.answers` (``system``, ``adapter``, ``max_new_tokens``, ``progress`` ...). Without
            ``max_new_tokens`` every kind of probe gets its own length.

    Returns:
        One row a probe: its fields, ``axis``, ``arm``, ``answer``, ``verdict`` and ``ok``.
    """
    fixed, by_length, said = how.pop("max_new_tokens", None), {}, {}
    for i, probe in enumerate(probes):
        by_length.setdefault(fixed or tokens_for(probe), []).append(i)
    for length, part in sorted(by_length.items()):
        found = answers(model, tokenizer, [probes[i]["messages"] for i in part], max_new_tokens=length, **how)
        said.update(zip(part, found, strict=True))
    return pd.DataFrame(
        [
            {**p, "axis": AXIS_OF.get(p["category"], ""), "arm": arm, "answer": said[i], **score(p, said[i], identity)}
            for i, p in enumerate(probes)
        ]
    )
