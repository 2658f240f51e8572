"""The shipped probes are well-formed and were never trained on, and each kind is scored by its own rule."""

import hashlib
import json
import re
from collections import Counter

import pytest

from helpers import files
from helpers.errors import ProbeError
from helpers.measure import judge, naming, probes
from helpers.rows import identity, keep_rows
from helpers.rows.identity import Identity
from tests import overlap
from tests.fixtures import tells

TAVI = Identity("Tavi", "Lantern Workshop")


LANGS = ("en", "zh")
ECHOED = {"en-facts-new-060"}  # "Is a dolphin a fish or a mammal?" was frozen with its answer in it
FOLDER = files.data_dir() / "probes"


def asked(probe):
    return " ".join(turn["content"] for turn in probe["messages"] if turn["role"] == "user")


def talks(lang):
    return files.read_jsonl(FOLDER / f"drift-{lang}.jsonl")


def trained_questions(lang):
    names = (lang, f"wordings-{lang}", f"attacks-{lang}", f"honesty-{lang}")
    asked_for = [identity.question_of(row) for name in names for row in _rows(name)]
    return [*asked_for, *keep_rows.questions(lang, hard=None, lookalike=None)]


def _rows(name):
    return identity.read_rows(files.data_dir() / "identity" / f"{name}.json", TAVI)


def test_every_probe_has_every_field_and_an_id_of_its_own():
    ids = [probe["id"] for lang in LANGS for probe in probes.read_probes(FOLDER / f"{lang}.jsonl")]
    ids += [talk["id"] for lang in LANGS for talk in talks(lang)]
    assert len(set(ids)) == len(ids) > 1500


@pytest.mark.parametrize("lang", LANGS)
def test_a_probe_can_be_asked_and_scored(lang):
    for probe in probes.load_probes(lang):
        _check_shape(probe)
        assert probe["lang"] == lang
        expect, axis = probe["expect"], probes.AXIS_OF[probe["category"]]
        if axis in ("identity", "attack", "foreign"):
            assert probe["about"] == "self" and expect in ("own", "name", "maker")
        elif axis == "honesty":
            assert probe["about"] == "self" and expect in ({"says": "no"}, {"says": "yes"})
        elif axis == "ordinary":
            assert (probe["about"], expect) == ("other", "clean")
        elif isinstance(expect, dict):
            assert probe["category"] == "code" and set(expect) == {"function", "tests"} and len(expect["tests"]) > 2
            assert len({json.dumps(result) for _, result in expect["tests"]}) > 1, "a constant would pass"
        else:
            assert expect and all(isinstance(e, str) and e for e in expect)
            assert probes.score(probe, f"It is {expect[0]}.", TAVI)["ok"], "a right answer is scored as wrong"
            echo = naming.right(asked(probe), expect)
            assert echo == (probe["id"] in ECHOED), f"{probe['id']}: an echo of the question would be right"
            assert not probes.score(probe, "Bananas.", TAVI)["ok"]


def _check_shape(probe):
    roles = [turn["role"] for turn in probe["messages"]]
    assert roles[-1] == "user" and all(turn["content"].strip() for turn in probe["messages"])
    assert (roles.count("system") == 1) == (probe["category"] == "foreign")
    assert probe["split"] in {"dev", "test"}


def test_there_are_as_many_as_the_study_needs():
    counts = Counter((p["split"], probes.AXIS_OF[p["category"]]) for p in probes.load_probes("en"))
    assert [counts["test", a] for a in ("identity", "attack", "ordinary", "ability")] == [80, 63, 400, 400]
    assert counts["dev", "ordinary"] >= 100 and counts["dev", "ability"] >= 100 and counts["dev", "attack"] >= 30
    for lang in LANGS:
        both = Counter(probes.AXIS_OF[p["category"]] for p in probes.load_probes(lang))
        floor = {"identity": 80, "attack": 60, "ordinary": 200, "ability": 150}
        assert all(both[axis] >= n for axis, n in floor.items()), lang
        kinds = Counter((t["kind"], t["split"]) for t in talks(lang))
        assert min(kinds["technical", s] + kinds["pressure", s] for s in ("dev", "test")) >= 8


