"""Answers are kept whole, and two processes never make the same part."""

import errno
import subprocess
import sys

import pytest

from helpers.errors import DiskError, ProbeError
from study import answers
from tests.fixtures import tells

ROWS = [{"id": "a", "answer": "one\u2028two\u2029three\u0085four\n小"}, {"id": "b", "answer": ""}]


def test_packed_answers_come_back_as_they_were_and_the_file_is_the_same_each_time(tmp_path):
    path = answers.pack(tmp_path / "new" / "answers.jsonl.gz", ROWS)
    before = path.read_bytes()
    assert answers.unpack(path) == ROWS
    assert answers.pack(path, ROWS).read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["answers.jsonl.gz"]


def test_a_full_disk_leaves_the_answers_that_were_there(tmp_path, full_disk):
    path = answers.pack(tmp_path / "folder" / "answers.jsonl.gz", ROWS)
    with full_disk("replace", "fsync"), pytest.raises(DiskError) as caught:
        answers.pack(path, ROWS[:1])
    tells(caught.value, str(path), "disk is full")
    assert answers.unpack(path) == ROWS and len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(p.read_bytes()[:-9]), lambda p: p.write_text("{}"),
                                    lambda p: p.unlink()])  # fmt: skip
def test_answers_that_are_not_whole_are_refused_with_a_cure(tmp_path, damage):
    damage(path := answers.pack(tmp_path / "answers.jsonl.gz", ROWS))
    with pytest.raises(ProbeError) as caught:
        answers.unpack(path)
    tells(caught.value, str(path), "no whole compressed file")


def test_what_one_process_makes_no_other_does_until_it_ends(tmp_path):
    note = tmp_path / "point.json"
    hold = (
        "import time; from study import answers\n"
        f"with answers.claimed({str(note)!r}) as ours: print(ours, flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "True\n"
    with answers.claimed(note) as ours:
        assert not ours
    other.kill()
    other.communicate()
    with answers.claimed(note) as ours:
        assert ours
        note.touch()
    with answers.claimed(note) as ours:
        assert not ours, "it is made"


def test_a_claim_in_a_folder_that_cannot_be_written_names_the_cure(tmp_path, monkeypatch):
    def barred(self, *args, **how):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(answers.filelock.FileLock, "acquire", barred)
    with pytest.raises(DiskError) as caught, answers.claimed(tmp_path / "point.json"):
        pass
    tells(caught.value, "point.json", "cannot be written")
    assert "choose a folder" in caught.value.cure
