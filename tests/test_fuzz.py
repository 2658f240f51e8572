"""Whatever a file holds, its reader returns a value that can be used, or one `HelpersError` with a cure."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from helpers import runs
from helpers.chat import questions
from helpers.errors import HelpersError, IdentityError
from helpers.measure import judge, probes
from helpers.models.adapters import load_adapter, save_adapter, take_off
from helpers.rows import identity, keep_rows, trainset
from helpers.rows.edit import RowTable
from helpers.rows.identity import Identity
from tests.fixtures import ROWS, tiny_model

pytestmark = pytest.mark.slow
TAVI = Identity("Tavi", "Lantern Workshop")
KEYS = (
    "instruction input output history question messages turns role content id template category lang split about "
    "expect says function tests facts files model identity name peft_type r lora_alpha target_modules modules_to_save"
).split()
# Bytes that change what the others mean. No digits: a rank of some billions is refused by nobody's file format.
BITS = [bit.encode("latin-1") for bit in r'" { } [ ] , : \ null NaN - \ud83d }} '.split()] + [b"\n", b"\x00", b"\xff"]
leaves = st.none() | st.booleans() | st.integers(-3, 99) | st.floats() | st.text(max_size=9) | st.sampled_from(KEYS)
values = st.recursive(
    leaves,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), v, max_size=4),
    max_leaves=6,
)


def places(value, here=()):
    """Where something stands in a JSON value, as keys to follow."""
    yield here
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*here, key))


def put(value, place, new):
    """A copy of ``value`` with ``new`` at ``place``."""
    if not place:
        return new
    copied = value.copy()
    copied[place[0]] = put(value[place[0]], place[1:], new)
    return copied


def written(value, lines):
    return "\n".join(map(json.dumps, value if lines and isinstance(value, list) else [value])).encode()


@st.composite
def contents(draw, valid, lines=False):
    """Any bytes; any JSON; ``valid`` with something else in one or two places; or its bytes with some others."""
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return draw(st.binary(max_size=40))
    if kind == 1:
        return written(draw(values), lines)
    if kind == 2:
        raw = bytearray(written(valid, lines))
        for _ in range(draw(st.integers(1, 3))):
            start = draw(st.integers(0, len(raw)))
            raw[start : start + draw(st.integers(0, 3))] = draw(st.sampled_from(BITS))
        return bytes(raw)
    for _ in range(kind - 2):
        valid = put(valid, draw(st.sampled_from(list(places(valid)))), draw(values))
    return written(valid, lines)


def usable(read, use=lambda value: None):
    """Read, and use what was read; only a `HelpersError` with a cure may come of it, and it can be printed."""
    try:
        value = read()
    except HelpersError as e:
        assert e.what and len(e.cure.split()) > 1 and str(e).encode() and "\n" not in e.cure
    else:
        use(value)


def filled(path, content):
    path.unlink(missing_ok=True)  # cutting a file to nothing waits for the disk
    path.write_bytes(content)
    return path


fuzz = settings(
    max_examples=2000, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
DIALOGUE = {**ROWS[1], "history": [["Hello.", "Hi, I am {{NAME}}."]]}


@fuzz
@given(content=contents([*ROWS[:2], DIALOGUE]))
def test_rows(tmp_path, content):
    path = filled(tmp_path / "rows.json", content)
    usable(lambda: identity.read_rows(path, TAVI), lambda rows: [trainset.example(row) for row in rows])


@fuzz
@given(content=contents([*ROWS[:2], DIALOGUE], lines=True))
def test_rows_that_are_brought_into_the_editor(content):
    table, text = RowTable(ROWS, TAVI), content.decode(errors="surrogateescape")
    usable(lambda: table.import_text(text, "rows.jsonl"), lambda said: (table.errors(), table.warning()))


@fuzz
@given(content=contents([*ROWS[:2], {**DIALOGUE, "instruction": "And?"}], lines=True))
def test_keep_rows(tmp_path, content):
    path = filled(tmp_path / "keep.jsonl", content)
    usable(lambda: keep_rows.read(path), lambda rows: [trainset.example(row) for row in rows])


PROBES = [
    probes.load_probes("en", category=category)[0] for category in ("direct", "internet", "people", "facts", "code")
]


@fuzz
@given(content=contents(PROBES, lines=True))
def test_probes(tmp_path, content):
    path = filled(tmp_path / "probes.jsonl", content)
    usable(lambda: probes.read_probes(path), lambda found: [probes.score(one, "I am Tavi.", TAVI) for one in found])


QUESTIONS = [
    {"question": "Who?"},
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]},
    {"turns": ["Hello.", "Who?"], "id": 1},
]


@fuzz
@given(content=contents(QUESTIONS, lines=True))
def test_question_files(tmp_path, content):
    path = filled(tmp_path / "questions.jsonl", content)
    usable(lambda: questions.read(path))


MANIFEST = {"facts": {"model": "m", "identity": {"name": "Tavi", "developer": "L"}}, "files": {"a.txt": "0" * 64}}


@fuzz
@given(content=contents(MANIFEST))
def test_manifests(tmp_path, content):
    path = filled(tmp_path / "manifest.json", content)
    usable(lambda: runs.read_manifest(path.parent), lambda manifest: manifest["facts"].get("model"))


@pytest.fixture(scope="module")
def adapter(embedded, tmp_path_factory):
    model = tiny_model(embedded[1])
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    folder = save_adapter(tuned, tmp_path_factory.mktemp("fuzz") / "adapter")
    model = take_off(model)
    yield (
        model,
        [name for name, _ in model.named_modules()],
        folder,
        json.loads((folder / "adapter_config.json").read_bytes()),
    )


@pytest.mark.filterwarnings("ignore")  # PEFT's, of every key
@fuzz
@given(data=st.data())
def test_adapter_configurations(adapter, data):
    model, layers, folder, config = adapter
    filled(folder / "adapter_config.json", data.draw(contents(config)))
    usable(lambda: load_adapter(model, folder))
    assert [name for name, _ in take_off(model).named_modules()] == layers


letters = st.sampled_from("AaTtvi19 .-'’&!*()éЛßжタ타ท小灯子\u0301\u200b\u200d\ufe0fａ❤👍") | st.characters()


@fuzz
@given(st.text(letters, min_size=1, max_size=12))
def test_a_name_that_is_taken_is_found_again(name):
    with contextlib.suppress(IdentityError):
        who = Identity(name, "Lantern Workshop")
        assert judge.leaked(f"Here is {name}.", who) == "leaked"
        [raw] = identity.unfill([{**ROWS[0], "output": f"I am {name}, you see."}], who)
        assert identity.fill([raw], who)[0]["output"] == f"I am {who.name}, you see." and "{{NAME}}" in raw["output"]
