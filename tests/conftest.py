"""Shared by all unit tests: the embedded model on the CPU, no network, and a home of its own for every test.

Not used for the notebooks: theirs is notebooks/conftest.py.
"""

import os
import signal

# Before anything imports torch or transformers, which read these once.
os.environ.update(IDENTITY_MODEL="embedded", IDENTITY_DEVICE="cpu", IDENTITY_STATIC="1", HF_HUB_OFFLINE="1")

import pytest

from helpers.rows.identity import Identity
from tests.fixtures import base, elsewhere, full_disk, read_only, small_disk, tiny  # noqa: F401 (fixtures for every test)
from tests.runs_to_break import by_heart, sound, sound_run  # noqa: F401
from tests.scripted import chat, scripted  # noqa: F401

# A test run that was started in the background inherits an ignored Ctrl-C; a reader's terminal does not ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty ``IDENTITY_HOME``, so that no test reads or writes the learner's own my/ and runs/."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("IDENTITY_HOME", str(folder))
    return folder


@pytest.fixture
def identity():
    """The identity of the course's examples."""
    return Identity("Tavi", "Lantern Workshop")


@pytest.fixture(scope="session")
def embedded():
    """(model, tokenizer) of the embedded model, loaded once: do not train it or leave an adapter on it."""
    from helpers.models.load import load_model

    return load_model("embedded")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure whose text holds half a character is shown, too: workers cannot send it to each other otherwise."""
    report = yield
    said = str(report.longrepr).encode("utf-8", "backslashreplace").decode() if report.failed else ""
    if said and said != str(report.longrepr):
        report.longrepr = said
    return report
