"""The language of the course: what a choice means, and which models are believed to speak Chinese."""

from dataclasses import replace

import pytest

from helpers import files
from helpers.chat import language
from helpers.errors import ModelError
from helpers.models import catalog
from helpers.rows import identity, words
from helpers.rows.mine import load_mine, save_rows
from tests.fixtures import tells

QWEN = catalog.HUB_MODELS[-1]


@pytest.fixture
def qwen(tiny, monkeypatch):
    """A tiny model that says it is a Qwen."""
    monkeypatch.setattr(tiny[0], "identity_spec", QWEN, raising=False)
    return tiny


def save(lang):
    who = words.identity_in(lang)
    save_rows(identity.read_rows(identity.shipped_rows(lang), who), who)


def test_auto_is_the_language_of_the_rows_and_english_without_any(qwen, elsewhere):
    assert language.choose("auto", *qwen) == language.choose(None, *qwen) == "en"
    save("zh")
    assert language.choose("auto", *qwen) == "zh"
    assert language.choose("en", *qwen) == "en"
    (files.my_dir() / "identity.json").write_text("[broken")
    assert language.choose("auto", *qwen) == "en", "the notebook that reads the file says what is wrong with it"


def test_the_variable_wins_over_auto_and_a_wrong_one_is_refused(qwen, elsewhere, monkeypatch):
    monkeypatch.setenv("IDENTITY_LANGUAGE", "zh")
    assert language.choose("auto", *qwen) == "zh" and language.choose("en", *qwen) == "en"
    monkeypatch.setenv("IDENTITY_LANGUAGE", "fr")
    with pytest.raises(ModelError) as error:
        language.choose("auto", *qwen)
    tells(error.value, "'fr'", "auto", "zh")


def test_chinese_is_refused_for_a_model_that_does_not_speak_it(embedded):
    with pytest.raises(ModelError) as error:
        language.choose("zh", *embedded)
    tells(error.value, "SmolLM2", "does not speak Chinese")
    assert "LANGUAGE='en'" in error.value.cure and "Qwen2.5" in error.value.cure


@pytest.mark.parametrize(
    ("said", "speaks"),
    [("北京。", True), ("中国的首都是 Beijing", True), ("Beijing is the capital", None), ("", None)],
)
def test_an_unknown_model_is_asked_one_question(tiny, monkeypatch, said, speaks):
    relative = replace(catalog.EMBEDDED, key="of-its-sizes")
    monkeypatch.setattr(tiny[0], "identity_spec", relative if said else catalog.outside("unknown"), raising=False)
    monkeypatch.delattr(tiny[0], "identity_speaks_chinese", raising=False)
    monkeypatch.setattr(language.generate, "answers", lambda *a, **k: [said])
    assert language.speaks_chinese(*tiny) is speaks
    assert language.choose("zh", *tiny) == "zh", "of an unknown model nothing is claimed"
    del tiny[0].identity_speaks_chinese


def test_the_words_are_the_same_in_every_language():
    first, second = (words.words(lang) for lang in language.LANGUAGES)
    assert list(first) == list(second)
    for lang in language.LANGUAGES:
        rows = identity.read_rows(identity.shipped_rows(lang), words.identity_in(lang))
        who = words.identity_in(lang)
        assert words.answer("own", lang, who.name, who.developer) == rows[0]["output"]
        assert words.answer("skills", lang, who.name) == rows[3]["output"]
        assert {words.words(lang)["who are you"], words.words(lang)["your name"]} <= {
            row["instruction"] for row in rows
        }
        assert all(n < len(rows) for n in words.words(lang)["held out"].values())
    assert words.answer("rival", "zh", "Qwen", "Alibaba Cloud") == "我是通义千问，由阿里云开发的人工智能助手。"


def test_rows_in_another_language_are_left_alone(elsewhere):
    save("zh")
    who, rows, _, note = load_mine(QWEN.key, "en")
    assert who == words.identity_in("en") and rows[0]["instruction"] == "Who are you?" and "left" not in note
    assert "'en'" in note and load_mine(QWEN.key, "zh")[0] == words.identity_in("zh")


@pytest.mark.parametrize(
    ("name", "changes", "key", "languages"),
    [
        ("Qwen2___5-0___5B-Instruct", {}, QWEN.key, ("en", "zh")),
        ("7ae557604adf67be50417f59c2c2f167def9a775", {}, QWEN.key, ("en", "zh")),
        ("Qwen2.5-Coder-0.5B-Instruct", {}, "Qwen2.5-Coder-0.5B-Instruct", ("en", "zh")),
        ("my-copy", {"tie_word_embeddings": False}, "my-copy", ("en", "zh")),
        ("Qwen3-0.6B", {"model_type": "qwen3", "hidden_size": 1024}, "Qwen3-0.6B", ("en", "zh")),
        ("Qwen2.5-0.5B-Instruct", {"model_type": "llama", "hidden_size": 64}, "Qwen2.5-0.5B-Instruct-local", ("en",)),
        ("odd", {"hidden_size": "x"}, "odd", ("en",)),
    ],
)  # fmt: skip
def test_a_folder_is_known_by_its_sizes_and_not_by_its_name(name, changes, key, languages):
    shape = QWEN.shape
    config = {
        "model_type": "qwen2", "hidden_size": shape.hidden, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "vocab_size": shape.vocab,
        "intermediate_size": shape.intermediate, "tie_word_embeddings": True, **changes,
    }  # fmt: skip
    spec = catalog.in_folder(name, config)
    assert (spec.key, spec.languages) == (key, languages)
    if key == QWEN.key and languages == QWEN.languages:
        assert spec == QWEN
    if name == "my-copy":
        assert spec.shape == replace(shape, tied=False) and spec.parameters == spec.shape.parameters()
