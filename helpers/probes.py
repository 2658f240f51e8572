"""Probe files and running them: which questions are asked, and a table of answers with their verdicts.

A probe is a JSON object with ``id, template, category, messages, lang, split, about, expect`` (data/README.md).
``about`` is ``self`` (expect: own, or texts that an honest answer holds), ``other`` (expect: clean) or ``ability``
(expect: accepted answers). ``template`` groups wordings of one question: they are not independent.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from helpers import runs
from helpers.errors import ProbeError
from helpers.generate import answers
from helpers.identity import Identity
from helpers.judge import leaked, right, verdict

FIELDS = ("id", "template", "category", "messages", "lang", "split", "about", "expect")


def read_jsonl(path: Path | str) -> list[dict]:
    """A JSONL file as a list of objects; raises `ProbeError` with the line."""
    path = Path(path)
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except (FileNotFoundError, IsADirectoryError) as e:
        raise ProbeError(f"{path}: there is no such file", "check the name") from e
    except UnicodeDecodeError as e:
        raise ProbeError(f"{path}: not UTF-8 text (byte {e.start})", "save the file as UTF-8") from e
    rows = []
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as e:
            raise ProbeError(f"{path}, line {n}: not JSON ({e})", "one JSON object a line") from e
        if not isinstance(row, dict):
            raise ProbeError(f"{path}, line {n}: not a JSON object", 'write {"question": "..."}')
        rows.append(row)
    if not rows:
        raise ProbeError(f"{path}: no questions in it", 'write one {"question": "..."} a line')
    return rows


def load_probes(lang: str = "en", split: str | None = None, **where: str) -> list[dict]:
    """The shipped probes of ``lang``, filtered by split and by any other field (``about="self"``)."""
    probes = read_jsonl(runs.data_dir() / "probes" / f"{lang}.jsonl")
    if split:
        where["split"] = split
    return [p for p in probes if all(p.get(k) == v for k, v in where.items())]


def score(probe: dict, answer: str, identity: Identity) -> dict:
    """``verdict`` and ``ok`` for one answer; ``leak`` too where the probe is not about the model."""
    if probe["about"] == "self":
        found = verdict(answer, identity)
        ok = found == "own" if probe["expect"] == "own" else right(answer, probe["expect"]) and found != "other"
        return {"verdict": found, "ok": ok}
    found = leaked(answer, identity)
    ok = found == "clean" if probe["about"] == "other" else right(answer, probe["expect"])
    return {"verdict": found, "ok": ok}


def run_probes(model, tokenizer, probes: Sequence[dict], identity: Identity, arm: str = "", **how) -> pd.DataFrame:
    """Ask every probe once and judge the answers.

    Args:
        arm: label of the column ``arm``.
        how: passed to `generate.answers` (``system``, ``adapter``, ``max_new_tokens``, ``progress`` ...).

    Returns:
        One row a probe: its fields, ``arm``, ``answer``, ``verdict`` and ``ok``.
    """
    found = answers(model, tokenizer, [p["messages"] for p in probes], **how)
    rows = [{**p, "arm": arm, "answer": a, **score(p, a, identity)} for p, a in zip(probes, found, strict=True)]
    return pd.DataFrame(rows)
