"""Another tool's files that are damaged or hostile: a gap in the diagnosis or an error, never a traceback."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from helpers.errors import RunError
from helpers.measure import diagnose
from tests.fixtures import tells
from tests.foreign_runs import QWEN, SWIFT, factory, found, swift, write

NAMES = """loss grad_norm learning_rate lr global_step max_steps save_steps epoch train_loss log_history r lora_alpha
num_train_epochs train_batch_size gradient_accumulation_steps use_rslora init_lora_weights base_model_name_or_path model
template system dataset model_name model_author global_step/max_steps current_steps global_world_size stateful_callbacks
TrainerControl args should_training_stop""".split()
TEXTS = ["5e-05", "NaN", "-inf", "9/9", "1/" + "9" * 400, "\ud800", "\x1b[31m", QWEN, "x" * 9999]
PLAIN = some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=9)
HOSTILE = PLAIN | some.sampled_from([*TEXTS, 10**400, 5e-324, 1e308])


def settings_of(inner):
    return some.dictionaries(some.sampled_from(NAMES), inner, max_size=6)


VALUES = settings_of(some.recursive(HOSTILE, lambda inner: some.lists(inner, max_size=3) | settings_of(inner)))
FILES = """adapter_config.json trainer_state.json args.json training_args.yaml README.md logging.jsonl all_results.json
adapter_model.safetensors""".split()


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    return factory(swift(tmp_path_factory.mktemp("damaged")) / "v0-2026/checkpoint-94")


@settings(max_examples=80, deadline=None)
@given(some.dictionaries(some.sampled_from(FILES), VALUES | VALUES | HOSTILE | some.binary(max_size=40), min_size=1))
def test_damaged_and_hostile_files_are_a_gap_or_an_error_never_a_traceback(damaged, files):
    whole = {name: (damaged / name).read_bytes() for name in files if (damaged / name).exists()}
    for name, value in files.items():
        (damaged / name).write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    try:
        text = diagnose.as_text(diagnose.diagnose(damaged))
        assert "cannot tell" in text and "\x1b" not in text and text.encode()
    except RunError as e:
        tells(e, str(damaged))
    finally:
        for name in files:
            (damaged / name).unlink()
            (damaged / name).write_bytes(whole[name]) if name in whole else None


def test_what_is_too_large_or_deep_is_said_and_a_folder_of_nothing_is_an_error(tmp_path):
    run = factory(tmp_path / "run")
    with open(run / "trainer_state.json", "wb") as f:
        f.truncate(200_000_000)
    write(run / "training_args.yaml", "[" * 5_000)
    write(run / "README.md", "x")
    first = found(run, diagnose.LOW_RATE)  # the size of the update alone
    assert (
        "trainer_state.json (200 MB are too much)" in first.evidence
        and "training_args.yaml (damaged)" in first.evidence
    )
    for name in ("adapter_config.json", "adapter_model.safetensors", "all_results.json", "README.md"):
        write(run / name, "" if name.endswith("json") else "cut off")
    with pytest.raises(RunError) as caught:
        diagnose.diagnose(run)
    tells(caught.value, str(run), "no file in it can be read", "adapter_config.json", "200 MB")
    (tmp_path / "empty").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "empty/trainer_state.json")  # a pipe is not waited for
    with pytest.raises(RunError) as caught:
        diagnose.diagnose(tmp_path / "empty")
    tells(caught.value, "no manifest.json", "adapter_config.json")
    write(tmp_path / "begun/v0-1/logging.jsonl", '{"loss": 2.0, "global_step/max_steps": "3/9"}\n{"loss')
    write(tmp_path / "begun/v0-1/args.json", SWIFT)
    assert "3 optimiser steps" in diagnose.diagnose(tmp_path / "begun/v0-1")[0].evidence
