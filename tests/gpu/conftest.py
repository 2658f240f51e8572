"""For the tests in this folder: the embedded model on CUDA, or a plain word why they are skipped."""

import functools
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Skip this folder where torch sees no NVIDIA GPU."""
    if torch.cuda.is_available():
        return
    why = pytest.mark.skip(reason="no NVIDIA GPU that torch can use here (python -m helpers check)")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(why)


@pytest.fixture(autouse=True)
def on_cuda(monkeypatch):
    """This folder's tests use the GPU; the others of the project the CPU."""
    monkeypatch.setenv("IDENTITY_DEVICE", "cuda")


@functools.cache
def loaded(dtype: torch.dtype):
    """(model, tokenizer) of the embedded model on the GPU, once for each number format."""
    from helpers.models.load import load_model

    return load_model("embedded", dtype=dtype)


@pytest.fixture
def gpu():
    """The embedded model in bfloat16; an adapter that a test puts on it is taken off at its end."""
    from helpers.models.adapters import take_off

    yield loaded(torch.bfloat16)
    take_off(loaded(torch.bfloat16)[0])


@pytest.fixture
def gpu32():
    """The same in float32."""
    from helpers.models.adapters import take_off

    yield loaded(torch.float32)
    take_off(loaded(torch.float32)[0])
