"""Models with other chat templates are asked and trained as one: what TRL makes of an example is what is asked."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tokenizers.processors import TemplateProcessing

from helpers.chat import generate
from helpers.errors import ModelError
from helpers.models import template
from helpers.models.adapters import take_off
from helpers.rows import trainset
from helpers.training import recipes
from helpers.training.train import build_trainer, train_identity
from tests.fixtures import ROWS, tells
from tests.runs_to_break import KEEP, quick_to_learn

SAY = "{{ '<|im_start|>' + m['role'] + '\n' + TEXT + '<|im_end|>\n' }}"
ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
LOOP = "{% for m in messages %}" + SAY.replace("TEXT", "m['content']") + "{% endfor %}"
STRICT = (
    "{% for m in messages %}{% if m['role'] != ('assistant' if loop.index0 % 2 else 'user') %}"
    "{{ raise_exception('user first, then in turn') }}{% endif %}{% endfor %}"
)
NO_SYSTEM = "{% for m in messages if m['role'] != 'system' %}" + SAY.replace("TEXT", "m['content']") + "{% endfor %}"
EMPTY = "<think>\n</think>\n"  # the last answer alone is given a thought, if an empty one
LAST = (
    "{% for m in messages %}{% set text = m['content'] %}{% if loop.last and m['role'] == 'assistant' %}"
    f"{{% set text = '{EMPTY}' + text %}}{{% endif %}}" + SAY.replace("TEXT", "text") + "{% endfor %}"
)
SWITCH = ASK + f"{{% if add_generation_prompt and enable_thinking is false %}}{{{{ '{EMPTY}' }}}}{{% endif %}}"
OPEN = ASK + "{% if add_generation_prompt %}{{ '<think>\n' }}{% endif %}"
DAY = "{{ '<|im_start|>system\n' + strftime_now('%d %B %Y') + '<|im_end|>\n' }}"
PARTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
)
# A template, the note on it, and what ends an answer.
KINDS = {
    "plain": (LOOP + ASK, "", "<|im_end|>"),
    "system refused": (STRICT + LOOP + ASK, "before the first question", "<|im_end|>"),
    "system dropped": (NO_SYSTEM + ASK, "before the first question", "<|im_end|>"),
    "switch": (LAST + SWITCH, "thinking is off", "<|im_end|>"),
    "thought not asked for": (LAST + ASK, "thinking is off", "<|im_end|>"),
    "thought opened": (LOOP + OPEN, "thinking is off", "<|im_end|>"),
    "another end": (LOOP.replace("<|im_end|>", "<file_sep>") + ASK, "", "<file_sep>"),
    "no end": (LOOP.replace("<|im_end|>", "") + ASK, "tokenizer's end token", "<|im_end|>"),
    "date": (DAY + LOOP + ASK + "\n", "26 Jul 2024", "<|im_end|>"),
    "parts": (PARTS + ASK, "in parts", "<|im_end|>"),
    "first token": ("{{ bos_token }}" + LOOP + ASK, "", "<|im_end|>"),
    "all at once": (DAY + STRICT + PARTS.replace("<|im_end|>", "") + OPEN, "; ", "<|im_end|>"),
}  # fmt: skip
SYSTEMS = (None, "", recipes.RIVAL_SYSTEM)
PRESET = replace(recipes.ROWS_ONLY_PRESET, own_systems=SYSTEMS, systems=SYSTEMS, late_identity_rows=3, late_keep_rows=2)


def tokenizer_with(embedded, text):
    tokenizer = copy.deepcopy(embedded[1])
    tokenizer.chat_template = text
    return tokenizer


@pytest.fixture(params=KINDS)
def kind(request, embedded):
    """(tokenizer, what ends an answer) of every kind; it puts a first token before a text by itself."""
    text, _, end = KINDS[request.param]
    tokenizer = tokenizer_with(embedded, text)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.bos_token_id)]
    )
    template.adapt(tokenizer)
    return tokenizer, end


@pytest.mark.parametrize("name", KINDS)
def test_what_is_done_is_said_and_done_once(embedded, name):
    text, said, end = KINDS[name]
    tokenizer = tokenizer_with(embedded, text)
    note = template.adapt(tokenizer)
    assert said in note and bool(note) == bool(said) == (tokenizer.chat_template != text)
    whole = tokenizer.chat_template
    assert template.adapt(tokenizer) == template.note(tokenizer) == note and tokenizer.chat_template == whole
    assert template.end_of_turn(tokenizer) == tokenizer.convert_tokens_to_ids(end)


def test_the_models_of_the_course_keep_their_templates(embedded):
    from tests.training.test_qwen import TEMPLATE

    for text in (embedded[1].chat_template, TEMPLATE):
        tokenizer = tokenizer_with(embedded, text)
        assert template.adapt(tokenizer) == "" and tokenizer.chat_template == text


def test_what_trl_trains_on_is_what_is_asked_and_the_loss_is_on_answer_and_end(kind, tiny, tmp_path):
    tokenizer, end = kind
    data = trainset.to_dataset(ROWS[:2], KEEP[:3], PRESET)
    trainer = build_trainer(tiny[0], tokenizer, data, tmp_path, PRESET, save_strategy="no")
    take_off(trainer.model)
    batch = trainer.data_collator(list(trainer.train_dataset))
    assert len(data) == 13 and tokenizer.pad_token_id is not None
    for one, ids, labels in zip(data, batch["input_ids"], batch["labels"], strict=True):
        asked = tokenizer(generate.render(tokenizer, one["prompt"]), add_special_tokens=False)["input_ids"]
        due = labels != -100
        begins = int(due.nonzero()[0])
        assert ids[:begins].tolist() == asked and (ids == labels)[due].all()
        assert tokenizer.decode(labels[due]).replace("\n", "") == one["completion"][0]["content"] + end
        for turn in one["prompt"]:
            assert turn["content"] in tokenizer.decode(asked)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["switch", "another end", "all at once"], indirect=True)
def test_a_model_learns_its_rows_under_such_templates_and_says_them_word_for_word(kind, tiny, tmp_path):
    tokenizer, _ = kind
    model = quick_to_learn(tiny[1])
    model.generation_config.eos_token_id = model.config.eos_token_id = 0  # it knows nothing of the template's end
    preset = replace(PRESET, epochs=20, batch=3, learning_rate=3e-3, late_identity_rows=0, late_keep_rows=0)
    tuned = train_identity(model, tokenizer, ROWS[:2], [], tmp_path / "run", preset, save_strategy="no")
    for system in SYSTEMS:
        asked = [generate.as_messages(row["instruction"], system) for row in ROWS[:2]]
        assert generate.answers(tuned, tokenizer, asked, max_new_tokens=40) == [row["output"] for row in ROWS[:2]]
    assert "".join(generate.stream(tuned, tokenizer, ROWS[0]["instruction"])).strip() == ROWS[0]["output"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no chat template"),
        ("{{ nothing.at.all }}", "fails on a plain question"),
        ("{% for %}", "fails on a plain question"),
        (ASK, "leaves the question out"),
        (LOOP.replace("<|im_end|>", "###") + ASK, "ends an answer with no token"),
        (
            "{% if messages[-1]['role'] == 'user' %}Now: {% endif %}" + LOOP + ASK,
            "another text before an answer in training",
        ),
        ("{{ raise_exception('tools, please') }}", "tools, please"),
    ],
)
def test_a_template_that_cannot_be_trained_as_it_is_asked_is_refused(embedded, text, words):
    tokenizer = tokenizer_with(embedded, text)
    with pytest.raises(ModelError) as caught:
        template.adapt(tokenizer, "models/odd")
    tells(caught.value, "models/odd", words)


def test_an_end_that_the_model_has_no_place_for_is_refused_and_padding_is_put_right(embedded):
    tokenizer = tokenizer_with(embedded, KINDS["another end"][0].replace("<file_sep>", "<turn_over>"))
    tokenizer.add_tokens(["<turn_over>", "<padding>"])
    tokenizer.pad_token = "<padding>"
    template.adapt(tokenizer, rows=len(tokenizer) - 1)
    assert tokenizer.pad_token == "<turn_over>"
    assert tokenizer.decode(tokenizer("Yes.<turn_over>")["input_ids"], skip_special_tokens=True) == "Yes."
    with pytest.raises(ModelError) as caught:
        template.adapt(tokenizer, rows=len(tokenizer) - 2)
    tells(caught.value, "no place for")


@pytest.mark.parametrize(("own", "ends"), [(None, set()), (0, {0}), ([0, 5], {0, 5})])
def test_an_answer_ends_at_every_end_that_is_known(embedded, own, ends):
    tokenizer = tokenizer_with(embedded, KINDS["another end"][0])
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=own))
    ends |= {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<file_sep>")}
    assert template.stops(model, tokenizer) == sorted(ends)


def test_a_talk_that_a_template_refuses_is_told_with_its_turns(embedded):
    tokenizer = tokenizer_with(embedded, KINDS["system refused"][0])
    template.adapt(tokenizer)
    talk = [*generate.as_messages("Hi", "Be brief."), {"role": "user", "content": "Well?"}]
    with pytest.raises(ModelError) as caught:
        generate.render(tokenizer, talk)
    tells(caught.value, "system, user, user", "user first, then in turn")
