"""The notebooks run headless in this Python, and what is saved of them is clean, safe and says what happened."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers import course, files
from helpers.errors import HelpersError


def notebook(folder, name, *sources):
    """Write a notebook of code cells under a heading; returns its path."""
    book = new_notebook(cells=[new_markdown_cell(f"# About {name}"), *(new_code_cell(text) for text in sources)])
    nbformat.write(book, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def text_of(path):
    """All stream text of an executed notebook."""
    cells = (cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
    return "".join(output.text for cell in cells for output in cell.outputs if output.output_type == "stream")


def test_only_selects_by_the_beginning_of_the_name(tmp_path):
    for name in ("01_a", "02_b", "03_c", "scratch"):
        notebook(tmp_path, name)
    assert [path.stem for path in course.select("03, 01", tmp_path)] == ["01_a", "03_c"]
    assert [path.stem for path in course.select("", tmp_path)] == ["01_a", "02_b", "03_c"]
    with pytest.raises(HelpersError, match=r"'07'.*01_a, 02_b, 03_c"):
        course.select("01,07", tmp_path)
    with pytest.raises(HelpersError, match="get the whole project again"):
        course.select("", tmp_path / "empty")


def test_the_extra_notebooks_come_only_by_name_and_are_saved_where_they_are(tmp_path):
    notebook(tmp_path, "01_a", "1")
    (tmp_path / "extra").mkdir()
    path = notebook(tmp_path / "extra", "memory", "print('here')")
    assert [found.stem for found in course.select("", tmp_path)] == ["01_a"]
    assert course.select("mem", tmp_path) == [path]
    assert course.run_all([path])[0] == [path] and text_of(path) == "here\n"


def test_slides_are_made_of_the_marked_cells(tmp_path):
    first, more, second, notes = (new_markdown_cell(text) for text in ("# One", "more", "# Two", "say this"))
    marks = {"slide": (first, second), "fragment": (more,), "notes": (notes,)}
    for kind, cells in marks.items():
        for cell in cells:
            cell.metadata["slideshow"] = {"slide_type": kind}
    unmarked = new_markdown_cell("left out<script>steal()</script>")
    nbformat.write(new_notebook(cells=[first, more, unmarked, second, notes]), tmp_path / "01_a.ipynb")
    html = course.slides([tmp_path / "01_a.ipynb"], tmp_path / "slides.html").read_text()
    assert html.count("<section>") == 2 and "<script" not in html and course.POLICY in html
    one, two = html.split("<section>")[1:]
    assert "One" in one and "more" in one and "Two" in two
    assert "say this" not in html and "left out" not in html
    with pytest.raises(HelpersError, match="no cell is marked"):
        course.slides([notebook(tmp_path, "02_b", "1")], tmp_path / "none.html")


def test_it_runs_in_this_python_whatever_kernel_is_installed(tmp_path, monkeypatch):
    wrong = tmp_path / "jupyter" / "kernels" / "python3"
    wrong.mkdir(parents=True)
    spec = {"argv": [sys.executable, "-c", "raise SystemExit(1)"], "display_name": "wrong", "language": "python"}
    (wrong / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    path = notebook(
        tmp_path, "01_a", "import os, sys; print(sys.executable, os.getcwd(), os.environ['IDENTITY_STATIC'])",
        "held = bytearray(300 * 2**20)\nimport time; time.sleep(0.4)",
    )  # fmt: skip
    saved, table, error = course.run_all([path], tmp_path / "out")
    assert error is None and saved == [tmp_path / "out" / "01_a.ipynb"]
    assert text_of(tmp_path / "out" / "01_a.ipynb").split() == [sys.executable, str(tmp_path), "1"]
    name, seconds, peak, end = table.split("\n")[1].split()
    assert (name, end) == ("01_a", "done") and float(seconds) > 0.4 and 300 < int(peak) < 600


def test_a_failing_cell_stops_the_run_and_what_was_executed_is_saved(tmp_path):
    paths = [notebook(tmp_path, "01_a", "print('before')", "1 / 0", "print('never')"), notebook(tmp_path, "02_b", "1")]
    saved, table, error = course.run_all(paths, tmp_path / "out")
    assert "01_a.ipynb, cell 3: ZeroDivisionError: division by zero" in str(error)
    assert "run --only 01" in error.cure and saved == [tmp_path / "out" / "01_a.ipynb"]
    assert text_of(tmp_path / "out" / "01_a.ipynb") == "before\n"
    assert not (tmp_path / "out" / "02_b.ipynb").exists()
    assert table.endswith("failed")


def test_a_kernel_that_dies_is_told_as_such(tmp_path):
    _, _, error = course.run_all([notebook(tmp_path, "01_a", "import os; os._exit(9)")], tmp_path / "out")
    assert "cell 2" in error.what and "memory" in error.what


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to one process")
def test_ctrl_c_ends_the_kernel_and_keeps_what_was_executed(tmp_path):
    pid = (
        "import os, time; from pathlib import Path\nPath('new').write_text(str(os.getpid())); Path('new').rename('pid')"
    )
    path = notebook(tmp_path, "01_a", "print('first')", f"{pid}\ntime.sleep(300)")
    code = "import sys, pathlib as p; from helpers import course; path = p.Path(sys.argv[1])\n"
    code += "print(course.run_all([path], path.parent / 'out')[2])"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        until((tmp_path / "pid").exists)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert "01_a.ipynb, cell 3: interrupted" in said
    assert text_of(tmp_path / "out" / "01_a.ipynb") == "first\n"
    until(lambda: not psutil.pid_exists(int((tmp_path / "pid").read_text())))


def until(true, seconds=20):
    """Wait until ``true()``, or fail."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_in_place_twice_gives_the_same_file_and_a_failure_leaves_it_alone(tmp_path):
    bars = "import time\nfrom tqdm import tqdm\nfor i in tqdm(range(3)): print('step', i); time.sleep(0.1)"
    path = notebook(tmp_path, "01_a", bars, "1 + 1")
    course.run_all([path])
    first = path.read_bytes()
    book = nbformat.read(path, 4)
    assert book.metadata.kernelspec == {
        "name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"
    }  # fmt: skip
    assert "widgets" not in book.metadata and set(book.metadata) == {"kernelspec", "language_info"}
    assert all(not cell.metadata for cell in book.cells)
    assert text_of(path) == "step 0\nstep 1\nstep 2\n"
    course.run_all([path])
    assert path.read_bytes() == first
    bad = notebook(tmp_path, "02_b", "print('x')", "1 / 0")
    before = bad.read_bytes()
    saved, _, error = course.run_all([bad])
    assert error and saved == [] and bad.read_bytes() == before


