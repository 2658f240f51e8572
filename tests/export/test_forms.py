"""`python -m helpers export`: each form in one command, the printed command works, each mistake is one line."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys

import pytest

from helpers import files, runs
from helpers.export import forms, gguf, merge
from helpers.models import machine
from tests.fixtures import done, failed
from tests.test_files import held_elsewhere

pytestmark = pytest.mark.usefixtures("elsewhere")
RUN = runs.reference_run()


def test_the_command_explains_itself():
    for command in ("export", "serve"):
        assert f"python -m helpers {command}" in done(command, "--help").split("Examples:")[1]


BAD = {
    "unknown form": ("{run} --to onnx --out o", "'onnx' is not a form"),
    "unknown type": ("{run} --to gguf --out o --quant q3_k", "'q3_k' is not a type"),
    "a folder that exists": ("{run} --to merged --out full", "full is there already"),
    "a file in the way": ("{run} --to merged --out full/x", "full/x is there already"),
    "a link in the way": ("{run} --to merged --out link", "link is there already"),
    "this folder": ("{run} --to merged --out .", ". is this folder"),
    "the run": ("other --to merged --out full/../other", "is this folder, the run, or a folder in it"),
    "a folder in the run": ("other --to merged --out other/new/deep", "is this folder, the run, or a folder in it"),
    "no model named": ("unnamed --to merged --out o", "'None' is neither"),
    "no run": ("nowhere --to merged --out o", "no such run folder"),
    "a bare adapter": ("{run}/adapter --to merged --out o", "did not finish"),
    "another base": ("other --to merged --out o", "was trained on another-model"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_with_the_cure_and_writes_nothing(case, capsys, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    shutil.copytree(RUN / "adapter", tmp_path / "other" / "adapter")
    for name in ("identity.json", "metrics.json"):
        shutil.copy(RUN / name, tmp_path / "other")
    record = {"model": "another-model", "revision": None, "fingerprint": "0"}
    files.write_json(tmp_path / "other" / "adapter" / "base_model.json", record)
    runs.seal(tmp_path / "other", runs.read_manifest(RUN)["facts"])
    shutil.copytree(tmp_path / "other", tmp_path / "unnamed")
    runs.seal(tmp_path / "unnamed", {"identity": {"name": "Tavi", "developer": "Lantern Workshop"}})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    command, expected = BAD[case]
    said = failed(capsys, "export", *shlex.split(command.format(run=RUN)))
    assert expected in said and "What to do:" in said and said.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_of_two_exports_into_one_folder_the_second_is_told_before_it_loads(capsys, monkeypatch):
    monkeypatch.setattr(forms.load, "load_model", None)
    with held_elsewhere("out"):
        said = failed(capsys, "export", RUN, "--to", "merged", "--out", "./out")
    assert "out: another process is exporting into it" in said and said.count("\n") == 1


def test_a_lock_in_an_empty_folder_does_not_fill_it(tmp_path, monkeypatch):
    (tmp_path / "mounted").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)  # as if the folder around it could not be written
    monkeypatch.setattr(forms, "_export", lambda run, to, out, *_: sorted(os.listdir(out)))
    assert forms.export(RUN, "vllm", tmp_path / "mounted") == [files.LOCK]
    assert os.listdir(tmp_path / "mounted") == []


def test_too_little_disk_is_said_before_anything_is_written(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "disk_free", lambda path: 50_000_000)
    for form in ("merged", "gguf"):
        said = failed(capsys, "export", RUN, "--to", form, "--out", "out")
        assert "0.1 GB free" in said and f"this export ({form}) needs" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("to", "where"), [("merged", (merge, "add_papers")), ("gguf", (gguf.gguf.quants, "quantize"))])
def test_an_export_that_is_cut_off_leaves_nothing(to, where, tmp_path, monkeypatch):
    def breaks(*args, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr(*where, breaks)
    with pytest.raises(KeyboardInterrupt):
        forms.export(RUN, to, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_bad_file_a_taken_port_and_a_missing_runtime_are_one_line(capsys, tmp_path, monkeypatch):
    def said(*words):
        line = failed(capsys, *words)
        assert line.count("\n") == 1 and "What to do:" in line
        return line

    for words in (["serve", "no.gguf"], ["ask", "Hi", "--model", "no.gguf"], ["chat", "--model", "no.gguf"]):
        assert "no.gguf: No such file" in said(*words)
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} of this machine is taken" in said("serve", "m.gguf", "--port", port)
    assert "cannot serve m.gguf" in said("serve", "m.gguf", "--port", "0")
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert "xllamacpp, which is not installed" in said("serve", "m.gguf")


@pytest.mark.slow
@pytest.mark.parametrize("to", forms.RUN)
def test_each_form_is_one_command_and_what_it_prints_works(to, tmp_path):
    said = done("export", RUN, "--to", to, "--out", "my 'out'/tavi")
    folder = tmp_path / "my 'out'" / "tavi"
    assert merge.amiss(folder) == [] and not list(tmp_path.glob("*/.*"))
    command = said.rsplit("Run it: ", 1)[1].strip()
    if to == "ollama":
        words = shlex.split(command, comments=True)
        assert words[:5] == ["ollama", "create", "tavi", "-f", "my 'out'/tavi/Modelfile"] and "did not run" in command
        assert "FROM ./tavi-q8_0.gguf" in (folder / "Modelfile").read_text()
    elif to == "vllm":
        config = json.loads((folder / "adapter_config.json").read_text())
        words = shlex.split(command, comments=True)
        assert words[-3:] == [str(config["r"]), "--lora-modules", "tavi=my 'out'/tavi"] and "did not run" in command
    else:
        command = command.replace("python", shlex.quote(sys.executable), 1)
        answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        assert "Tavi" in answer.stdout


@pytest.mark.slow
def test_rows_go_along_only_if_asked(tmp_path):
    for options in ([], ["--rows"]):
        done("export", RUN, "--to", "vllm", "--out", f"o{len(options)}", *options)
        assert (tmp_path / f"o{len(options)}" / "identity.json").exists() == bool(options)
