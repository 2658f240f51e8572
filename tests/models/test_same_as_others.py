"""What PEFT alone made answers here as there: every kind of LoRA that is accepted, and a merged model.

What is refused leaves the model alone.
"""

import json

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from helpers.chat import generate
from helpers.errors import AdapterError
from helpers.models.adapters import CONFIG, WEIGHTS, load_adapter, take_off
from helpers.models.load import fingerprint, load_model
from tests.fixtures import bare, tells, tiny_model

QUESTIONS = [
    "Who are you?", "What is your name?", "Who made you?", "hi", "What is 7 times 8?", "Are you ChatGPT?",
    "Who wrote Hamlet?", "Name three colours.", "你是谁？", "How do I boil an egg, and for how many minutes, please?",
]  # fmt: skip
SOME = ["q_proj", "v_proj", "down_proj"]
KINDS = {
    "plain": {},
    "no task type": {"task_type": None},
    "another rank and alpha": {"r": 3, "lora_alpha": 48},
    "patterns": {"rank_pattern": {"q_proj": 2, r"layers\.1\.self_attn\.v_proj": 5}, "alpha_pattern": {"down_proj": 40}},
    "rslora": {"use_rslora": True},
    "a regular expression": {"target_modules": r".*layers\.1\.mlp\.(up|down)_proj"},
    "all-linear": {"target_modules": "all-linear"},
    "modules left out": {"target_modules": "all-linear", "exclude_modules": ["up_proj"]},
    "a bias of its own": {"lora_bias": True},
    "one layer": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "dora": {"use_dora": True},
    "dora and rslora": {"use_dora": True, "use_rslora": True},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "float16": {"dtype": torch.float16},
    "bfloat16": {"dtype": torch.bfloat16},
}


def ask(model, tokenizer, **how):
    return generate.answers(model, tokenizer, QUESTIONS, max_new_tokens=5, **how)


