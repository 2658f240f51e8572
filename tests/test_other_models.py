"""Every notebook runs in Chinese with a model that has no results here: a tiny Qwen with random weights.

English is in a file of its own, so that both run at the same time.
"""

import re

import nbformat
import pytest
import transformers

from helpers import course, files
from helpers.models import locate
from helpers.models.embedded import embedded_dir
from tests.training.test_qwen import TEMPLATE

NOTEBOOKS = files.project_root() / "notebooks"
TABLES = ("03", "05", "06", "recipes", "memory", "study", "认主")  # that show what was measured on other models


@pytest.fixture
def tiny_qwen(tmp_path):
    """A folder with a model of Qwen2.5's shape and template, a thousandth of its size."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(embedded_dir())
    tokenizer.chat_template = TEMPLATE
    config = transformers.Qwen2Config(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=len(tokenizer), max_position_embeddings=2048, pad_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id,
    )  # fmt: skip
    folder = tmp_path / "Tiny-Qwen"
    transformers.Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run_every_notebook(lang, tiny_qwen, tmp_path, monkeypatch):
    """All notebooks with the tiny model in ``lang``: none fails, and shown tables say whose they are."""
    home = tmp_path / "home"
    for name, value in {"IDENTITY_MODEL": tiny_qwen, "IDENTITY_LANGUAGE": lang, "IDENTITY_HOME": home}.items():
        monkeypatch.setenv(name, str(value))
    assert "zh" in locate.resolve("auto")[0].languages
    wanted = [*course.select("", NOTEBOOKS), *sorted(NOTEBOOKS.glob("extra/*.ipynb"))]
    wanted += sorted((NOTEBOOKS / "zh").glob("*.ipynb")) if lang == "zh" else ()
    done, _, error = course.run_all(wanted, tmp_path / "out")
    assert error is None, error
    assert len(done) == len(wanted) >= 5
    shown = [path for path in done if path.name.startswith(TABLES)]
    assert len(shown) == len(TABLES) - (lang == "en")
    for path in shown:
        cells = nbformat.read(path, 4).cells
        said = "\n".join(str(cell.outputs) for cell in cells if cell.cell_type == "code")
        assert re.search(rf"not of {tiny_qwen.name}, on which (?:nothing was|this was not) measured", said), path


@pytest.mark.slow
def test_every_notebook_runs_in_chinese_with_a_model_that_has_no_results_here(tiny_qwen, tmp_path, monkeypatch):
    run_every_notebook("zh", tiny_qwen, tmp_path, monkeypatch)
