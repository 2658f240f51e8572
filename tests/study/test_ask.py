"""Every set-up is asked the same questions, and what is finished is kept."""

import pytest

from helpers import files
from helpers.measure import tables
from study import answers, ask
from tests.study.conftest import FEW

BASE = ask.Setup(tables.BASE)
DEV = FEW["dev"][:9]


def test_a_killed_study_goes_on_where_it_was(asked, tmp_path):
    asked.end_at = 2
    with pytest.raises(KeyboardInterrupt):
        ask.ask(None, None, BASE, DEV, tmp_path, chunk=2)
    assert len(answers.kept(tmp_path)) == 4, "both finished batches are kept"
    asked.end_at = None
    for _ in range(2):
        ask.ask(None, None, BASE, DEV, tmp_path, chunk=2)
        assert sorted(r["id"] for r in answers.kept(tmp_path)) == sorted(p["id"] for p in DEV)
        assert len(asked) == len(DEV), "nothing was asked twice"


def test_a_batch_of_other_probes_is_asked_again(asked, tmp_path):
    ask.ask(None, None, BASE, DEV[:2], tmp_path)
    ask.ask(None, None, BASE, DEV[1:3], tmp_path)
    assert [r["id"] for r in answers.kept(tmp_path)] == [p["id"] for p in DEV[1:3]]


def test_samples_and_setups_do_not_mix(asked, tmp_path):
    for setup in (BASE, ask.Setup(tables.QUICK, seed=1), ask.Setup(tables.QUICK, seed=2)):
        ask.ask(None, None, setup, DEV[:1], tmp_path)
        ask.ask(None, None, setup, DEV[:1], tmp_path, samples=2)
    rows = answers.kept(tmp_path)
    assert len(rows) == 9 == len({(r["weights"], r["seed"], r["sample"]) for r in rows})


def test_in_ones_own_words_the_probe_never_enters_the_history(asked, tmp_path):
    talk = files.read_jsonl(files.data_dir() / "probes" / "drift-en.jsonl")[0]
    ask.in_own_words(None, None, BASE, [talk], tmp_path)
    for conversation in asked:
        questions = [m["content"] for m in conversation if m["role"] == "user"]
        assert talk["question"] not in questions[:-1]
    rows, last = answers.kept(tmp_path), asked[-1]
    assert len(last) == 21 and last[1]["content"].startswith("I am Tavi."), "its own answers are the history"
    assert [r["id"][-2:] for r in rows] == [f"{n:02}" for n in range(1, 11)]
    assert {r["sample"] for r in rows} == {-1}