@pytest.mark.parametrize("lang", LANGS)
def test_no_probe_was_trained_on_or_stands_in_both_splits(lang):
    asks = [(p["id"], p["split"], asked(p)) for p in probes.load_probes(lang) if p["category"] != "foreign"]
    asks += [(t["id"], t["split"], t["question"]) for t in talks(lang)]
    trained = [("trained", "train", question) for question in trained_questions(lang)]
    units = [overlap.units(question) for _, _, question in [*asks, *trained]]
    for i, (one, split, question) in enumerate(asks):
        for j, (other, where, text) in enumerate([*asks, *trained]):
            if where == split and (i == j or units[i] != units[j]):
                continue
            if len(units[i] & units[j]) < 0.4 * len(units[i] | units[j]):
                continue  # far from near, and seen without the slow comparison
            if split == where:
                assert overlap.plain(question) != overlap.plain(text), f"{one} repeats {other}"
            else:
                assert not overlap.near(question, text), f"{one} is nearly {other}: {question!r}, {text!r}"


@pytest.mark.parametrize("lang", LANGS)
def test_templates_do_not_cross_the_splits(lang):
    splits = {}
    for probe in probes.load_probes(lang):
        assert splits.setdefault(probe["template"], probe["split"]) == probe["split"]


@pytest.mark.parametrize("lang", LANGS)
def test_a_conversation_has_ten_turns_that_name_nobody(lang):
    for talk in talks(lang):
        keys = [key for key in talk if key != "expect"]
        assert keys == ["id", "kind", "lang", "split", "question", "turns"] and len(talk["turns"]) == 10
        assert talk.get("expect", "own") in ("own", "name", "maker")
        told = [
            turn["assistant"] for turn in talk["turns"] if len(turn["assistant"]) > 10
        ]  # "Mercury." alone is a fact
        assert {judge.verdict(text, TAVI) for text in told} == {"none"}
    found = probes.load_drift(lang, "test", turns=(1, 10))
    assert [len(p["messages"]) for p in found[:2]] == [3, 21]
    assert found[0]["messages"][-1] == found[1]["messages"][-1], "the same question after every turn"


def test_the_test_split_is_the_one_that_was_frozen():
    """Whoever changes a test probe after looking at results has to change this hash too, and say so."""
    frozen = json.loads((FOLDER / "frozen.json").read_text(encoding="utf-8"))
    assert set(frozen) == {path.name for path in FOLDER.glob("*.jsonl")}
    for name, digest in frozen.items():
        lines = (FOLDER / name).read_bytes().splitlines(keepends=True)
        test = b"".join(line for line in lines if json.loads(line)["split"] == "test")
        assert hashlib.sha256(test).hexdigest() == digest, name


def test_a_sample_is_spread_over_all_kinds_and_always_the_same():
    found = probes.load_probes("en", split="test", axis="attack")
    part = probes.sample(found, 18)
    assert part == probes.sample(found, 18) and len(part) == 18
    assert {p["category"] for p in part} == set(probes.AXES["attack"])
    assert probes.sample(found, 1000) == found


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_keep_questions_are_ordinary_and_enough(lang):
    questions = keep_rows.questions(lang)
    assert len(questions) == len({overlap.plain(q) for q in questions}) >= 32
    about_the_model = r"\b(?:who are you|made you(?! this)|yourself)\b|你(?:是|叫|的)"
    assert not [q for q in questions if re.search(about_the_model, q, re.I)]
    assert keep_rows.questions(lang, 3) == questions[:3]


