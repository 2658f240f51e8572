"""Whatever bytes or JSON a file of rows holds: rows, or our own error."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.errors import IdentityError
from helpers.rows import formats
from tests.rows.test_formats import SAMPLES, lines


def only_our_error(data) -> None:
    try:
        found = formats.parse(data, "file")
    except IdentityError:
        return
    assert found.rows and all({"instruction", "input", "output"} <= made.keys() for made in found.rows)


KEYS = st.sampled_from(
    "instruction input output system history query response prompt completion messages conversations role content from "
    "value tag user assistant".split()
)
LEAF = st.sampled_from([None, True, 0, 1e999, "", "a", "user", "\ud800", "{{NAME", "NAME", [], {}, ["a"], [["a", "b"]]])
TURNS = st.lists(st.dictionaries(KEYS, LEAF, max_size=3), max_size=3)
ITEMS = st.lists(LEAF | TURNS | st.dictionaries(KEYS, LEAF | TURNS, max_size=4), max_size=3)
WHOLE = st.sampled_from([path.read_bytes() for path in sorted(SAMPLES.iterdir())])
SPLICED = st.builds(
    lambda raw, at, cut, put: raw[: at % len(raw)] + put + raw[at % len(raw) + cut :],
    WHOLE, st.integers(0, 9999), st.integers(0, 9), st.binary(max_size=6),
)  # fmt: skip


@settings(max_examples=2000, deadline=None)
@given(st.binary() | SPLICED)
def test_any_bytes_are_read_or_refused_by_our_own_error(data):
    only_our_error(data)


@settings(max_examples=2000, deadline=None)
@given(ITEMS | LEAF)
def test_any_json_is_read_or_refused_by_our_own_error(value):
    only_our_error(json.dumps(value))
    only_our_error(lines(value if isinstance(value, list) else [value]))
