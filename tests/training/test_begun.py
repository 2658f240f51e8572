"""A run goes on only as it was begun, one training at a time has it, and one that failed early is not in the way."""

import json
import os
import stat
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from helpers import files, runs
from helpers.errors import BusyError, DiskError, ResourceError, RunError
from helpers.rows.identity import Identity
from helpers.training import begun, recipes, train
from helpers.training.train import train_identity
from tests.fixtures import ROWS, tells, tiny_model
from tests.training.test_train import SAVES, SHORT, At, ctrl_c, interrupted

TAVI = Identity("Tavi", "Lantern Workshop")
HOLD = """
import sys, time
from pathlib import Path
from helpers import files
with files.locked(Path(sys.argv[1]), "training"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_that_trains_into_the_folder_is_told_of_at_once(tiny, tmp_path):
    run = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, run], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        try:
            with pytest.raises(BusyError) as caught:
                train_identity(*tiny, ROWS, [], run, SHORT, **SAVES)
        finally:
            other.kill()
    tells(caught.value, str(run), "training")
    assert not run.exists()
    train_identity(*tiny, ROWS, [], run, SHORT, **SAVES)  # the lock died with its process


def test_a_caller_that_holds_the_folder_may_train_into_it_and_another_thread_may_not(tiny, tmp_path):
    refused = []

    def other():
        with pytest.raises(BusyError) as caught:
            train_identity(tiny_model(tiny[1]), tiny[1], ROWS, [], tmp_path / "run", SHORT, **SAVES)
        refused.append(caught.value)

    with files.locked(tmp_path / "run", "training"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        train_identity(*tiny, ROWS, [], tmp_path / "run", SHORT, **SAVES)
    tells(refused[0], "training")
    assert runs.read_manifest(tmp_path / "run")


OTHERWISE = {
    "learning_rate": {"learning_rate": 0.5},
    "seed": {"seed": 0},
    "own_systems": {"own_systems": (None, "")},
    "identity": {},
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_run_goes_on_only_with_the_recipe_and_the_identity_it_was_begun_with(tiny, tmp_path, name):
    preset = interrupted(tiny, tmp_path, step=3)
    who = TAVI if name == "identity" else None
    with pytest.raises(RunError) as caught:
        other = replace(preset, **OTHERWISE[name])
        train_identity(*tiny, ROWS, [], tmp_path, other, identity=who, resume=True, **SAVES)
    tells(caught.value, str(tmp_path), f"begun with {name}")
    train_identity(*tiny, ROWS, [], tmp_path, replace(preset, measured="elsewhere"), resume=True, **SAVES)
    assert runs.read_manifest(tmp_path)


def test_a_run_does_not_go_on_with_another_model_nor_with_other_rows_of_the_courses(tiny, tmp_path, monkeypatch):
    run, tokenizer = tmp_path / "run", tiny[1]
    preset = replace(SHORT, extra_wordings=2, seed=7)
    with pytest.raises(RunError):
        train_identity(*tiny, ROWS, [], run, preset, identity=TAVI, callbacks=[At(3, ctrl_c)], **SAVES)
    with pytest.raises(RunError) as caught:
        train_identity(tiny_model(tokenizer, 1), tokenizer, ROWS, [], run, preset, identity=TAVI, resume=True, **SAVES)
    tells(caught.value, str(run), "other weights of tiny-llama")
    with monkeypatch.context() as patch:
        patch.setattr(train, "further_rows", lambda *told: [{**ROWS[0], "instruction": "Your name?"}] * 2)
        with pytest.raises(RunError) as caught:
            train_identity(*tiny, ROWS, [], run, preset, identity=TAVI, resume=True, **SAVES)
    tells(caught.value, str(run), "the rows that the course adds")
    train_identity(*tiny, ROWS, [], run, preset, identity=TAVI, resume=True, **SAVES)


def older(told):
    told["preset"].pop("halves")
    told.pop("sha256")
    return {**told, "sha256": begun._digest(told)}


BROKEN = {
    "cut off": lambda told: json.dumps(told)[:80],
    "another kind": lambda told: "[]",
    "not UTF-8": lambda told: b"\xff\xfe",
    "changed by hand": lambda told: json.dumps({**told, "fingerprint": "0"}),
    "a key too many": lambda told: json.dumps({**told, "sha": 1}),
    "of an earlier version": lambda told: json.dumps(told["asked"] or {"rows": "rows.json", "seed": None}),
    "with an earlier recipe": lambda told: json.dumps(older(told)),
}


@pytest.mark.parametrize("name", [*BROKEN, "missing"])
def test_a_record_that_is_broken_or_of_another_version_is_one_line(tiny, tmp_path, name):
    preset, path = interrupted(tiny, tmp_path, step=3), tmp_path / begun.RECORD
    if name == "missing":
        path.unlink()
    else:
        text = BROKEN[name](json.loads(path.read_text()))
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for again in (True, False):
        with pytest.raises(RunError) as caught:
            train_identity(*tiny, ROWS, [], tmp_path, preset, resume=again, **SAVES)
        tells(caught.value, str(tmp_path))
    assert (tmp_path / "checkpoint-2").exists()


def full_disk_in(step):
    def act():
        raise OSError(28, "No space left on device")

    return At(step, act)


def no_memory():
    raise ResourceError("out of memory with one row at once", "take a smaller model")


EARLY = {"Ctrl-C": At(1, ctrl_c), "a full disk": full_disk_in(1), "no memory": At(1, no_memory)}


@pytest.mark.parametrize("name", EARLY)
def test_a_training_that_fails_before_its_first_checkpoint_leaves_nothing(tiny, tmp_path, name):
    with pytest.raises((RunError, DiskError, ResourceError)) as caught:
        train_identity(*tiny, ROWS, [], tmp_path / "run", SHORT, callbacks=[EARLY[name]], **SAVES)
    assert "resume" not in caught.value.cure and not (tmp_path / "run").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_disk_full_of_the_rows_leaves_nothing(tiny, tmp_path, full_disk):
    with full_disk("fsync"), pytest.raises(DiskError):
        train_identity(*tiny, ROWS, [], tmp_path / "run", SHORT, **SAVES)
    assert not (tmp_path / "run").exists()


def test_what_a_killed_training_left_before_its_first_checkpoint_is_replaced(tiny, tmp_path):
    run = tmp_path / "run"
    interrupted(tiny, run, step=3)
    os.truncate(run / "checkpoint-2" / "optimizer.pt", 10)
    (run / ".keep.jsonl.abc").mkdir()
    assert begun.is_free(run)
    train_identity(*tiny, ROWS[:2], [], run, SHORT, **SAVES)
    assert json.loads((run / "identity.json").read_text()) == ROWS[:2]
    assert sorted(path.name for path in run.glob("checkpoint-*")) == ["checkpoint-2"]
    assert not (run / ".keep.jsonl.abc").exists() and not begun.is_free(run)


@pytest.mark.parametrize("name", ["identity.json", "keep.jsonl", "README.md", "adapter", "checkpoint-4"])
def test_a_folder_that_holds_anything_else_is_not_written_into(tiny, tmp_path, name):
    there = tmp_path / "run" / name
    there.parent.mkdir()
    there.mkdir() if "." not in name else there.write_text("mine")
    for again in (False, True):
        with pytest.raises(RunError) as caught:
            train_identity(*tiny, ROWS, [], tmp_path / "run", SHORT, resume=again, **SAVES)
        tells(caught.value, str(tmp_path / "run"), name)
    assert there.is_dir() or there.read_text() == "mine"


def test_a_run_in_a_bad_place_is_refused_before_anything_is_done(tmp_path, sound_run):
    inside, link, dangling = sound_run / "more" / "deep", tmp_path / "link", tmp_path / "dangling"
    link.symlink_to(tmp_path / "home")
    dangling.symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    places = {inside: "lies in the run", link: "is a link", dangling: "is a link", tmp_path / "pipe": "no folder"}
    for place, word in places.items():
        with pytest.raises(RunError) as caught:
            begun.check_place(place)
        tells(caught.value, str(place), word)
    begun.check_place(tmp_path / "new" / "run")


def test_a_folder_that_cannot_be_written_is_refused_before_the_model_is_loaded(tmp_path, read_only):
    with pytest.raises(DiskError) as caught:
        begun.check_place(read_only(tmp_path / "home"))
    tells(caught.value, "cannot be written")


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True, "7"])
def test_a_seed_that_cannot_be_used_is_refused_where_it_is_given(seed):
    with pytest.raises(RunError) as caught:
        replace(SHORT, seed=seed)
    tells(caught.value, repr(seed))
    assert replace(SHORT, seed=recipes.MAX_SEED).seed == 2**32 - 1


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_every_file_of_a_run_has_the_mode_that_new_files_get(tiny, tmp_path, umask):
    before = os.umask(umask)
    try:
        interrupted(tiny, tmp_path / "broken", step=3)
        train_identity(*tiny, ROWS, [], tmp_path / "whole", SHORT, **SAVES)
    finally:
        os.umask(before)
    found = [path for path in tmp_path.rglob("*") if path.is_file() and "home" not in path.parts]
    assert len([path for path in found if path.name == "adapter_model.safetensors"]) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o666 & ~umask}


def test_two_notebooks_that_begin_at_the_same_time_have_folders_of_their_own(tmp_path):
    """Notebook 03 builds its trainer by hand: its folder is its own because it is new."""
    found, start = [], threading.Barrier(8)

    def begin():
        start.wait()
        found.append(runs.new_run("tiny-llama"))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8
