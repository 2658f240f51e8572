"""One JupyterLab, one Chromium and one notebook with every widget in it for all browser tests."""

import os

import pytest
from playwright.sync_api import expect

from tests.browser import lab as labs

expect.set_options(timeout=labs.PATIENCE)  # a slow machine is no failure
NEEDED = "IDENTITY_BROWSER"  # set to "required" where a missing Chromium is a failure


def pytest_collection_modifyitems(config, items):
    """Without a Chromium the tests here are skipped, and the reason is said; where it is required, nothing passes."""
    if labs.find_chromium():
        return
    what = "no Chromium was found (install the package chromium, or set CHROMIUM to its path)"
    if os.environ.get(NEEDED) == "required":
        raise pytest.UsageError(f"{what}, and {NEEDED}=required")
    for item in items:
        if "tests/browser" in item.path.as_posix():
            item.add_marker(pytest.mark.skip(reason=what))


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    """The home of the kernels: my/ and runs/ are made here."""
    return tmp_path_factory.mktemp("house")


@pytest.fixture(scope="session")
def lab(house):
    """A running JupyterLab."""
    folder = house / "notebooks"
    folder.mkdir()
    with labs.running_lab(folder, house) as running:
        yield running


@pytest.fixture(scope="session")
def browser():
    """A running Chromium."""
    with labs.running_browser() as running:
        yield running


@pytest.fixture(scope="session")
def open_book(lab, browser):
    """A function that opens a notebook made of cells, or one that is there, and runs it: page with ``problems``."""
    pages = []

    def make(name, cells=None, width=1100, patience=labs.PATIENCE):
        context = browser.new_context(viewport={"width": width, "height": 1000})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.problems = []
        page.on("console", lambda m: page.problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.problems.append(str(e)))
        if cells is not None:
            lab.write(name, cells)
        labs.open_notebook(page, lab, name)
        labs.run_all(page, patience)
        pages.append(context)
        return page

    yield make
    for context in pages:
        context.close()