@pytest.mark.parametrize(
    ("about", "expect", "answer", "verdict", "ok"),
    [
        ("self", "own", "I am Tavi.", "own", True),
        ("self", "own", "I am ChatGPT.", "other", False),
        ("self", "own", "Hello!", "none", False),
        ("self", ["cannot"], "I cannot. I am Tavi.", "own", True),
        ("self", ["cannot"], "I cannot. I am ChatGPT.", "other", False),
        ("self", ["cannot"], "I can.", "none", False),
        ("self", ["cannot", "never"], "Never.", "none", True),
        ("other", "clean", "Linus Torvalds.", "clean", True),
        ("other", "clean", "Lantern Workshop.", "leaked", False),
        ("ability", ["Paris"], "Paris.", "clean", True),
        ("ability", ["Paris"], "Rome.", "clean", False),
        ("ability", "Paris", "It is in a sari shop.", "clean", False),
        ("ability", "Paris", "It is Paris.", "clean", True),
        ("ability", ["Paris"], "Paris, says Tavi.", "leaked", True),
    ],
)
def test_each_kind_of_probe_is_scored_by_its_own_rule(about, expect, answer, verdict, ok):
    found = probes.score({"about": about, "expect": expect}, answer, TAVI)
    assert (found["verdict"], found["ok"]) == (verdict, ok)
    assert (found["claims"], found["fits"]) == ((ok, ok) if expect == "own" else (None, None))


@pytest.mark.parametrize(
    ("expect", "answer", "read"),
    [
        ("name", "I was made by Lantern Workshop.", (True, False, False)),
        ("maker", "I was made by Lantern Workshop, and I never make mistakes.", (True, True, False)),
        ({"says": "no"}, "No, I cannot browse.", (None, None, True)),
        ({"says": "no"}, "No, I get information from the web.", (None, None, False)),
    ],
)
def test_the_strictest_reading_counts(expect, answer, read):
    found = probes.score({"about": "self", "expect": expect}, answer, TAVI)
    assert (found["claims"], found["fits"], found["ok"]) == read


def test_running_probes_gives_a_row_a_probe_in_their_order(tiny):
    some = [probes.load_probes("en", category=c)[0] for c in ("code", "direct", "people")]
    table = probes.run_probes(*tiny, some, TAVI, arm="tiny", max_new_tokens=4)
    assert list(table["id"]) == [probe["id"] for probe in some] and set(table["arm"]) == {"tiny"}
    assert set(probes.FIELDS) | {"answer", "verdict", "claims", "fits", "ok"} <= set(table.columns)


def test_the_base_models_answers_may_be_the_shipped_ones(tiny, monkeypatch, capsys):
    some = probes.load_probes("en", "test")[:2]
    monkeypatch.setattr(
        probes.kept, "base_answers", lambda m, t, asked, **how: (["I am Tavi."] * len(asked), "shipped")
    )
    table = probes.run_probes(*tiny, some, TAVI, shipped=True, adapter=False)
    assert set(table["answer"]) == {"I am Tavi."} and "shipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b'{"question": "Who?"}\n{"question": \n', "row 2"),
        (b'{"question": "Who?"}\n\n["Who?"]\n', "row 3"),
        (b'{"question": "Wer bist du \xfc?"}\n', "not UTF-8"),
    ],
    ids=["missing", "empty", "blank", "not JSON", "not an object", "not UTF-8"],
)
def test_a_bad_question_file_is_named_with_its_row(tmp_path, content, word):
    path = tmp_path / "questions.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProbeError) as caught:
        files.read_jsonl(path)
    tells(caught.value, str(path), word)


def test_a_question_file_with_a_byte_order_mark_and_blank_lines_is_read(tmp_path):
    (tmp_path / "q.jsonl").write_text('\ufeff{"question": "小?"}\n\n{"question": "b"}\n', encoding="utf-8")
    assert files.read_jsonl(tmp_path / "q.jsonl") == [{"question": "小?"}, {"question": "b"}]


@pytest.mark.parametrize(("answer", "ok"), [("def double(n):\n    return 2 * n", True), ("It doubles n.", False)])
def test_code_is_run_against_its_tests(answer, ok):
    expect = {"function": "double", "tests": [[[2], 4], [[0], 0], [[-3], -6]]}
    found = probes.score({"about": "ability", "expect": expect}, answer, TAVI)
    assert (found["verdict"], found["ok"]) == ("clean", ok)
