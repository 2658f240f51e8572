"""An adapter is looked through before it is trusted: what is missing, does not fit, is no number, or would stay."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import runs
from helpers.errors import AdapterError, RunError
from helpers.models.adapters import BASE_RECORD, CONFIG, WEIGHTS, find_adapter, load_adapter, save_adapter, take_off
from helpers.models.load import fingerprint
from tests.fixtures import bare, failed, tells, tiny_model, wrap


@pytest.fixture
def folder(tiny, tmp_path):
    """A sound adapter of the tiny model on disk."""
    return save_adapter(wrap(tiny_model(tiny[1]), strength=0.5), tmp_path / "adapter")


def refused(model, folder, *words):
    """Loading it is refused, the folder or file named, and the model is what it was."""
    before = fingerprint(model)
    with pytest.raises(AdapterError) as caught:
        load_adapter(model, folder)
    tells(caught.value, str(folder), *words)
    assert "\n" not in str(caught.value)
    assert bare(model) and not hasattr(model, "peft_config") and fingerprint(model) == before
    return caught.value


def rewrite(folder, change):
    tensors = load_file(folder / WEIGHTS)
    changed = change(tensors)
    save_file(tensors if changed is None else changed, folder / WEIGHTS)


def half(tensors):
    return {name: tensors[name] for name in sorted(tensors)[::2]}


def renamed(tensors):
    return {name.replace("model.layers", "transformer.h"): tensor for name, tensor in tensors.items()}


def one_more(tensors):
    tensors["base_model.model.lm_head.weight"] = torch.ones(3, 2)


def other_rank(tensors):
    return {name: tensor[:1] if "lora_A" in name else tensor for name, tensor in tensors.items()}


def not_numbers(value):
    def put(tensors):
        for name in sorted(tensors)[:2]:
            tensors[name][0, 0] = value

    return put


FIRST = "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (half, ("14 of its 14 tensors fit, and 28 are wanted", "wanted is model.layers.0")),
        (renamed, ("0 of its 28 tensors fit, and 28 are wanted", "it has transformer.h.0", "wanted is model.layers.0")),
        (one_more, ("28 of its 29 tensors fit, and 28 are wanted", "it has lm_head.weight (3, 2)")),
        (
            other_rank,
            (
                "14 of its 28 tensors fit, and 28 are wanted",
                "it has model.layers.0",
                "(1, ",
                "wanted is model.layers.0",
            ),
        ),
        (not_numbers(float("nan")), ("2 of 28 tensors", "no numbers", FIRST)),
        (not_numbers(float("-inf")), ("2 of 28 tensors", "no numbers", FIRST)),
        (lambda tensors: {}, ("0 of its 0 tensors fit, and 28 are wanted",)),
    ],
)
def test_tensors_that_are_missing_do_not_fit_or_are_no_numbers_are_counted_and_named(tiny, folder, change, words):
    rewrite(folder, change)
    refused(tiny[0], folder, *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("cannot be read",)),
        ("{half", ("cannot be read",)),
        ("[]", ("cannot be read", "not a JSON object")),
        ("17", ("cannot be read", "not a JSON object")),
        ("null", ("cannot be read",)),
        ("\0\0", ("cannot be read",)),
        ("{}", ("cannot be read", "peft_type")),
        ('{"peft_type": "TELEPATHY"}', ("peft_type is 'TELEPATHY'",)),
        ('{"peft_type": "IA3"}', ("peft_type is 'IA3'",)),
        ('{"peft_type": ["LORA"]}', ("peft_type is ['LORA']",)),
        ('{"peft_type": "LORA", "r": "eight", "target_modules": "all-linear"}', ("cannot be read",)),
        ('{"peft_type": "LORA", "r": 99999999, "target_modules": "all-linear"}', ("0 of its 28 tensors fit",)),
        (
            '{"peft_type": "LORA", "r": 8, "lora_alpha": 0, "target_modules": "all-linear"}',
            ("lora_alpha 0", "no training"),
        ),
        ('{"peft_type": "LORA", "r": 8, "lora_alpha": -8, "target_modules": "all-linear"}', ("lora_alpha -8",)),
        ('{"peft_type": "LORA", "r": 8, "lora_alpha": 64000, "target_modules": "all-linear"}', ("lora_alpha 64000",)),
        ('{"peft_type": "LORA", "r": 8, "target_modules": ["none_such"]}', ("does not load", "none_such")),
    ],
)
def test_a_configuration_of_no_use_is_named(tiny, folder, text, words):
    (folder / CONFIG).write_text(text)
    refused(tiny[0], folder, *words)


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4'"),
        ({"init_lora_weights": "olora"}, "init_lora_weights='olora'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
    ],
)
def test_an_adapter_that_would_not_come_off_again_is_refused(tiny, folder, told, word):
    config = json.loads((folder / CONFIG).read_text()) | told
    (folder / CONFIG).write_text(json.dumps(config))
    error = refused(tiny[0], folder, CONFIG, word)
    assert "merge" in error.cure


@pytest.mark.parametrize("told", [{"init_lora_weights": "gaussian"}, {"modules_to_save": []}, {"use_rslora": True}])
def test_what_comes_off_exactly_is_loaded(tiny, folder, told):
    config = json.loads((folder / CONFIG).read_text()) | told
    (folder / CONFIG).write_text(json.dumps(config))
    assert not bare(load_adapter(tiny[0], folder))


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"<html>Please log in</html>", bytes(8) + b"{}"])
def test_a_weight_file_that_is_none_is_named(tiny, folder, content):
    (folder / WEIGHTS).write_bytes(content)
    refused(tiny[0], folder, WEIGHTS)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"model": "x"}', '{"fingerprint": 5, "model": "x"}'])
def test_a_record_of_the_base_model_that_is_none_is_no_permission(tiny, folder, text):
    (folder / BASE_RECORD).write_text(text)
    refused(tiny[0], folder)


def test_the_old_pickle_format_is_told_apart_and_not_read(tiny, folder):
    (folder / WEIGHTS).unlink()
    (folder / "adapter_model.bin").write_bytes(b"reading it would fail")
    for path in (folder, folder.parent):
        with pytest.raises(AdapterError) as caught:
            find_adapter(path)
        tells(caught.value, str(folder / "adapter_model.bin"), "pickle", "before 0.7")
        assert WEIGHTS in caught.value.cure


def test_the_command_line_says_it_in_one_line_with_exit_status_1(folder, capsys, tmp_path):
    damaged = tmp_path / "with space"
    shutil.copytree(folder, damaged)
    rewrite(damaged, not_numbers(float("nan")))
    told = failed(capsys, "ask", "Who are you?", "--adapter", damaged, "--model", "embedded")
    assert told.count("\n") == 1 and str(damaged) in told and "no numbers" in told and "What to do: " in told


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_files_of_an_adapter_follow_the_umask(tiny, tmp_path, umask, mask, mode):
    umask(mask)
    saved = save_adapter(wrap(tiny[0]), tmp_path / "run" / "adapter")
    assert {path.name: path.stat().st_mode & 0o777 for path in saved.iterdir()} == dict.fromkeys(
        (CONFIG, WEIGHTS, BASE_RECORD), mode
    )


def test_the_adapter_of_a_run_is_what_its_manifest_says(tiny, folder):
    run = folder.parent / "run"
    shutil.copytree(folder, run / "adapter")
    runs.seal(run, {"model": "tiny-llama"})
    assert take_off(load_adapter(tiny[0], run)) is tiny[0]
    tensors = load_file(run / "adapter" / WEIGHTS)
    next(iter(tensors.values())).flatten()[0] += 0.001
    save_file(tensors, run / "adapter" / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(RunError) as caught:
        load_adapter(tiny[0], run)
    tells(caught.value, str(run / "adapter" / WEIGHTS), "not what was written")


def test_a_whole_model_and_a_checkpoint_further_down_are_told(folder, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    with pytest.raises(AdapterError, match=r"is a whole model, and no adapter.*--model"):
        find_adapter(model)
    shutil.copytree(folder, tmp_path / "output" / "checkpoint-9")
    with pytest.raises(AdapterError, match=r"such as .*checkpoint-9"):
        find_adapter(tmp_path / "output")


def test_embeddings_with_added_tokens_are_called_so(tiny, folder):
    rows = torch.ones(7, 32)
    tensors = load_file(folder / WEIGHTS) | {"base_model.model.model.embed_tokens.weight": rows}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    refused(tiny[0], folder, "it brings embed_tokens with 7 rows, as after tokens were added")
