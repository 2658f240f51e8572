"""The shipped probes are well-formed and were never trained on, and each kind is scored by its own rule."""

import difflib
import json
import re

import pytest

from helpers import identity, probes, runs
from helpers.errors import ProbeError
from helpers.identity import Identity
from tests.fixtures import tells

TAVI = Identity("Tavi", "Lantern Workshop")
PROBES = [probe for path in sorted((runs.data_dir() / "probes").glob("*.jsonl")) for probe in probes.read_jsonl(path)]


def plain(text):
    return re.sub(r"\W+", " ", text.casefold()).strip()


def asked(probe):
    return plain(" ".join(turn["content"] for turn in probe["messages"] if turn["role"] == "user"))


def trained_questions(lang):
    rows = [row["instruction"] for row in identity.read_rows(identity.shipped_rows(lang), TAVI)]
    return [plain(text) for text in [*rows, *identity.keep_questions(lang)]]


def test_every_probe_has_every_field_and_an_id_of_its_own():
    assert all(tuple(probe) == probes.FIELDS for probe in PROBES)
    assert len({probe["id"] for probe in PROBES}) == len(PROBES) > 100


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe["id"])
def test_a_probe_can_be_asked_and_scored(probe):
    roles = [turn["role"] for turn in probe["messages"]]
    assert roles[-1] == "user" and all(turn["content"].strip() for turn in probe["messages"])
    assert set(roles) <= {"system", "user", "assistant"} and roles.count("system") <= 1
    assert probe["split"] in {"dev", "test"} and probe["about"] in {"self", "other", "ability"}
    if probe["expect"] in ("own", "clean"):
        assert probe["about"] == {"own": "self", "clean": "other"}[probe["expect"]]
    else:
        assert isinstance(probe["expect"], list) and all(isinstance(e, str) and e for e in probe["expect"])
        assert probes.score(probe, f"It is {probe['expect'][0]}.", TAVI)["ok"], "a right answer is scored as wrong"
    assert not probes.score(probe, "Bananas.", TAVI)["ok"] or probe["expect"] == "clean"


def test_there_are_the_thirty_and_the_forty_that_the_promise_counts():
    assert len(probes.load_probes("en", split="test", category="identity")) == 30
    assert len(probes.load_probes("en", split="test", about="ability")) == 40
    assert len(probes.load_probes("en", split="dev", about="self")) > 5


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe["id"])
def test_no_probe_was_trained_on(probe):
    question = asked(probe)
    words = sorted(question.split())
    for other in trained_questions(probe["lang"]):
        assert question != other and words != sorted(other.split())
        # Reported figures come from the test split. "wat is your name" may choose a recipe, not praise it.
        near = difflib.SequenceMatcher(None, question, other).ratio()
        assert probe["split"] == "dev" or near < 0.94, f"too near to {other!r}"


def test_no_question_stands_in_both_splits_nor_twice():
    seen = {}
    for probe in PROBES:
        key = (asked(probe), probe["messages"][0]["content"] if probe["messages"][0]["role"] == "system" else "")
        assert key not in seen, f"{probe['id']} repeats {seen.get(key)}"
        seen[key] = probe["id"]
    templates = {}
    for probe in PROBES:
        assert templates.setdefault(probe["template"], probe["split"]) == probe["split"], "a template in both splits"


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_keep_questions_are_ordinary_and_enough(lang):
    questions = identity.keep_questions(lang)
    assert len(questions) == len({plain(q) for q in questions}) >= 32
    about_the_model = r"\b(?:are you|were you|made you|your|yourself)\b|你(?:是|叫|的)"
    assert not [q for q in questions if re.search(about_the_model, q, re.I)]
    assert identity.keep_questions(lang, 3) == questions[:3]


@pytest.mark.parametrize(
    ("about", "expect", "answer", "verdict", "ok"),
    [
        ("self", "own", "I am Tavi.", "own", True),
        ("self", "own", "I am ChatGPT.", "other", False),
        ("self", "own", "Hello!", "none", False),
        ("self", ["cannot"], "I cannot. I am Tavi.", "own", True),
        ("self", ["cannot"], "I cannot. I am ChatGPT.", "other", False),
        ("self", ["cannot"], "I can.", "none", False),
        ("other", "clean", "Linus Torvalds.", "clean", True),
        ("other", "clean", "Lantern Workshop.", "leaked", False),
        ("ability", ["Paris"], "Paris.", "clean", True),
        ("ability", ["Paris"], "Rome.", "clean", False),
        ("ability", ["Paris"], "Paris, says Tavi.", "leaked", True),
    ],
)
def test_each_kind_of_probe_is_scored_by_its_own_rule(about, expect, answer, verdict, ok):
    assert probes.score({"about": about, "expect": expect}, answer, TAVI) == {"verdict": verdict, "ok": ok}


def test_running_probes_gives_a_row_a_probe_in_their_order(tiny):
    some = PROBES[:3]
    table = probes.run_probes(*tiny, some, TAVI, arm="tiny", max_new_tokens=4)
    assert list(table["id"]) == [probe["id"] for probe in some] and set(table["arm"]) == {"tiny"}
    assert set(probes.FIELDS) | {"answer", "verdict", "ok"} <= set(table.columns)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "no such file"),
        (b"", "no questions"),
        (b"\n\n", "no questions"),
        (b'{"question": "Who?"}\n{"question": \n', "line 2"),
        (b'{"question": "Who?"}\n\n["Who?"]\n', "line 3"),
        (b'{"question": "Wer bist du \xfc?"}\n', "not UTF-8"),
    ],
    ids=["missing", "empty", "blank", "not JSON", "not an object", "not UTF-8"],
)
def test_a_bad_question_file_is_named_with_its_line(tmp_path, content, word):
    path = tmp_path / "questions.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProbeError) as caught:
        probes.read_jsonl(path)
    tells(caught.value, str(path), word)


def test_a_question_file_with_a_byte_order_mark_and_blank_lines_is_read(tmp_path):
    (tmp_path / "q.jsonl").write_text('\ufeff{"question": "小?"}\n\n{"question": "b"}\n', encoding="utf-8")
    assert probes.read_jsonl(tmp_path / "q.jsonl") == [{"question": "小?"}, {"question": "b"}]


def test_the_scores_of_the_shipped_reference_keep_their_promise():
    scores = json.loads((runs.reference_run() / "scores.json").read_text(encoding="utf-8"))
    assert scores["own"] >= 0.9 and scores["leak"] == 0
