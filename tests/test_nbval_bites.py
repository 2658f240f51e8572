"""Strict nbval, set up as `make test` sets it up, fails for one changed output and for nothing that may change.

A tiny notebook is run; the flags are read from the Makefile, the rest comes from notebooks/conftest.py.
"""

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import nbformat
from nbformat import v4

ROOT = Path(__file__).resolve().parents[1]
FLAGS = re.search(r"^NBVAL := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[1].split()

HOME = """import os, pathlib
home = pathlib.Path(os.environ["IDENTITY_HOME"])
print(sorted(p.name for p in home.iterdir()))
(home / "runs").mkdir()"""
NOISE = """import sys, time
print(f"working {time.time()}", file=sys.stderr)
print(f"{time.perf_counter():.2f} s, {id(time)} bytes, {home}/runs/20300101T120000Z-Some-135M-Model-2, 6 rows")"""
TABLE = """from IPython.display import HTML
HTML("<table><tr><td>own</td><td>30 of 30</td></tr></table>")"""


def tiny() -> nbformat.NotebookNode:
    """A notebook of three cells with outputs as they were committed: text, text that may differ, a table."""
    html = {"text/html": "<table><tr><td>own</td><td>30 of 30</td></tr></table>", "text/plain": "<IPython.core.dis"}
    html["text/plain"] += "play.HTML object>"
    noise = "1.50 s, 9 bytes, /srv/other/home/runs/20200229T000000Z-Some-135M-Model, 6 rows\n"
    outputs = [
        v4.new_output("stream", name="stdout", text="[]\n"),
        v4.new_output("stream", name="stdout", text=noise),
        v4.new_output("execute_result", data=html, execution_count=3),
    ]
    cells = [
        v4.new_code_cell(source, execution_count=n, outputs=[output])
        for n, (source, output) in enumerate(zip((HOME, NOISE, TABLE), outputs, strict=True), 1)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return v4.new_notebook(cells=cells, metadata=kernel)


def failures(folder: Path) -> dict[str, set[str]]:
    """Run nbval over ``folder`` as `make test` does: the failed cells of each notebook, by its stem."""
    shutil.copy(ROOT / "notebooks" / "conftest.py", folder)
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", *FLAGS, "-p", "no:cacheprovider", f"--junit-xml={report}", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, set[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        stem = case.get("classname").removesuffix(".ipynb").split(".")[-1]
        failed = case.find("failure") is not None or case.find("error") is not None
        found.setdefault(stem, set()).update({case.get("name")} if failed else ())
    return found


def test_times_sizes_paths_run_names_and_stderr_may_differ_and_nothing_else(tmp_path):
    changes = {"count_changed": (1, "6 rows", "7 rows"), "score_changed": (2, "30 of 30", "29 of 30")}
    for name in ("as_committed", "as_committed_again", *changes):
        notebook = tiny()
        if name in changes:
            cell, old, new = changes[name]
            output = notebook.cells[cell].outputs[0]
            where, key = (output, "text") if "text" in output else (output.data, "text/html")
            assert old in where[key]
            where[key] = where[key].replace(old, new)
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    # All four print that their home is empty, then make runs/ in it: each has a home of its own.
    expected = {"as_committed": set(), "as_committed_again": set()}
    assert failures(tmp_path) == {**expected, "count_changed": {"Cell 1"}, "score_changed": {"Cell 2"}}
