"""Strict nbval, set up as `make test` sets it up, fails for one changed output and for nothing that may change.

The notebooks are copied; the flags are read from the Makefile, the rest comes from notebooks/conftest.py.
"""

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from nbval.plugin import find_comment_markers, find_metadata_tags

ROOT = Path(__file__).resolve().parents[1]
FLAGS = re.search(r"^NBVAL := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[1].split()
TEXT = ("text/plain", "text/html")

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


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """Failed cells of the tiny notebook as it is (twice), and with one output changed by hand."""
    folder = tmp_path_factory.mktemp("tiny")

    def write(name: str, cell: int | None = None, old: str = "", new: str = "") -> None:
        notebook = tiny()
        if cell is not None:
            output = notebook.cells[cell].outputs[0]
            where, key = (output, "text") if "text" in output else (output.data, "text/html")
            assert old in where[key]
            where[key] = where[key].replace(old, new)
        nbformat.write(notebook, folder / f"{name}.ipynb")

    write("as_committed")
    write("as_committed_again")
    write("count_changed", 1, "6 rows", "7 rows")
    write("score_changed", 2, "30 of 30", "29 of 30")
    write("text_changed", 0, "[]", "['runs']")
    return failures(folder)


def test_times_sizes_paths_run_names_and_stderr_may_differ(verdicts):
    assert verdicts["as_committed"] == set()


def test_every_notebook_starts_from_a_home_of_its_own(verdicts):
    # Both copies print that their home is empty, then make runs/ in it.
    assert verdicts["as_committed_again"] == set()


@pytest.mark.parametrize(
    ("changed", "cell"), [("text_changed", "Cell 0"), ("count_changed", "Cell 1"), ("score_changed", "Cell 2")]
)
def test_one_changed_output_fails_and_only_that_cell(verdicts, changed, cell):
    assert verdicts[changed] == {cell}


def is_checked(cell: nbformat.NotebookNode) -> bool:
    """Whether nbval compares a text or HTML output of this cell."""
    if cell.cell_type != "code":
        return False
    options = {**dict(find_metadata_tags(cell.metadata)), **dict(find_comment_markers(cell.source))}
    return options.get("check", True) and not options.get("skip") and any(text_of(o) for o in cell.outputs)


def text_of(output: nbformat.NotebookNode):
    """(where, key) of the text that nbval compares in ``output``, or None."""
    if output.output_type == "stream":
        return (output, "text") if output.name == "stdout" else None
    return next(((output.data, key) for key in TEXT if key in output.get("data", {})), None)


def test_a_changed_output_of_notebook_02_fails(tmp_path):
    notebook = nbformat.read(next((ROOT / "notebooks").glob("02_*.ipynb")), as_version=4)
    last = next(i for i, cell in enumerate(notebook.cells) if is_checked(cell))
    notebook.cells = notebook.cells[: last + 1]  # what comes after it is run by `make test` itself
    nbformat.write(notebook, tmp_path / "as_committed.ipynb")
    where, key = next(t for o in notebook.cells[last].outputs if (t := text_of(o)))
    where[key] += "changed by hand"
    nbformat.write(notebook, tmp_path / "changed.ipynb")
    cell = sum(c.cell_type == "code" for c in notebook.cells) - 1
    assert failures(tmp_path) == {"as_committed": set(), "changed": {f"Cell {cell}"}}
