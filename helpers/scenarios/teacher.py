"""A teacher with a manner: the lesson file, its demonstrations as rows and prompts, the test, and answers judged.

A lesson file holds the manner as a system text, demonstration dialogues, and wordings of "are you human?". The rules
are in `manner`. No model is loaded or trained here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from helpers import files
from helpers.errors import ScenarioError
from helpers.rows.read import CJK, Row
from helpers.scenarios.disclosure import claims_human, discloses
from helpers.scenarios.manner import RULES, in_manner, manner, sense

if TYPE_CHECKING:
    import pandas as pd

KEYS = {"name", "system", "dialogues", "disclosure"}
COMPARE = "compare it with data/scenarios/teacher-en.json"


class Exchange(NamedTuple):
    """What a pupil says, and what the teacher answers."""

    user: str
    assistant: str


@dataclass(frozen=True)
class Dialogue:
    """A demonstration: its exchanges, the texts that would give the answer away, and what a grammar coach points at."""

    subject: str
    turns: tuple[Exchange, ...]
    withhold: tuple[str, ...]
    point: tuple[str, ...] = ()
    sentence: str = ""

    def item(self, turn: int, lang: str) -> dict:
        """The demonstration up to exchange ``turn`` (from 0) as a test line, to be judged by `manner`."""
        asked = [{"role": "user", "content": one.user} for one in self.turns[: turn + 1]]
        told = {"withhold": self.withhold, "point": self.point, "sentence": self.sentence, "lang": lang}
        return {"kind": "grammar" if self.sentence else "subject", "messages": asked, **told}


@dataclass(frozen=True)
class Lesson:
    """A lesson file: the teacher's name, the manner as a system text, demonstrations, and disclosure."""

    name: str
    system: str
    dialogues: tuple[Dialogue, ...]
    disclosure: tuple[Exchange, ...]
    lang: str


def load(source: Path | str) -> Lesson:
    """The shipped lesson of a language (``en``, ``zh``) or the one in a file.

    Raises `ScenarioError` for wrong keys, an empty text, turns that do not alternate and a demonstration that breaks a
    rule, with the number of the dialogue and of the turn.
    """
    path = files.data_dir() / "scenarios" / f"teacher-{source}.json" if source in ("en", "zh") else Path(source)
    try:
        held = files.read_json(path, ScenarioError)
    except (ValueError, RecursionError) as e:
        raise ScenarioError(f"not JSON ({e})", f"{COMPARE}; usually a comma or a quote is missing", path) from e
    if not isinstance(held, dict) or held.keys() != KEYS:
        raise ScenarioError(f"has {_keys(held)}, needs {_keys(dict.fromkeys(KEYS))}", COMPARE, path)
    for key, kind in (("name", str), ("system", str), ("dialogues", list), ("disclosure", list)):
        if not isinstance(held[key], kind) or not held[key]:
            raise ScenarioError(f"{key} is empty or not a {kind.__name__}", COMPARE, path)
    lang = "zh" if CJK.search(held["system"]) else "en"
    dialogues = tuple(_dialogue(one, n, lang, path) for n, one in enumerate(held["dialogues"], 1))
    told = _exchanges(held["disclosure"], "disclosure", path)
    for n, one in enumerate(told, 1):
        if not discloses(one.assistant) or claims_human(one.assistant):
            cure = "say that the teacher is an AI, and claim no human past"
            raise ScenarioError(f"disclosure, turn {n}: {one.assistant[:60]!r} hides that it is an AI", cure, path)
    return Lesson(held["name"], held["system"], dialogues, told, lang)


def _keys(held: object) -> str:
    return ", ".join(sorted(map(str, held))) if isinstance(held, dict) else type(held).__name__


def _dialogue(held: object, n: int, lang: str, path: Path) -> Dialogue:
    needs, may = {"subject", "withhold", "turns"}, {"point", "sentence"}
    if not isinstance(held, dict) or not (needs <= held.keys() <= needs | may):
        raise ScenarioError(f"dialogue {n}: has {_keys(held)}, needs subject, withhold and turns", COMPARE, path)
    for key in ("withhold", "point"):
        if not isinstance(held.get(key, []), list) or not all(isinstance(x, str) and x for x in held.get(key, [])):
            raise ScenarioError(f"dialogue {n}: {key} is not a list of texts", COMPARE, path)
    told, point = tuple(held["withhold"]), tuple(held.get("point", ()))
    made = Dialogue(
        held["subject"], _exchanges(held["turns"], f"dialogue {n}", path), told, point, held.get("sentence", "")
    )
    for turn, one in enumerate(made.turns):
        if broken := [rule for rule, kept in manner(one.assistant, made.item(turn, lang)).items() if not kept]:
            what = f"dialogue {n}, turn {turn + 1}: {one.assistant[:60]!r} breaks the manner ({', '.join(broken)})"
            raise ScenarioError(what, "rewrite this answer; a model learns from each of them", path)
    return made


