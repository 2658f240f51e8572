"""Files appear whole or not at all, JSON lines come back as written, a damaged run is never taken for a good one."""

import errno
import os

import pytest

from helpers import files, runs
from helpers.errors import DiskError, RunError
from tests.fixtures import tells


def finished(home, name, model="m"):
    run = home / "runs" / name
    files.write_json(run / "adapter" / "adapter_config.json", {"r": 8})
    runs.seal(run, {"model": model})
    return run


def manifest(text):
    """What writes ``text`` as a run's manifest; in Latin-1, so that not all of it is UTF-8."""
    return lambda run: (run / "manifest.json").write_text(text, encoding="latin-1")


@pytest.fixture
def folder(tmp_path):
    """An empty folder (pytest's own holds the test's home)."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_root_holds_the_project_and_home_can_be_moved(home, monkeypatch):
    assert (files.project_root() / "pyproject.toml").exists() and files.data_dir().is_dir()
    assert files.home() == home and files.my_dir() == home / "my"
    monkeypatch.delenv("IDENTITY_HOME")
    assert files.home() == files.project_root()


def test_text_is_written_as_utf8_with_plain_line_ends(folder):
    path = files.write_atomic(folder / "new" / "a.txt", "é\n小\n")
    assert path.read_bytes() == "é\n小\n".encode() and names(path.parent) == ["a.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(folder, full_disk, moment):
    path = files.write_atomic(folder / "a.txt", "old")
    with full_disk(moment), pytest.raises(DiskError) as caught:
        files.write_atomic(path, "new")
    tells(caught.value, str(path), "disk is full")
    assert path.read_text() == "old" and names(folder) == ["a.txt"]


def test_a_really_full_disk_leaves_the_old_file_and_nothing_else(small_disk):
    folder = small_disk(65536)
    path = files.write_atomic(folder / "a.txt", "old")
    with pytest.raises(DiskError) as caught:
        files.write_atomic(path, "x" * 200_000)
    tells(caught.value, str(path), "disk is full")
    assert path.read_text() == "old" and names(folder) == ["a.txt"]


def test_an_interruption_while_writing_leaves_the_old_file(folder, monkeypatch):
    path = files.write_atomic(folder / "a.txt", "old")

    def ctrl_c(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomic(path, "new")
    assert path.read_text() == "old" and names(folder) == ["a.txt"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written_is_named(folder, monkeypatch, code):
    def refuse(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(DiskError) as caught:
        files.write_atomic(folder / "a.txt", "new")
    tells(caught.value, str(folder / "a.txt"), "cannot be written")
    assert names(folder) == []


def test_a_file_or_folder_in_the_way_is_named(folder):
    (folder / "file").write_text("kept")
    for path in (folder / "file" / "a.txt", folder / "file" / "deep" / "a.txt"):
        with pytest.raises(DiskError) as caught:
            files.write_atomic(path, "new")
        tells(caught.value, str(folder / "file"))
    (folder / "folder").mkdir()
    with pytest.raises(DiskError) as caught:
        files.write_atomic(folder / "folder", "new")
    tells(caught.value, str(folder / "folder"))
    assert (folder / "file").read_text() == "kept" and names(folder) == ["file", "folder"]


def test_a_folder_appears_whole_or_not_at_all(folder):
    with pytest.raises(ValueError), files.folder_atomic(folder / "f") as scratch:
        (scratch / "half").write_text("x")
        raise ValueError
    assert names(folder) == []
    with files.folder_atomic(folder / "f") as scratch:
        (scratch / "whole").write_text("x")
        assert not (folder / "f").exists()
    assert names(folder / "f") == ["whole"] and names(folder) == ["f"]


def test_a_folder_is_replaced_only_at_the_end_and_survives_a_failure(folder, monkeypatch):
    with files.folder_atomic(folder / "f") as scratch:
        (scratch / "old").write_text("x")
    real, calls = os.replace, []

    def second_fails(source, target):
        calls.append(source)
        if len(calls) == 2:  # the old folder is already aside, the new one not yet in its place
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", second_fails)
        with pytest.raises(DiskError), files.folder_atomic(folder / "f") as scratch:
            (scratch / "new").write_text("x")
    assert names(folder / "f") == ["old"] and names(folder) == ["f"]
    with files.folder_atomic(folder / "f") as scratch:
        (scratch / "new").write_text("x")
    assert names(folder / "f") == ["new"] and names(folder) == ["f"]


def test_a_run_folder_is_never_taken_twice(home):
    first, second, third = (runs.new_run("m") for _ in range(3))
    assert len({first, second, third}) == 3 and all(p.parent == home / "runs" for p in (first, second, third))


def test_a_manifest_holds_the_hash_of_every_file_but_checkpoints(folder):
    for name in ("adapter/a", "checkpoint-2/b", ".hidden", "metrics.json"):
        files.write_atomic(folder / name, "x")
    runs.seal(folder, {"model": "m"})
    assert sorted(runs.read_manifest(folder)["files"]) == ["adapter/a", "metrics.json"]


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda run: (run / "manifest.json").unlink(), "did not finish"),
        (manifest('{"files": '), "not readable"),
        (manifest("[]"), "no files and facts in it"),
        (manifest('{"files": {}}'), "no files and facts in it"),
        (manifest('{"files": null, "facts": {}}'), "no files and facts in it"),
        (manifest('{"files": {}, "facts": []}'), "no files and facts in it"),
        (manifest('{"files": {"a": null}, "facts": {}}'), "a: missing"),
        (manifest('{"files": {"\\u0000": ""}, "facts": {}}'), "missing"),
        (manifest('{"files": {}, "facts": {"a": "\\udc00"}}'), "half a character"),
        (manifest("\xff"), "not readable"),
        (lambda run: (run / "adapter" / "adapter_config.json").write_text("{"), "adapter/adapter_config.json"),
        (lambda run: (run / "adapter" / "adapter_config.json").unlink(), "adapter/adapter_config.json"),
    ],
)
def test_a_run_cut_off_mid_write_is_refused_and_passed_over(home, damage, word):
    whole, broken = finished(home, "20260101T000000Z-m"), finished(home, "20260102T000000Z-m")
    damage(broken)
    before = names(broken)
    with pytest.raises(RunError) as caught:
        runs.read_manifest(broken)
    tells(caught.value, str(broken), word)
    run, note = runs.latest("m")
    assert run == whole and broken.name in note
    assert names(broken) == before, "a damaged run is the learner's: it is left alone"


@pytest.mark.parametrize("name", ["../../outside", "{home}/outside", "adapter/../../../outside"])
def test_a_manifest_that_names_files_elsewhere_is_refused_before_they_are_read(home, name, monkeypatch):
    run, outside = finished(home, "20260101T000000Z-m"), home / "outside"
    outside.write_text("a secret")
    files.write_json(run / "manifest.json", {"files": {name.format(home=home): files.sha256(outside)}, "facts": {}})
    monkeypatch.setattr(files, "sha256", None)
    with pytest.raises(RunError) as caught:
        runs.read_manifest(run)
    tells(caught.value, str(run), "outside is no file of the run")


def test_the_newest_finished_run_of_this_model_is_used(home):
    finished(home, "20260101T000000Z-m")
    finished(home, "20260102T000000Z-m-9")
    newest = finished(home, "20260102T000000Z-m-10")
    finished(home, "20260103T000000Z-m-other", model="m-other")
    assert runs.latest("m")[0] == newest


def test_an_experiment_of_the_same_model_is_not_taken_for_the_run_to_go_on_with(home):
    """Notebook 03 trains the published settings after the learner's own run: 04 must compare the learner's own."""
    own = finished(home, "20260101T000000Z-m")
    finished(home, "20260102T000000Z-m-published")
    finished(home, "20260103T000000Z-m-short-2")
    assert runs.latest("m") == (own, f"Using your run {own.name}.")


def test_without_a_run_of_ones_own_the_shipped_reference_is_used_and_said(home):
    run, note = runs.latest("SmolLM2-135M-Instruct")
    assert run == runs.reference_run() and "reference" in note


def test_another_models_adapter_is_not_offered_in_the_place_of_a_run(home):
    with pytest.raises(RunError) as caught:
        runs.latest("Qwen2.5-0.5B-Instruct")
    tells(caught.value, "Qwen2.5-0.5B-Instruct")
    assert "notebook 03" in caught.value.cure


def test_the_shipped_reference_run_is_whole_and_small():
    manifest = runs.read_manifest(runs.reference_run())
    assert "adapter/adapter_model.safetensors" in manifest["files"]
    size = sum(p.stat().st_size for p in runs.reference_run().rglob("*") if p.is_file())
    assert size < 13_500_000  # with the kept answers of two studies
    assert (runs.reference_run() / "adapter" / "adapter_model.safetensors").stat().st_size < 7_000_000


def test_a_run_that_is_not_there_is_not_called_unfinished(tmp_path):
    with pytest.raises(RunError, match="there is no such run folder"):
        runs.read_manifest(tmp_path / "none")