def asked_plainly(model, tokenizer):
    """Greedy answers without anything of this package: one question at a time."""
    found = []
    for question in QUESTIONS:
        turn = [{"role": "user", "content": question}]
        inputs = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        out = model.generate(**inputs, do_sample=False, max_new_tokens=5, pad_token_id=tokenizer.pad_token_id)
        found.append(tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    return found


def moved(model):
    """Every weight that the method trains, moved at random and far, as if it had been trained."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in (weight for weight in model.parameters() if weight.requires_grad):
            weight.add_(0.3 * torch.randn_like(weight))
    return model


def made(tokenizer, folder, dtype=None, **how):
    """An adapter folder that PEFT wrote."""
    config = LoraConfig(**{"r": 4, "lora_alpha": 16, "task_type": "CAUSAL_LM", "target_modules": SOME} | how)
    torch.manual_seed(0)
    moved(get_peft_model(tiny_model(tokenizer), config)).save_pretrained(str(folder))
    if dtype:
        tensors = {name: tensor.to(dtype) for name, tensor in load_file(folder / WEIGHTS).items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_of_peft_answers_as_with_peft_and_comes_off_without_a_trace(tiny, tmp_path, kind):
    model, tokenizer = tiny
    before, mark = ask(model, tokenizer), fingerprint(model)
    folder = made(tokenizer, tmp_path / "adapter", **KINDS[kind])
    expected = asked_plainly(PeftModel.from_pretrained(tiny_model(tokenizer), str(folder)).eval(), tokenizer)
    assert expected != before, "the adapter of this test does nothing"
    tuned = load_adapter(model, folder)
    assert ask(tuned, tokenizer) == expected
    assert ask(tuned, tokenizer, adapter=False) == before
    weak = generate.stream(tuned, tokenizer, QUESTIONS[0], strength=0, max_new_tokens=5)
    assert "".join(weak).strip() == before[0]
    assert ask(tuned, tokenizer) == expected, "once off, it did not come back as it was"
    assert bare(take_off(tuned)) and ask(model, tokenizer) == before and fingerprint(model) == mark


def test_the_next_adapter_knows_nothing_of_the_one_before(tiny, tmp_path):
    model, tokenizer = tiny
    before = ask(model, tokenizer)
    assert before == asked_plainly(model, tokenizer)
    for kind in ("dora", "a bias of its own", "all-linear", "one layer", "plain"):
        tuned = load_adapter(model, made(tokenizer, tmp_path / kind, **KINDS[kind]))
    plain = PeftModel.from_pretrained(tiny_model(tokenizer), str(tmp_path / "plain")).eval()
    assert ask(tuned, tokenizer) == asked_plainly(plain, tokenizer)
    assert ask(tuned, tokenizer, adapter=False) == before == ask(take_off(tuned), tokenizer)


LORA = {"r": 4, "target_modules": SOME, "task_type": "CAUSAL_LM"}
REFUSED = {
    "pissa": (LoraConfig, LORA | {"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
    "olora": (LoraConfig, LORA | {"init_lora_weights": "olora"}, "init_lora_weights='olora'"),
    "saved modules": (LoraConfig, LORA | {"modules_to_save": ["lm_head"]}, "modules_to_save"),
    "tokens": (LoraConfig, LORA | {"trainable_token_indices": [1, 2, 5]}, "trainable_token_indices"),
    "embedding": (LoraConfig, LORA | {"target_modules": ["embed_tokens", "q_proj"]}, "embed_tokens.base_layer"),
    "biases of the base": (LoraConfig, LORA | {"bias": "all"}, "bias"),
    "ia3": (peft.IA3Config, {"target_modules": SOME, "feedforward_modules": ["down_proj"]}, "peft_type is 'IA3'"),
    "prompt tuning": (peft.PromptTuningConfig, {"num_virtual_tokens": 4}, "peft_type is 'PROMPT_TUNING'"),
    "prefix tuning": (peft.PrefixTuningConfig, {"num_virtual_tokens": 4}, "peft_type is 'PREFIX_TUNING'"),
    "loha": (peft.LoHaConfig, {"r": 4, "target_modules": SOME}, "peft_type is 'LOHA'"),
    "adalora": (peft.AdaLoraConfig, {"target_modules": SOME, "total_step": 9}, "peft_type is 'ADALORA'"),
    "vera": (peft.VeraConfig, {"r": 4, "target_modules": ["q_proj"]}, "peft_type is 'VERA'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_peft_made_and_is_refused_is_named_and_leaves_the_model_as_it_was(tiny, tmp_path, kind):
    model, tokenizer = tiny
    before, mark = ask(model, tokenizer), fingerprint(model)
    config, how, word = REFUSED[kind]
    adapter = moved(get_peft_model(tiny_model(tokenizer), config(**{"task_type": "CAUSAL_LM"} | how)))
    adapter.save_pretrained(str(tmp_path / "adapter"))
    with pytest.raises(AdapterError) as caught:
        load_adapter(model, tmp_path / "adapter")
    tells(caught.value, str(tmp_path / "adapter"), word)
    assert bare(model) and ask(model, tokenizer) == before and fingerprint(model) == mark


@pytest.mark.parametrize("start", ["loftq", "corda", "pissa_niter_16"])
def test_a_start_that_takes_a_gpu_or_data_to_make_is_told_by_its_name(tiny, tmp_path, start):
    path = made(tiny[1], tmp_path / "adapter") / CONFIG
    told = json.loads(path.read_text()) | {"init_lora_weights": start, "loftq_config": {"loftq_bits": 4}}
    path.write_text(json.dumps(told))
    with pytest.raises(AdapterError) as caught:
        load_adapter(tiny[0], path.parent)
    tells(caught.value, str(path), start)
    assert bare(tiny[0])


@pytest.mark.parametrize("kind", ["patterns", "dora"])
def test_a_merged_model_in_a_folder_answers_as_with_transformers_alone(tiny, tmp_path, kind):
    tokenizer, folder = tiny[1], tmp_path / "merged"
    adapter = made(tokenizer, tmp_path / "adapter", **KINDS[kind])
    merged = PeftModel.from_pretrained(tiny_model(tokenizer), str(adapter)).merge_and_unload()
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    expected = asked_plainly(AutoModelForCausalLM.from_pretrained(folder).eval(), tokenizer)
    assert ask(*load_model(str(folder))) == expected
    assert expected == ask(load_adapter(tiny[0], adapter), tokenizer), "merging changed what the adapter says"
