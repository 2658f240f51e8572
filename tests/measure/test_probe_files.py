"""A probe file of one's own is read, or refused with the number of the probe and what would be right."""

import json

import pytest

from helpers import files
from helpers.errors import ProbeError
from helpers.measure import probes
from helpers.rows.identity import Identity
from tests.fixtures import tells

ONE = {
    "id": "mine-1", "template": "t", "category": "facts", "messages": [{"role": "user", "content": "Capital?"}],
    "lang": "en", "split": "dev", "about": "ability", "expect": ["Paris"],
}  # fmt: skip
CODE = {"function": "double", "tests": [[[2], 4], [[3], 6]]}
USER = {"role": "user", "content": "Hello?"}
GOOD = {
    "keys in another order": dict(reversed(ONE.items())),
    "one accepted text": ONE | {"expect": "Paris"},
    "a function": ONE | {"expect": CODE},
    "accepted texts about itself": ONE | {"about": "self"},
    "its name": ONE | {"about": "self", "expect": "name"},
    "honesty": ONE | {"about": "self", "expect": {"says": "no"}},
    "other": ONE | {"about": "other", "expect": "clean"},
    "a system text first": ONE | {"messages": [{"role": "system", "content": "Be brief."}, USER]},
}
BAD = {
    "a key missing": ({k: v for k, v in ONE.items() if k != "split"}, "has no split"),
    "two keys missing": ({k: v for k, v in ONE.items() if k not in ("id", "lang")}, "has no id, lang"),
    "a key unknown": (ONE | {"extra": 1}, "unknown keys ['extra']"),
    "an empty object": ({}, "has no id"),
    "an id that is a number": (ONE | {"id": 7}, "id is not text"),
    "an empty language": (ONE | {"lang": ""}, "lang is not text"),
    "a category unknown": (ONE | {"category": "riddles"}, "unknown category 'riddles'"),
    "a category that is a list": (ONE | {"category": []}, "category is not text"),
    "a text for messages": (ONE | {"messages": "Capital?"}, "no conversation"),
    "no messages": (ONE | {"messages": []}, "no conversation"),
    "messages of texts": (ONE | {"messages": ["Capital?"]}, "no conversation"),
    "messages without content": (ONE | {"messages": [{"role": "user"}]}, "no conversation"),
    "messages that end with the model": (ONE | {"messages": [USER, USER | {"role": "assistant"}]}, "no conversation"),
    "a system text later": (ONE | {"messages": [USER, USER | {"role": "system"}, USER]}, "no conversation"),
    "an about unknown": (ONE | {"about": "myself"}, "unknown about 'myself'"),
    "an about that is an object": (ONE | {"about": {}}, "unknown about {}"),
    "an expect unknown": (ONE | {"about": "self", "expect": "Paris"}, "unknown expect 'Paris' for about 'self'"),
    "clean about itself": (ONE | {"about": "self", "expect": "clean"}, "unknown expect 'clean'"),
    "name about others": (ONE | {"about": "other", "expect": "name"}, "unknown expect 'name'"),
    "name for an ability": (ONE | {"expect": "name"}, "unknown expect 'name' for about 'ability'"),
    "texts about others": (ONE | {"about": "other"}, "unknown expect"),
    "nothing accepted": (ONE | {"expect": []}, "unknown expect []"),
    "a number accepted": (ONE | {"expect": [7]}, "unknown expect [7]"),
    "an empty text accepted": (ONE | {"expect": ["Paris", " "]}, "unknown expect"),
    "says maybe": (ONE | {"about": "self", "expect": {"says": "maybe"}}, "unknown expect"),
    "a function without tests": (ONE | {"expect": CODE | {"tests": []}}, "unknown expect"),
    "a test without a result": (ONE | {"expect": CODE | {"tests": [[[2]]]}}, "unknown expect"),
    "arguments that are no list": (ONE | {"expect": CODE | {"tests": [[2, 4]]}}, "unknown expect"),
    "a result that equals nothing": (ONE | {"expect": CODE | {"tests": [[[2], float("nan")]]}}, "unknown expect"),
    "no expectation": (ONE | {"expect": None}, "unknown expect None"),
    "an id twice": (ONE | {"id": "first"}, "has the id of probe 1"),
}


def written(folder, probe):
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (ONE | {"id": "first"}, probe)), encoding="utf-8")
    return path


@pytest.mark.parametrize("probe", GOOD.values(), ids=GOOD)
def test_a_sound_probe_is_read_and_scored(tmp_path, probe):
    assert probes.read_probes(written(tmp_path, probe))[1] == probe
    assert probes.score(probe, "Bananas.", Identity("Tavi", "Lantern Workshop"))["ok"] == (probe["about"] == "other")


@pytest.mark.parametrize(("probe", "words"), BAD.values(), ids=BAD)
def test_what_is_no_probe_is_refused_with_its_number(tmp_path, probe, words):
    path = written(tmp_path, probe)
    with pytest.raises(ProbeError) as caught:
        probes.read_probes(path)
    tells(caught.value, f"{path}, probe 2: ", words)


@pytest.mark.parametrize("about", probes.EXPECTED)
def test_what_the_cure_says_would_be_right_is_right(tmp_path, about):
    with pytest.raises(ProbeError) as caught:
        probes.read_probes(files.write_jsonl(tmp_path / "mine.jsonl", [ONE | {"about": about, "expect": None}]))
    values = [
        '"own"', '"name"', '"maker"', '"clean"', '["Paris"]', '{"says": "no"}', '{"says": "yes"}', json.dumps(CODE),
    ]  # fmt: skip
    told = [json.loads(text) for text in values if text in caught.value.cure]
    assert told
    mine = [ONE | {"id": str(n), "about": about, "expect": expect} for n, expect in enumerate(told)]
    assert probes.read_probes(files.write_jsonl(tmp_path / "mine.jsonl", mine)) == mine
