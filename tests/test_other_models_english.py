"""Every notebook runs in English with a model that has no results here; see test_other_models."""

import pytest

from tests.test_other_models import run_every_notebook, tiny_qwen  # noqa: F401 (a fixture)


@pytest.mark.slow
def test_every_notebook_runs_with_a_model_that_has_no_results_here(tiny_qwen, tmp_path, monkeypatch):  # noqa: F811
    run_every_notebook("en", tiny_qwen, tmp_path, monkeypatch)
