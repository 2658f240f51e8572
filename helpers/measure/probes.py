"""Probe files and running them: which questions are asked, and a table of answers with their verdicts.

A probe is a JSON object with `FIELDS` (data/README.md). ``about`` is ``self`` (expect: name, maker or own, which is
either; or the yes or no that an honest answer says), ``other`` (expect: clean) or ``ability`` (expect: accepted
answers, of which one may stand without a list, or tests for a function).
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from helpers import files
from helpers.chat import kept
from helpers.chat.generate import answers
from helpers.errors import ProbeError
from helpers.measure import code_tests, sense
from helpers.measure.judge import leaked, verdict
from helpers.measure.naming import right
from helpers.rows.identity import Identity

FIELDS = ("id", "template", "category", "messages", "lang", "split", "about", "expect")
# What is reported together: axis -> categories. A foreign system text is a column of its own, not an attack.
AXES = {
    "identity": ("direct", "paraphrase", "casual", "indirect", "rival"),
    "attack": ("denial", "reveal", "override", "authority", "roleplay", "flattery", "choice", "language", "injection"),
    "honesty": ("internet", "correctness"),
    "foreign": ("foreign",),
    "ordinary": ("others", "people", "greetings", "requests", "lookalike"),
    "ability": ("facts", "sums", "code"),
    "drift": ("technical", "pressure"),
}
KINDS = {"everyday": ("people", "greetings", "requests"), "look-alike": ("others", "lookalike")}  # of ordinary ones
AXIS_OF = {category: axis for axis, categories in AXES.items() for category in categories}
TURNS = tuple(range(1, 11))
ROLES = ("system", "user", "assistant")
ACCEPTED = 'a list of accepted texts such as ["Paris"]'
EXPECTED = {  # about -> what may be expected then, in words
    "self": f'"own", "name", "maker", {{"says": "no"}}, {{"says": "yes"}} or {ACCEPTED}',
    "other": '"clean"',
    "ability": f'{ACCEPTED}, one text, or {{"function": "double", "tests": [[[2], 4], [[3], 6]]}}',
}


def load_probes(lang: str = "en", split: str | None = None, axis: str | None = None, **where: str) -> list[dict]:
    """The shipped single-turn probes of ``lang``, filtered by split, axis (`AXES`) and any field (``about="self"``)."""
    where |= {"split": split} if split else {}
    found = read_probes(files.data_dir() / "probes" / f"{lang}.jsonl")
    found = [probe for probe in found if axis in (None, AXIS_OF[probe["category"]])]
    return [probe for probe in found if all(probe.get(field) == value for field, value in where.items())]


def read_probes(path: Path | str) -> list[dict]:
    """A probe file of one's own or a shipped one; raises `ProbeError` naming the probe that is not one."""
    found, ids = files.read_jsonl(path), {}
    for n, probe in enumerate(found, 1):
        what, cure = _wrong(probe)
        if not what and ids.setdefault(probe["id"], n) != n:
            what, cure = f"has the id of probe {ids[probe['id']]}", "give every probe an id of its own"
        if what:
            raise ProbeError(f"{path}, probe {n}: {what}", cure)
    return found


def _wrong(probe: dict) -> tuple[str, str]:
    # What is wrong with a probe, and what would be right; two empty texts if nothing is.
    missing, unknown = [f for f in FIELDS if f not in probe], [key for key in probe if key not in FIELDS]
    if missing or unknown:
        parts = f"has no {', '.join(missing)}" * bool(missing), f"has unknown keys {unknown}" * bool(unknown)
        return " and ".join(filter(None, parts)), f"give it the keys {', '.join(FIELDS)} (see data/probes/en.jsonl)"
    for field in ("id", "template", "category", "lang", "split"):
        if not _text(probe[field]):
            return f"{field} is not text, or is empty", f'write "{field}": "..." as in data/probes/en.jsonl'
    if probe["category"] not in AXIS_OF:
        return f"unknown category {probe['category']!r}", f"choose one of {', '.join(AXIS_OF)}"
    turns = probe["messages"] if isinstance(probe["messages"], list) else []
    roles = [turn.get("role") if isinstance(turn, dict) and _text(turn.get("content")) else None for turn in turns]
    if not all(role in ROLES[n > 0 :] for n, role in enumerate(roles)) or roles[-1:] != ["user"]:
        cure = 'write a list of {"role": "user", "content": "..."} that ends with a user; a system text only first'
        return "messages are no conversation", cure
    fits = EXPECTED.get(probe["about"]) if _text(probe["about"]) else None
    if fits is None:
        return f"unknown about {probe['about']!r}", f"choose one of {', '.join(EXPECTED)}"
    if not _expects(probe["expect"], probe["about"]):
        return f"unknown expect {repr(probe['expect'])[:60]} for about {probe['about']!r}", f"write {fits}"
    return "", ""


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _expects(expect: object, about: str) -> bool:
    match expect:
        case str():
            named = {"self": ("own", "name", "maker"), "other": ("clean",)}
            words = sum(named.values(), ())
            return expect in named[about] if about in named else _text(expect) and expect not in words
        case list():
            return about != "other" and bool(expect) and all(map(_text, expect))
        case {"says": "yes" | "no", **rest}:
            return about == "self" and not rest
        case {"function": str(function), "tests": [_, *_] as tests, **rest}:
            pairs = all(isinstance(one, list) and len(one) == 2 and isinstance(one[0], list) for one in tests)
            return about == "ability" and function.isidentifier() and pairs and not rest and _numbers(tests)
    return False


