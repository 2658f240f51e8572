"""Where a command is told to write: refused before anything is loaded or run, and never over what is read."""

import shlex
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from helpers import __main__ as commands
from helpers import course, files, runs
from helpers.errors import BusyError, DiskError
from helpers.models import embedded
from tests.fixtures import done, failed, tells
from tests.test_files import held_elsewhere

pytestmark = pytest.mark.usefixtures("elsewhere")
NOTEBOOKS = files.project_root() / "notebooks"


@pytest.fixture
def nothing_loads(monkeypatch):
    """A model that is loaded all the same fails the test."""
    monkeypatch.setattr(commands, "_load", lambda *_: pytest.fail("a model was loaded"))


def state(folder):
    """What would change of anything in a folder if it were written or replaced."""
    told = {path: path.lstat() for path in folder.rglob("*")}
    return {path: (stat.st_mode, stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in told.items()}


OVER = {
    "its questions": ("ask q.jsonl --out q.jsonl", "one of the files to be read"),
    "its questions by a link": ("ask link.jsonl --out q.jsonl", "one of the files to be read"),
    "its questions by another way": ("ask --file here/q.jsonl --out ./q.jsonl", "one of the files to be read"),
    "a link": ("ask q.jsonl --out link.jsonl", "is a link"),
    "a folder": ("ask q.jsonl --out run", "is a folder"),
    "this folder": ("ask q.jsonl --out .", "is a folder"),
    "no name": ("ask q.jsonl --out ''", "is a folder"),
    "a pipe": ("ask q.jsonl --out pipe", "is a pipe"),
    "a part file that is read": ("ask --file a.jsonl.part --out a.jsonl", "one of the files to be read"),
    "a part file that is a pipe": ("ask q.jsonl --out b.jsonl", "b.jsonl.part: is a pipe"),
    "the adapter": ("ask q.jsonl --adapter run --out here/run/adapter/adapter_config.json", "to be read"),
    "the run's rows": ("ask q.jsonl --adapter run --out run/identity.json", "to be read"),
    "the model": ("ask q.jsonl --out {model}/config.json", "to be read"),
    "a GGUF model": ("ask q.jsonl --model m.gguf --out m.gguf", "to be read"),
    "a GGUF adapter": ("ask q.jsonl --model m.gguf --adapter a.gguf --out a.gguf", "to be read"),
    "a folder that is a file": ("ask q.jsonl --out q.jsonl/a.jsonl", "cannot be written"),
}


@pytest.mark.parametrize("case", OVER)
def test_answers_never_go_over_what_is_read_nor_over_what_is_no_file(case, tmp_path, nothing_loads, capsys):
    for name in ("q.jsonl", "a.jsonl.part", "m.gguf", "a.gguf"):
        (tmp_path / name).write_text('{"question": "Hi"}\n')
    for name, target in {"link.jsonl": "q.jsonl", "here": "."}.items():
        (tmp_path / name).symlink_to(target)
    for name in ("pipe", "b.jsonl.part"):
        subprocess.run(["mkfifo", tmp_path / name], check=True)
    shutil.copytree(runs.reference_run() / "adapter", tmp_path / "run" / "adapter")
    (tmp_path / "run" / "identity.json").write_text("[]")
    before = state(tmp_path)
    command, expected = OVER[case]
    said = failed(capsys, *shlex.split(command.format(model=embedded.embedded_dir())))
    assert expected in said and said.count("\n") == 1
    assert state(tmp_path) == before


def test_of_two_ask_into_one_file_the_second_is_told_before_it_loads(nothing_loads, capsys):
    files.write_jsonl("q.jsonl", [{"question": "Hi"}])
    with held_elsewhere("a.jsonl"):
        said = failed(capsys, "ask", "q.jsonl", "--out", "./a.jsonl")
    assert "a.jsonl: another process is" in said and said.count("\n") == 1


@pytest.mark.parametrize("only", ["01", "resum"])
@pytest.mark.parametrize("out", ["notebooks", "notebooks/extra", "notebooks/new", "helpers/../notebooks", "link/extra"])
def test_executed_copies_never_go_where_the_notebooks_are(only, out, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path if "link" in out else files.project_root())
    (tmp_path / "link").symlink_to(NOTEBOOKS)
    monkeypatch.setattr(course, "run_all", None)
    assert f"{out}: the notebooks themselves are in" in failed(capsys, "run", "--only", only, "--out", out)


@pytest.fixture
def book(tmp_path):
    """A notebook with a cell that fails."""
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), tmp_path / "01_a.ipynb")
    return tmp_path / "01_a.ipynb"


@pytest.mark.parametrize("name", ["01_a.ipynb", "course.html"])
def test_an_executed_copy_replaces_no_link_and_a_page_no_notebook(book, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(book)
    for out in (tmp_path, tmp_path / "out"):
        with pytest.raises(DiskError), course.claimed(out, [book], NOTEBOOKS):
            assert out == tmp_path and name == "course.html"
            course.page([book], book)


def test_two_runs_do_not_share_a_folder(book, tmp_path):
    with held_elsewhere(tmp_path / "out"), pytest.raises(BusyError) as caught:
        course.claimed(tmp_path / "out", [book], NOTEBOOKS).__enter__()
    tells(caught.value, str(tmp_path / "out"), "another process is executing notebooks there")


def test_the_command_printed_for_a_failed_cell_runs_the_same_again(book, tmp_path, monkeypatch):
    out, seen = tmp_path / "my 'out'", []
    _, _, error = course.run_all([book], out)
    command = error.cure.removeprefix("mend that, then: ")
    monkeypatch.setattr(course, "run_all", lambda paths, out: seen.append((paths, out)) or ([], "", None))
    done(*shlex.split(command)[3:])
    assert seen == [(course.select("01", NOTEBOOKS), out)]


@pytest.mark.slow
def test_a_command_killed_while_it_answers_goes_on_and_gives_the_same_file(tmp_path):
    files.write_jsonl("q.jsonl", [{"question": f"What is {n} and {n}?"} for n in range(70)])
    command = [sys.executable, "-m", "helpers", "ask", "q.jsonl", "--max-new-tokens", "4", "--sample", "1", "--out"]
    subprocess.run([*command, "whole.jsonl"], check=True, capture_output=True)
    part = tmp_path / "killed.jsonl.part"
    with subprocess.Popen([*command, "killed.jsonl"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (part.exists() and part.read_bytes().count(b"\n") > 32):
            pass
        process.kill()
    assert not (tmp_path / "killed.jsonl").exists()
    said = subprocess.run([*command, "killed.jsonl"], check=True, capture_output=True, text=True).stdout
    assert "going on after its first " in said and "first 0 answers" not in said
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"q.jsonl", "whole.jsonl", "killed.jsonl", "home"}