def tidied(*outputs):
    """The outputs of one code cell after `course.tidy`."""
    cell = new_code_cell(
        "x", outputs=list(outputs), metadata={"tags": ["keep"], "execution": {"shell.execute_reply": "2026-01-01"}}
    )
    book = course.tidy(new_notebook(cells=[cell], metadata={"widgets": {"state": {}}}))
    assert "widgets" not in book.metadata and book.cells[0].metadata == {"tags": ["keep"]}
    return book.cells[0].outputs


def test_progress_bars_go_and_warnings_stay():
    err = [
        new_output("stream", name="stderr", text=text) for text in ("\r 0%|  | 0/2", "\r100%|##|", " 2/2\nmind this\n")
    ]
    out = [new_output("stream", name="stdout", text=text) for text in ("a\n", "b\rc\n")]
    view = {course.WIDGET_VIEW: {"model_id": "1"}, "text/plain": " 50%|##   | 1/2"}
    found = tidied(out[0], *err, new_output("display_data", data=view), out[1])
    assert [(o.name, o.text) for o in found] == [("stdout", "a\nc\n"), ("stderr", "mind this\n")]


def test_a_widget_that_is_no_bar_keeps_its_place():
    view = {course.WIDGET_VIEW: {"model_id": "1"}, "text/plain": "Chat()"}
    assert len(tidied(new_output("display_data", data=view))) == 1


HOSTILE = [
    '<img src=x onerror="steal()">', "<script>steal()</script>", '<a href="javascript:steal()">x</a>',
    "<svg onload=steal()></svg>",
    "<iframe srcdoc='<script>steal()</script>'></iframe>", "<scr<script></script>ipt>steal()</script>",
]  # fmt: skip


