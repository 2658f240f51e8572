"""How pytest runs the notebooks with nbval: the embedded model on the CPU, no network, each as if it were the first.

Every notebook gets an empty home (``my/`` and ``runs/``) of its own, so that 04 and 05 use the shipped reference run
and not what 03 has just made. What goes to stderr (progress bars, warnings of libraries) is not compared.
Nothing here is needed to read or run a notebook.
"""

import os
import tempfile
from collections import Counter

import pytest

os.environ.update(IDENTITY_MODEL="embedded", IDENTITY_DEVICE="cpu", IDENTITY_STATIC="1", HF_HUB_OFFLINE="1")

_homes: dict[str, tempfile.TemporaryDirectory] = {}
_seconds: Counter[str] = Counter()
_cells: Counter[str] = Counter()


def pytest_collectstart(collector):
    """Leave stderr out of nbval's comparison."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)


@pytest.hookimpl(tryfirst=True)  # before nbval starts the notebook's kernel, which inherits the environment
def pytest_runtest_setup(item):
    """Give the notebook its own empty home."""
    if item.path.suffix == ".ipynb":
        name = str(item.path)
        if name not in _homes:
            _homes[name] = tempfile.TemporaryDirectory(prefix="identity-home-", ignore_cleanup_errors=True)
        os.environ["IDENTITY_HOME"] = _homes[name].name


def pytest_runtest_logreport(report):
    """Add up the time of each notebook."""
    notebook = report.nodeid.split("::")[0]
    if notebook.endswith(".ipynb"):
        _seconds[notebook] += report.duration
        _cells[notebook] += report.when == "call"


def pytest_terminal_summary(terminalreporter):
    """One line a notebook: cells run and minutes."""
    for notebook, seconds in _seconds.items():
        terminalreporter.write_line(f"{notebook}: {_cells[notebook]} code cells, {seconds / 60:.1f} min")


def pytest_unconfigure():
    """Remove the homes."""
    for folder in _homes.values():
        folder.cleanup()
