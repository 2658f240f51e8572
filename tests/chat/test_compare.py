"""Several variants of one model, blind votes on them, and an adapter that counts for more or less."""

from collections import Counter

import pytest

from helpers import runs
from helpers.chat import generate
from helpers.chat.compare import Ballot, CompareSession
from helpers.errors import AdapterError, BusyError, HelpersError
from helpers.models.adapters import adapter_scaled, load_adapter, model_lock
from tests.fixtures import tells, wrap
from tests.scripted import WordTokenizer, fake_model, pairs


def test_variants_answer_in_turn_and_keep_their_own_conversations(scripted):
    script = scripted(["A"], ["B"], ["C"], ["D"])
    both = CompareSession(fake_model(), WordTokenizer())
    assert list(both.ask("q")) == [("base", "A"), ("tuned", "B")]
    list(both.ask("r"))
    assert [c["adapter"] for c in script.calls] == [False, True] * 2
    assert [m["content"] for m in script.calls[3]["messages"]] == ["q", "B", "r"]


def test_stop_skips_the_variants_to_come_and_failures_name_their_variant(scripted):
    both = CompareSession(fake_model(), WordTokenizer(), {"x": {"system": "a"}, "y": {"system": "b"}})
    scripted(["I ", "am"], [BusyError("busy", "wait")], ["B"])
    pieces = both.ask("q")
    next(pieces)
    both.stop()
    assert list(pieces) == [] and both.stopped
    assert pairs(both.variants["x"].history) == [("q", "I")] and pairs(both.variants["y"].history) == [("q", None)]
    assert list(both.ask("r")) == [("y", "B")]
    assert both.error == "x: busy. What to do: wait." and not both.stopped
    both.clear()
    assert not both.error and not both.variants["y"].history


@pytest.mark.parametrize(
    ("variants", "kind", "words"),
    [
        (None, AdapterError, "no adapter"),
        ({}, HelpersError, "no variant"),
        ({"x": {"systm": "a"}}, HelpersError, "'systm'"),
    ],
)
def test_variants_that_cannot_differ_are_refused_with_the_cure(variants, kind, words):
    with pytest.raises(kind, match=words):
        CompareSession(None, WordTokenizer(), variants)


def test_a_retry_asks_every_variant_again_and_strength_reaches_those_with_the_adapter(scripted):
    script = scripted(["A"], ["B"], ["C"], ["D"])
    both = CompareSession(fake_model(), WordTokenizer())
    list(both.ask("q"))
    both.set_strength(0.5)
    assert list(both.retry()) == [("base", "C"), ("tuned", "D")]
    assert [(c["adapter"], c["strength"]) for c in script.calls[2:]] == [(False, 1.0), (True, 0.5)]
    assert pairs(both.variants["tuned"].history) == [("q", "D")]


# ---------------------------------------------------------------- blind votes


def test_columns_are_shuffled_so_that_every_variant_stands_everywhere():
    ballot = Ballot(["base", "prompt", "tuned"], seed=1)
    places = Counter()
    for _ in range(60):
        ballot.deal("q")
        places.update(enumerate(ballot.order))
    assert len(places) == 9 and min(places.values()) >= 8
    assert ballot.labels == ("base", "prompt", "tuned")


def test_a_vote_goes_to_the_variant_behind_the_column_and_a_question_takes_one():
    ballot = Ballot(["base", "tuned"], seed=0)
    for _ in range(8):
        ballot.deal("q")
        ballot.vote(ballot.order.index("tuned"))
    ballot.deal("nobody knows")
    ballot.vote(None)
    assert ballot.votes == [("q", "tuned")] * 8 + [("nobody knows", None)]
    with pytest.raises(HelpersError, match="no question to vote on"):
        ballot.vote(0)
    assert ballot.counts() == {"base": 0, "tuned": 8, "none of them": 1}


@pytest.mark.parametrize("n", [1, 8, 9, 26])
def test_every_column_has_a_letter_of_its_own(n):
    ballot = Ballot(str(i) for i in range(n))
    assert ballot.letters == list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:n]) and len(ballot.order) == n


def test_more_variants_than_letters_are_refused_with_the_cure():
    with pytest.raises(HelpersError) as caught:
        Ballot(str(i) for i in range(27))
    tells(caught.value, "27 variants", "26 letters")


# ---------------------------------------------------------------- strength


def logits(model, tokenizer, strength):
    ids = tokenizer("Who are you?", return_tensors="pt")
    with model_lock(model), adapter_scaled(model, strength):
        return model(**ids).logits.detach()


def test_an_adapter_at_no_strength_is_the_base_model_and_one_half_lies_between(tiny):
    model, tokenizer = tiny
    base = model(**tokenizer("Who are you?", return_tensors="pt")).logits.detach()
    tuned = wrap(model, strength=0.05)
    trained = logits(tuned, tokenizer, 1.0)
    assert (logits(tuned, tokenizer, 0.0) - base).abs().max() < 1e-5
    gaps = [float((logits(tuned, tokenizer, s) - base).norm()) for s in (0.0, 0.5, 1.0, 1.5)]
    assert gaps == sorted(gaps) and gaps[1] > 10 * gaps[0]
    assert (logits(tuned, tokenizer, 1.0) - trained).abs().max() == 0  # and what was trained is what stays


def test_strength_ends_with_the_answer_however_that_ends(base):
    model = load_adapter(base[0], runs.reference_run())
    before = generate.answers(model, base[1], ["Who are you?"], max_new_tokens=6)
    for strength in (0.0, 1.5):
        pieces = generate.stream(model, base[1], "Who are you?", max_new_tokens=6, strength=strength)
        next(pieces)
        pieces.close()
    weak = "".join(generate.stream(model, base[1], "Who are you?", max_new_tokens=6, strength=0.0))
    bare = generate.answers(model, base[1], ["Who are you?"], adapter=False, max_new_tokens=6)
    assert [weak.strip()] == bare != before
    assert generate.answers(model, base[1], ["Who are you?"], max_new_tokens=6) == before


def test_a_strength_set_in_the_middle_of_a_question_waits_for_the_next(scripted):
    script = scripted(["a"], ["b"], ["c"], ["d"])
    both = CompareSession(fake_model(), WordTokenizer())
    pieces = both.ask("one")
    next(pieces)
    both.set_strength(1.5)
    list(pieces)
    list(both.ask("two"))
    assert [c["strength"] for c in script.calls if c["adapter"]] == [1.0, 1.5]
