"""The Modelfile's template gives the model the text that the tokenizer's chat template gives it.

Ollama itself is not run. What it does with a template is rendered here, for the part of Go's templates that is used.
"""

import re

import pytest

from helpers.chat.generate import render
from helpers.errors import ExportError
from helpers.export import ollama
from tests.fixtures import tells

TALKS = [
    [("user", "Who are you?")],
    [("system", "You are Tavi."), ("user", "Who are you?")],
    [("system", ""), ("user", "Who are you?")],
    [("user", "Hi"), ("assistant", "Hello."), ("user", "Your name?")],
    [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Your name?")],
    [("user", "  two spaces before and after  ")],
    [("user", "a line\nand another\n")],
    [("user", "He said \"{{ .Content }}\" and '{% if %}'")],
    [("user", "你叫什么名字？ 🙂")],
    [turn for n in range(5) for turn in (("user", f"Question {n}?"), ("assistant", f"Answer {n}."))] + [("user", "?")],
]
SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
BARE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n" + SYSTEM + "<|im_end|>\n{% endif %}" + BARE


def fields(text: str) -> dict[str, str]:
    """The instructions of a Modelfile with one long text each."""
    return dict(re.findall(r'^([A-Z]+) """(.*?)"""$', text, re.MULTILINE | re.DOTALL))


def go(template: str, messages: list[dict]) -> str:
    """Go's text/template as far as ``{{ range .Messages }}``, ``{{ end }}``, ``{{ .Role }}`` and ``{{ .Content }}``."""

    def fill(part: str, turn: dict) -> str:
        return re.sub(r"\{\{ \.(Role|Content) \}\}", lambda m: turn[m[1].lower()], part)

    def loop(match: re.Match) -> str:
        return "".join(fill(match[1], turn) for turn in messages)

    done, count = re.subn(r"\{\{ range \.Messages \}\}(.*?)\{\{ end \}\}", loop, template, flags=re.DOTALL)
    assert count == 1
    return done


def as_ollama(text: str, messages: list[dict]) -> str:
    """The prompt that Ollama makes: SYSTEM goes first where the talk brings no system turn of its own."""
    told = fields(text)
    system = told.get("SYSTEM")
    first = [{"role": "system", "content": system}] if system and messages[0]["role"] != "system" else []
    return go(told["TEMPLATE"], [*first, *messages])


@pytest.fixture(params=["SmolLM", "Qwen", "no system text"])
def tokenizer(embedded, request, monkeypatch):
    own = embedded[1].chat_template
    monkeypatch.setattr(embedded[1], "chat_template", {"SmolLM": own, "Qwen": QWEN}.get(request.param, BARE))
    return embedded[1]


@pytest.mark.parametrize("n", range(len(TALKS)))
def test_the_template_renders_what_the_tokenizer_renders(tokenizer, n):
    text = ollama.modelfile(tokenizer, "tavi-q8_0.gguf", "Apache License")
    talk = [{"role": role, "content": content} for role, content in TALKS[n]]
    assert as_ollama(text, talk) == render(tokenizer, talk)


def test_nothing_is_left_to_be_guessed(embedded):
    text = ollama.modelfile(embedded[1], "tavi-q8_0.gguf", "Apache License")
    assert text.startswith("FROM ./tavi-q8_0.gguf\n") and "ADAPTER" not in text
    assert 'PARAMETER stop "<|im_end|>"' in text and "PARAMETER temperature 0\n" in text
    assert set(fields(text)) == {"TEMPLATE", "SYSTEM", "LICENSE"}
    assert fields(text)["SYSTEM"] == "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


@pytest.mark.parametrize("template", ["{{ messages[0]['content'] }}", QWEN.replace("im_end", "eot")])
def test_a_template_of_another_kind_is_refused(embedded, monkeypatch, template):
    monkeypatch.setattr(embedded[1], "chat_template", template)
    with pytest.raises(ExportError) as caught:
        ollama.modelfile(embedded[1], "m.gguf", "")
    tells(caught.value, "not ChatML")