def test_the_page_has_every_notebook_and_nothing_that_runs(tmp_path):
    solution = "<details><summary>Solution</summary>\n\n```python\n1\n```\n\n</details>\n\n"
    solution += "|left|right|\n|-|-|\n|a|b|\n\n![far](https://example.org/x.png)"
    outputs = [new_output("display_data", data={kind: t}) for t in HOSTILE for kind in ("text/html", "text/markdown")]
    outputs += [
        new_output("display_data", data={"application/javascript": "steal()", "text/plain": "a script"}),
        new_output("display_data", data={course.WIDGET_VIEW: {"model_id": "1"}, "text/plain": "Chat()"}),
        new_output("display_data", data={"image/png": "aGVsbG8=", "text/plain": "<Figure>"}),
        new_output("stream", name="stdout", text=HOSTILE[0]),
    ]
    head = new_markdown_cell(f"# One\n\n{solution}\n\n{HOSTILE[1]}")
    cells = [
        head,
        new_markdown_cell("---\n## Two & three\nText.\n\n## [Four](x.md)\n"),
        new_code_cell("x", outputs=outputs),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "01_a.ipynb")
    notebook(tmp_path, "02_b", "2")
    paths = [tmp_path / "01_a.ipynb", tmp_path / "02_b.ipynb"]
    html = course.page(paths, tmp_path / "page.html").read_text()
    body = html[html.index("<body") :]
    assert '<a href="#01_a">One</a>' in body and '<a href="#02_b">About 02_b</a>' in body
    part = re.search(r'<a href="#(01_a-[\d-]+)">Two &amp; three</a>', body)
    assert re.search(r'<a href="#01_a-[\d-]+">Four</a>', body)
    assert part and f'<div id="{part[1]}"></div>' in body, "the contents name the sections, and lead to them"
    for danger in ("<script", "<svg", "<iframe", "javascript:"):
        assert danger not in body.lower()
    assert not [tag for tag in body.split("<")[1:] if "onerror" in tag.split(">")[0].split("&")[0]]
    assert html.index("Content-Security-Policy") < html.index("<style") and "<script" not in html.lower()
    assert course.POLICY.startswith("default-src 'none'") and course.POLICY in html and "https://cdnjs" not in html
    assert "<h1" in body and "<th>left</th>" in body and "Chat()" in body and "a script" in body
    assert body.index("<summary>Solution") < body.index('<span class="mi">1</span>') < body.index("</details>")
    assert body.count('src="data:image/png;base64,') == 1
    assert "example.org" in body and "img-src data:;" in course.POLICY  # a remote image is named but not fetched
    assert "&lt;img src=x" in body  # what was printed is shown as printed


def answers_file(folder, said):
    """Write an answers file as notebook 04 does."""
    folder.mkdir(parents=True, exist_ok=True)
    test = {"about": "self", "expect": "own", "split": "test"}
    rows = []
    for arm, verdict, answer in (("base", "other", "I am SmolLM."), ("tuned", "own", said)):
        shared = {"arm": arm, "answer": answer}
        rows.append({**asked("Who are you?"), **test, "split": "train", "verdict": "own", **shared})
        rows += [{**asked("Your name?"), **test, "verdict": v, **shared} for v in (verdict, "none")]
        rows.append({**asked("A question of the learner's own"), "verdict": "own", **shared})  # no probe: not counted
    return files.write_jsonl(folder / "answers.jsonl", rows)


def asked(question):
    """The field of an answers file that holds the question."""
    return {"messages": [{"role": "user", "content": question}]}


def test_identity_before_and_after_comes_from_the_newest_answers(home):
    old = answers_file(home / "runs" / "20260101T000000Z-m", "I am Old.")
    os.utime(old, (1e9, 1e9))
    answers_file(home / "my", "I am\nTavi.")
    before, _, after, share = course.before_and_after().split("\n")
    assert "I am SmolLM." in before and "I am Tavi." in after and "1 of 2" in share
    assert course.before_and_after(since=time.time() + 60) == ""


def test_an_answer_may_hold_any_line_separator(home):
    answers_file(home / "my", "I am\u2028Tavi,\u2029made\x85here.")
    assert "I am Tavi, made here." in course.before_and_after()