def _exchanges(turns: object, where: str, path: Path) -> tuple[Exchange, ...]:
    # Exchanges from [{"user", "assistant"}, ...], or from messages with a role each, which have to alternate.
    if not isinstance(turns, list) or not turns or not all(isinstance(one, dict) for one in turns):
        raise ScenarioError(f"{where}: no list of turns", COMPARE, path)
    parts = [(n, *part) for n, one in enumerate(turns, 1) for part in _parts(one)]
    for i, (n, role, text) in enumerate(parts):
        if role != ("user", "assistant")[i % 2]:
            what = f"{where}, turn {n}: {role!r} speaks, but it is not that one's turn"
            raise ScenarioError(what, "let user and assistant take turns, the user first", path)
        if not isinstance(text, str) or not text.strip():
            raise ScenarioError(f"{where}, turn {n}: the {role}'s text is empty", "write it or delete the turn", path)
    if len(parts) % 2:
        raise ScenarioError(f"{where}, turn {len(turns)}: no answer follows", "end with the assistant's answer", path)
    return tuple(Exchange(a[2].strip(), b[2].strip()) for a, b in zip(parts[::2], parts[1::2], strict=True))


def _parts(turn: dict) -> list[tuple[str, object]]:
    return [(str(turn["role"]), turn["content"])] if turn.keys() == {"role", "content"} else list(turn.items())


def rows(lesson: Lesson) -> list[Row]:
    """One row for each answer of the demonstrations, with the exchanges before it as its ``history``."""
    return [
        {"instruction": one.user, "input": "", "output": one.assistant, "history": [list(b) for b in d.turns[:n]]}
        for d in lesson.dialogues
        for n, one in enumerate(d.turns)
    ]


def disclosure_rows(lesson: Lesson, wordings: int | None = None) -> list[Row]:
    """Rows that say what the teacher is, for so many wordings (None: all), spread evenly over the file.

    Every fourth one comes after a demonstration's first exchange: pupils ask in the middle of a lesson too.
    """
    total = len(lesson.disclosure)
    n = total if wordings is None else min(wordings, total)
    made = [lesson.disclosure[i * total // n] for i in range(n)]
    before = [[list(d.turns[0])] for d in lesson.dialogues]
    return [
        {"instruction": q, "input": "", "output": a, "history": before[i // 4 % len(before)] if i % 4 == 1 else []}
        for i, (q, a) in enumerate(made)
    ]


def prompts(lesson: Lesson, demonstrations: int = 6) -> dict[str, list[dict[str, str]]]:
    """The rivals that train nothing, as turns to put first: the system text; it and two exchanges of some dialogues."""
    system = [{"role": "system", "content": lesson.system}]
    some = [lesson.dialogues[i * len(lesson.dialogues) // demonstrations] for i in range(demonstrations)]
    turns = [part for d in some for one in d.turns[:2] for part in zip(("user", "assistant"), one, strict=True)]
    return {
        "system prompt": system,
        "prompt with six demonstrations": system + [{"role": role, "content": text} for role, text in turns],
    }


@cache
def load_test(lang: str) -> tuple[dict, ...]:
    """The held-out test lines of a language; their ``messages`` are the pupil's alone. Raises `ScenarioError`.

    Of ten turns the last brings a new task: ``withhold`` belongs to it, ``withhold_early`` to the nine before.
    """
    path = files.data_dir() / "scenarios" / f"teacher-test-{lang}.jsonl"
    lines = files.read_jsonl(path, ScenarioError)
    for n, line in enumerate(lines, 1):
        if "turns" in line:
            line["messages"] = [{"role": "user", "content": text} for text in line.pop("turns")]
        if line.get("kind") not in RULES or not line.get("messages") or line.get("lang") != lang:
            raise ScenarioError("no known kind, no messages or another language", "git checkout this file", path, n)
    return tuple(lines)


def up_to(line: dict, turn: int) -> dict:
    """A test line as it stands at the pupil's ``turn`` (from 1), to be judged there."""
    early = {"withhold": line["withhold_early"]} if "withhold_early" in line and turn < len(line["messages"]) else {}
    return {**line, "messages": line["messages"][:turn], **early}


def judged(answers: Sequence[dict], lang: str = "en") -> "pd.DataFrame":
    """Kept answers with their verdicts, a row each; a rule that is not asked of a kind of line is missing (NA) there.

    ``manner`` is all rules together, ``honest`` disclosing without claiming a human past, ``plainly`` an ordinary
    request answered without the manner. ``turn`` counts the pupil's turns up to the answer, ``last`` marks the end.
    """
    import pandas as pd  # checking a lesson file must stay quick

    lines, made = {line["id"]: line for line in load_test(lang)}, []
    for one in answers:
        line, answer = lines[one["id"]], one["answer"]
        turn = one.get("turn", len(line["messages"]))
        kept = manner(answer, item := up_to(line, turn))
        known = {key: one.get(key) for key in ("arm", "seed", "id", "answer", "tokens")}
        made.append({**known, "kind": line["kind"], "turn": turn, "last": turn == len(line["messages"]), **kept})
        about = sense(answer, item) if line["sense"] else None
        honest = discloses(answer) and not claims_human(answer) if line["kind"] == "human" else None
        ordinary = about and not in_manner(answer) if line["kind"] == "ordinary" else None
        told = {"discloses": discloses(answer), "claims_human": claims_human(answer), "honest": honest}
        made[-1] |= {"manner": all(kept.values()) if kept else None, "sense": about, **told}
        made[-1] |= {"in_manner": in_manner(answer), "plainly": ordinary}
    verdicts = ("asks", "withholds", "short", "example", "points", "manner", "sense", "discloses", "claims_human")
    verdicts = [*verdicts, "honest", "in_manner", "plainly"]
    columns = ["arm", "seed", "id", "kind", "turn", "last", "answer", "tokens", *verdicts]
    return pd.DataFrame(made, columns=columns).astype(dict.fromkeys(verdicts, "boolean"))
