"""A real JupyterLab and a real Chromium for the tests and the pictures: start them, open a notebook, run its cells."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 180_000  # milliseconds before a wait counts as a hang; nothing is expected to take that long
# Chromium's own calls home are off, and so is what a machine without a screen lacks.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-pings"]


def find_chromium() -> str | None:
    """The system's Chromium: the one that ``CHROMIUM`` names, else the first on the path; None if there is none."""
    named = os.environ.get("CHROMIUM")
    return next((found for name in ([named] if named else NAMES) if (found := shutil.which(name))), None)


class Lab:
    """A running JupyterLab over ``folder``; notebooks of the tests are written there."""

    def __init__(self, folder: Path, url: str, token: str):
        self.folder, self.url, self.token = folder, url, token

    def write(self, name: str, cells: list[str]) -> str:
        """Write a notebook of code cells and return its name."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, self.folder / name)
        return name

    def address(self, name: str) -> str:
        """Where the notebook opens by itself, without file browser and launcher."""
        return f"{self.url}/doc/tree/{name}?token={self.token}&reset"


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def running_lab(folder: Path, home: Path):
    """JupyterLab with the embedded model for its kernels, their my/ and runs/ under ``home``, its log beside it."""
    port, token = _free_port(), secrets.token_hex(16)
    environment = {k: v for k, v in os.environ.items() if k != "IDENTITY_STATIC"} | {
        "IDENTITY_MODEL": "embedded", "IDENTITY_DEVICE": "cpu", "HF_HUB_OFFLINE": "1", "IDENTITY_HOME": str(home),
        "PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(home / "jupyter"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "IDENTITY_THREADS": "1",  # the browser needs a core too: two threads that wait for each other lose far more
    }  # fmt: skip
    _setting(home, "apputils-extension/notification", {"fetchNews": "false"})  # its question covers the page
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}",
        "--LabApp.news_url=None", "--LabApp.expose_app_in_browser=True", "--ServerApp.port_retries=0",
        "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
    ]  # fmt: skip
    with (home / "lab.log").open("w") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as lab:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(f"{url}/api/status?token={token}", lab)
            yield Lab(folder, url, token)
        finally:
            lab.terminate()


def _setting(home: Path, name: str, value: dict) -> None:
    path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _wait_for(address: str, process: subprocess.Popen) -> None:
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError("JupyterLab did not start; its log is lab.log in the home of the tests")


@contextmanager
def running_browser():
    """The system's Chromium with a profile of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def open_notebook(page: Page, lab: Lab, name: str) -> None:
    """Open a notebook and wait until its kernel is there."""
    page.set_default_timeout(PATIENCE)
    page.goto(lab.address(name))
    page.wait_for_function("window.jupyterapp && document.querySelectorAll('.jp-CodeCell').length > 0")
    kernel = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"
    page.wait_for_function(f"{kernel}?.status === 'idle'")
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.ready")


def run_all(page: Page, patience: int = PATIENCE) -> None:
    """Run every cell, and wait until the last one has; raises `AssertionError` with the first cell that failed."""
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    wait_until_run(page, patience)


def wait_until_run(page: Page, patience: int = PATIENCE) -> None:
    """Wait until no cell is running; raises `AssertionError` with the first cell that failed."""
    done = r"""() => {
      const cells = [...document.querySelectorAll('.jp-CodeCell')];
      const numbers = cells.map(c => c.querySelector('.jp-InputPrompt')?.textContent || '');
      const error = document.querySelector(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']");
      return error !== null || numbers.every(n => /\[\d+\]/.test(n));
    }"""
    page.wait_for_function(done, timeout=patience)
    failed = page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']")
    assert failed.count() == 0, failed.first.inner_text()


def cells_of(path: Path, *containing: str) -> list[str]:
    """The sources of the code cells of a notebook that hold one of the texts, in order; all without a text."""
    book = nbformat.read(path, 4)
    code = [cell.source for cell in book.cells if cell.cell_type == "code"]
    return [source for source in code if not containing or any(text in source for text in containing)]


def quiet(messages: list[str]) -> list[str]:
    """What is left of the console's errors without those that are not the notebook's."""
    # JupyterLab itself asks for files that a fresh server does not have.
    return [text for text in messages if not re.search(r"favicon|the server responded with a status of 404", text)]
