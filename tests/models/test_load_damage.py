"""A model folder is looked through when it is loaded: what is missing, does not fit, is no number, does not speak."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.errors import ModelError
from helpers.models.load import load_model
from tests.fixtures import failed, tells
from tests.models.test_load import folder  # noqa: F401 (a fixture)

UP = "model.layers.0.mlp.up_proj.weight"


def without(tensors):
    for name in [name for name in tensors if "mlp" in name]:
        del tensors[name]


def of_another_shape(tensors):
    tensors[UP] = torch.ones(3, 2)


def of_more_layers(tensors):
    tensors.update({UP.replace("layers.0", f"layers.{n}"): tensors[UP].clone() for n in (2, 3)})


def filled_with(value):
    def put(tensors):
        tensors[UP][1, 1] = value

    return put


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without, ("6 of 21 tensors are missing", "model.layers.0.mlp.down_proj.weight")),
        (of_another_shape, ("1 of 21 tensors", "another shape", f"{UP} is (3, 2), not (64, 32)")),
        (of_more_layers, ("2 of 21 tensors", "no place", UP.replace("layers.0", "layers.2"))),
        (filled_with(float("nan")), ("1 of 21 tensors", "no numbers", UP)),
        (filled_with(float("inf")), ("1 of 21 tensors", "no numbers", UP)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_that_are_missing_do_not_fit_or_are_no_numbers_are_counted_and_named(folder, change, words, dtype):  # noqa: F811
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError) as caught:
        load_model(str(folder), dtype=dtype)
    tells(caught.value, str(folder), *words)
    assert "again" in caught.value.cure


def test_large_sound_weights_are_no_damage(folder):  # noqa: F811
    tensors = load_file(folder / "model.safetensors")
    tensors[UP].fill_(60_000)  # near the end of float16: their sum is beyond it
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    load_model(str(folder))


def test_a_shard_that_is_missing_is_told(folder):  # noqa: F811
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: f"model-0000{1 + ('layers.1' in name)}-of-00002.safetensors" for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    first = {name: tensor for name, tensor in tensors.items() if "layers.1" not in name}
    save_file(first, folder / "model-00001-of-00002.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError) as caught:
        load_model(str(folder))
    tells(caught.value, str(folder), "model-00002-of-00002.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "word"),
    [
        ("{% for message in messages %}{{ message.content }", "fails on a plain question"),
        ("{{ raise_exception('never') }}", "fails on a plain question (never)"),
        ("{{ messages[0].nothing.at_all }}", "fails on a plain question"),
        ("{{ 1 / 0 }}", "fails on a plain question"),
        ("<|im_start|>assistant", "leaves the question out"),
    ],
)
def test_a_chat_template_that_does_not_work_is_told_when_it_is_loaded(folder, template, word):  # noqa: F811
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError) as caught:
        load_model(str(folder))
    tells(caught.value, str(folder), "chat template", word)
    assert "\n" not in str(caught.value)


def test_an_adapter_that_lies_in_a_model_folder_is_not_put_on_unasked(folder):  # noqa: F811
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "maker/other"}')
    with pytest.raises(ModelError) as caught:
        load_model(str(folder))
    tells(caught.value, str(folder), "adapter")


def test_the_command_line_says_it_in_one_line_with_exit_status_1(folder, capsys):  # noqa: F811
    (folder / "chat_template.jinja").write_text("{% if %}")
    told = failed(capsys, "ask", "Who are you?", "--model", folder)
    assert told.count("\n") == 1 and str(folder) in told and "What to do: " in told
