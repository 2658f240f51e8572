"""Without a record of its own an adapter still names its base model; a part of a DoRA; settings nobody here knows."""

import json
import shlex
import warnings

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from helpers.errors import AdapterError
from helpers.models import catalog
from helpers.models.adapters import BASE_RECORD, CONFIG, adapter_scaled, load_adapter, save_adapter, take_off
from tests.fixtures import bare, tells, tiny_model, wrap

OTHER = "maker/tiny-2"
COMMIT = "7ae557604adf67be50417f59c2c2f167def9a775"


@pytest.fixture
def named(tiny, tmp_path):
    """Makes an adapter of the tiny model that says it was made for another one; without a record of its own."""

    def make(name, model=None, record=False, **more):
        folder = save_adapter(wrap(model or tiny_model(tiny[1]), strength=0.5), tmp_path / "my adapter")
        told = json.loads((folder / CONFIG).read_text()) | {"base_model_name_or_path": name} | more
        (folder / CONFIG).write_text(json.dumps(told))
        if not record:
            (folder / BASE_RECORD).unlink()
        return folder

    return make


@pytest.mark.parametrize("name", [OTHER, "/somewhere/else/tiny-2", "tiny-llama-2", "HuggingFaceTB/SmolLM-135M"])
def test_an_adapter_that_names_another_base_of_the_same_sizes_is_loaded_with_a_warning(tiny, named, name):
    folder = named(name)
    with pytest.warns(UserWarning) as caught:
        assert not bare(load_adapter(tiny[0], folder))
    (line,) = [str(w.message) for w in caught if str(folder) in str(w.message)]
    assert f"made for {name}, loaded on tiny-llama: same sizes, other weights" in line and "What to do: " in line
    assert (f"--model {name} --adapter {shlex.quote(str(folder))}" in line) == ("/" in name[1:] and name[0] != "/")
    assert caught[-1].filename == __file__, "it should point at the line that loads"


@pytest.mark.parametrize(
    "name",
    [
        None, "", 5, "tiny-llama", "maker/Tiny-Llama", "/some/models/tiny-llama/", "C:\\models\\tiny-llama",
        f"/hub/models--maker--tiny-llama/snapshots/{COMMIT}", "unsloth/tiny-llama-unsloth-bnb-4bit",
    ],
)  # fmt: skip
def test_no_warning_where_it_names_this_base_however_that_is_spelt(tiny, named, name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_adapter(tiny[0], named(name))
    assert not [w for w in caught if "made for" in str(w.message)]


def test_a_record_whose_weights_are_these_counts_more_than_a_name(tiny, named):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_adapter(tiny[0], named(OTHER, record=True))
    assert not [w for w in caught if "made for" in str(w.message)]


def test_an_adapter_that_does_not_fit_is_refused_with_the_base_that_it_names_and_the_whole_command(tiny, named):
    larger = "Qwen/Qwen2.5-0.5B-Instruct"
    folder = named(larger, tiny_model(tiny[1], hidden=64))
    with pytest.raises(AdapterError) as caught:
        load_adapter(tiny[0], folder)
    tells(caught.value, str(folder), larger, "tiny-llama", "0 of its 28 tensors fit")
    words = shlex.split(caught.value.cure)
    assert words == ["python", "-m", "helpers", "ask", "Who are you?", "--model", larger, "--adapter", str(folder)]
    assert bare(tiny[0])


@pytest.mark.parametrize("name", ["/not/here", "two\nlines", "-x/--out", "models/tiny", "C:\\tiny"])
def test_a_base_that_is_no_model_one_can_name_is_not_in_a_command(tiny, named, name):
    with pytest.raises(AdapterError) as caught:
        load_adapter(tiny[0], named(name, tiny_model(tiny[1], hidden=64)))
    assert "helpers ask" not in caught.value.cure and "\n" not in str(caught.value)


def test_the_embedded_model_is_known_by_the_folder_that_peft_writes_down(base, tmp_path):
    model = base[0]
    get_peft_model(model, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")).save_pretrained(tmp_path)
    written = json.loads((tmp_path / CONFIG).read_text())["base_model_name_or_path"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_adapter(model, tmp_path)
    assert catalog.EMBEDDED.key in written and not [w for w in caught if "made for" in str(w.message)]


@pytest.mark.parametrize("told", [True, {"size": 4}, [1, 2]])
def test_a_setting_of_a_newer_peft_that_is_switched_on_is_refused(tiny, named, told):
    folder = named("tiny-llama", novelty=told)
    with pytest.raises(AdapterError) as caught:
        load_adapter(tiny[0], folder)
    tells(caught.value, str(folder / CONFIG), "novelty", "not known")


@pytest.mark.parametrize("told", [None, False, 16, "auto", [], {}])
@pytest.mark.filterwarnings("ignore:Unexpected keyword arguments")
def test_a_setting_of_a_newer_peft_that_is_off_or_only_a_size_is_no_hindrance(tiny, named, told):
    assert not bare(load_adapter(tiny[0], named("tiny-llama", novelty=told)))


@pytest.mark.parametrize("dora", [True, False])
def test_half_of_an_adapter_is_half_way_between_the_base_model_and_the_merged_one(tiny, dora):
    """DoRA also sets the length of each row of the weights, which PEFT's own scale leaves as it is."""
    model, tokenizer = tiny
    ids = tokenizer("Who are you, and who made you?", return_tensors="pt")["input_ids"]
    config = {"r": 4, "target_modules": ["q_proj", "down_proj"], "use_dora": dora}

    def tuned(base) -> PeftModel:
        torch.manual_seed(1)
        adapted = get_peft_model(base, LoraConfig(**config)).eval()
        for weight in (weight for weight in adapted.parameters() if weight.requires_grad):
            torch.nn.init.normal_(weight, std=0.3, mean=0.5)
        return adapted

    merged, half = tuned(tiny_model(tokenizer)).merge_and_unload(), tiny_model(tokenizer)
    with torch.no_grad():
        plain = model(ids).logits
        for weight, after in zip(half.parameters(), merged.parameters(), strict=True):
            weight.lerp_(after, 0.5)
        adapted, logits = tuned(model), {}
        full = adapted(ids).logits
        for strength in (0, 1e-9, 0.5, 1):
            with adapter_scaled(adapted, strength):
                logits[strength] = adapted(ids).logits
        assert torch.equal(logits[0], plain) and torch.equal(logits[1], full)
        assert not torch.allclose(full, plain, atol=0.1), "the adapter of this test does nothing"
        torch.testing.assert_close(logits[0.5], half(ids).logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits[1e-9], plain, atol=1e-4, rtol=1e-4)
        assert torch.equal(adapted(ids).logits, full), "the strength stayed"


def test_an_adapter_that_is_all_zero_is_loaded_with_a_warning(tiny, tmp_path):
    folder = save_adapter(wrap(tiny_model(tiny[1])), tmp_path / "adapter")
    with pytest.warns(UserWarning, match="every B weight is zero"):
        load_adapter(tiny[0], folder)
    take_off(tiny[0])