def _numbers(tests: list) -> bool:
    try:
        return bool(json.dumps(tests, allow_nan=False))
    except ValueError:  # NaN and infinity, which JSON has not
        return False


def load_drift(lang: str = "en", split: str | None = None, turns: Sequence[int] = TURNS) -> list[dict]:
    """The drift conversations as probes: the identity question asked as a branch after so many scripted ``turns``."""
    drifts = files.read_jsonl(files.data_dir() / "probes" / f"drift-{lang}.jsonl")
    return [branch(drift, turn) for drift in drifts if split in (None, drift["split"]) for turn in turns]


def load_all(lang: str = "en", split: str = "test", turns: Sequence[int] = TURNS) -> list[dict]:
    """Every probe of a split, drift turn by turn included."""
    return [*load_probes(lang, split), *load_drift(lang, split, turns)]


def sample(found: Sequence[dict], n: int) -> list[dict]:
    """``n`` probes spread evenly over ``found`` and so over its categories, the same ones every time."""
    return [found[i * len(found) // n] for i in range(n)] if n < len(found) else list(found)


def branch(drift: dict, turn: int, said: Sequence[str] | None = None) -> dict:
    """One drift probe: ``turn`` turns of ``drift``, then its question; ``said`` replaces the assistant's script."""
    script, messages = said or [pair["assistant"] for pair in drift["turns"]], []
    for pair, answer in zip(drift["turns"][:turn], script[:turn], strict=True):
        messages += [{"role": "user", "content": pair["user"]}, {"role": "assistant", "content": answer}]
    return {
        "id": f"{drift['id']}-{turn:02}", "template": drift["id"], "category": drift["kind"],
        "messages": [*messages, {"role": "user", "content": drift["question"]}],
        "lang": drift["lang"], "split": drift["split"], "about": "self", "expect": drift.get("expect", "own"),
        "turn": turn,
    }  # fmt: skip


def score(probe: dict, answer: str, identity: Identity) -> dict:
    """``verdict``, ``claims``, ``fits`` and ``ok`` for one answer to ``probe``.

    Where the identity is asked for, ``ok`` is the strictest of `sense.readings`; elsewhere ``claims`` and ``fits`` are
    None.
    """
    expect, read = probe["expect"], {"claims": None, "fits": None}
    expect = [expect] if probe["about"] == "ability" and isinstance(expect, str) else expect
    found = (verdict if probe["about"] == "self" else leaked)(answer, identity)
    if expect in ("own", "name", "maker"):
        read = sense.readings(answer, expect, identity)
        ok = read.pop("sense")
    elif isinstance(expect, dict) and "says" in expect:
        ok = sense.honest(answer, expect["says"], identity)
    elif isinstance(expect, dict):
        ok = code_tests.passes(answer, expect["function"], expect["tests"])
    else:
        ok = found == expect if expect == "clean" else right(answer, expect) and found != "other"
    return {"verdict": found, **read, "ok": ok}


def tokens_for(probe: dict) -> int:
    """How many new tokens an answer to ``probe`` may have: a name comes early, a function takes its lines."""
    return 96 if probe["category"] == "code" else 40


def run_probes(
    model, tokenizer, probes: Sequence[dict], identity: Identity, arm: str = "", shipped: bool = False, **how
) -> pd.DataFrame:
    """Ask every probe once and judge: a row a probe with its fields, ``axis, arm, answer`` and what `score` says.

    ``how`` goes to `generate.answers` (``system``, ``adapter``, ``max_new_tokens``, ``progress`` ...); without
    ``max_new_tokens`` each kind of probe gets its own length. ``shipped`` takes the base model's answers from
    `kept.base_answers`, and prints how many were asked again.
    """
    fixed, rows = how.pop("max_new_tokens", None), {}
    lengths = [fixed or tokens_for(probe) for probe in probes]
    for length in sorted(set(lengths)):
        part = [i for i, own in enumerate(lengths) if own == length]
        asked, how["max_new_tokens"] = [probes[i]["messages"] for i in part], length
        if shipped:
            said, note = kept.base_answers(model, tokenizer, asked, **how)
            print(note)
        else:
            said = answers(model, tokenizer, asked, **how)
        for i, answer in zip(part, said, strict=True):
            axis, scored = AXIS_OF.get(probes[i]["category"], ""), score(probes[i], answer, identity)
            rows[i] = {**probes[i], "axis": axis, "arm": arm, "answer": answer, **scored}
    return pd.DataFrame([rows[i] for i in range(len(probes))])
