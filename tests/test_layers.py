"""Light things stay light: what a module draws in when it is imported."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "ipywidgets", "anywidget", "matplotlib", "pandas")


def loaded_by(code: str) -> set[str]:
    """Which of the heavy libraries a fresh Python holds after ``code``."""
    code += f"\nimport json, sys; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


LIGHT = ["rows.identity", "rows.read", "rows.keep_rows", "rows.mine", "rows.trainset", "rows.edit", "measure.judge",
         "measure.code_tests", "models.catalog", "files", "runs", "course"]  # fmt: skip


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_no_heavy_library(module):
    assert loaded_by(f"import helpers.{module}") == set()


def test_asking_loads_neither_trl_nor_widgets():
    loaded = loaded_by("import helpers.chat.questions, helpers.chat.terminal, helpers.chat.compare")
    assert not loaded & {"trl", "ipywidgets", "matplotlib"}


@pytest.mark.parametrize("words", [["--help"], ["ask", "--help"]], ids=" ".join)
def test_help_loads_no_heavy_library(words):
    assert loaded_by(f"import helpers.__main__ as m\ntry: m.main({words})\nexcept SystemExit: pass") == set()
