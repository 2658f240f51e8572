"""Files: never written over an input, a link or a device, or by two at once; modes as here; JSON as it was."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from helpers import files, runs
from helpers.chat.conversation import ChatSession
from helpers.errors import BusyError, DiskError, IdentityError, ProbeError, RunError
from helpers.export import gguf, merge
from tests.fixtures import tells, tiny_model, wrap

HOLD = """import sys; from helpers import files
with files.locked(sys.argv[1], 'writing it'): print(1, flush=True); input()"""


@contextlib.contextmanager
def held_elsewhere(path):
    """Another process holds ``path``."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "1\n"
            yield process
        finally:
            process.kill()


def test_what_another_process_holds_is_refused_until_it_ends_however_it_ends(tmp_path):
    path = tmp_path / "new folder" / "a.jsonl"
    with held_elsewhere(path) as process:
        with pytest.raises(BusyError) as caught, files.locked(path, "writing it"):
            pass
        tells(caught.value, str(path), "another process is writing it")
        process.send_signal(signal.SIGKILL)
        process.wait()
        with files.locked(path, "writing it"):
            pass
    assert list(path.parent.iterdir()) == [], "no litter"


def test_a_folder_has_one_lock_however_it_is_spelt(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    monkeypatch.chdir(tmp_path)
    with held_elsewhere(tmp_path / "folder"):
        for spelling in ("folder", "./folder/", "folder/../folder", "link"):
            with pytest.raises(BusyError), files.locked(spelling, "writing it"):
                pass


def test_a_thread_may_take_what_it_holds_and_no_other_may(tmp_path):
    refused = []

    def other():
        try:
            with files.locked(tmp_path / "a", "writing it"):
                pass
        except BusyError as e:
            refused.append(e)

    with files.locked(tmp_path / "a", "writing it"):
        with files.locked(tmp_path / "a", "writing it"):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1
    other()
    assert len(refused) == 1


@pytest.fixture
def place(tmp_path):
    """A folder that holds one of each kind of thing."""
    folder = tmp_path / "place"
    (folder / "model").mkdir(parents=True)
    for name in ("q.jsonl", "a.jsonl", "model/weights"):
        (folder / name).write_text("mine\n")
    os.mkfifo(folder / "pipe")
    os.link(folder / "q.jsonl", folder / "hard.jsonl")
    for name, target in {"link": "a.jsonl", "dangling": "nothing", "null": os.devnull, "loop": "loop"}.items():
        (folder / name).symlink_to(target)
    (folder / "other").symlink_to(".")
    return folder


INPUTS = ["q.jsonl", "model/../q.jsonl", "other/q.jsonl", "hard.jsonl", "model/weights", "other/model/weights"]
KINDS = dict.fromkeys(("link", "dangling", "null", "loop"), "a link") | {"pipe": "a pipe", "model": "a folder"}


@pytest.mark.parametrize("name", [*INPUTS, *KINDS])
def test_an_output_is_no_input_no_link_no_pipe_no_folder(place, name):
    with pytest.raises(DiskError) as caught:
        files.check_output(place / name, place / "q.jsonl", None, place / "model")
    tells(caught.value, str(place / name), KINDS.get(name, "would be lost"))


@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_whole_replaces_plain_files_alone(place, name):
    before = {path: path.lstat() for path in place.rglob("*")}
    for write in (files.write_atomic, lambda path, text: files.write_jsonl(path, [{"a": text}])):
        with pytest.raises(DiskError):
            write(place / name, "new")
    assert {path: path.lstat() for path in place.rglob("*")} == before


def test_a_device_is_never_replaced():
    with pytest.raises(DiskError) as caught:
        files.check_output(os.devnull)
    tells(caught.value, os.devnull, "a device")


@pytest.mark.parametrize("name", ["a.jsonl", "new.jsonl", "new/deep.jsonl", "model/new", "model.jsonl"])
def test_a_plain_file_or_a_new_one_may_be_written(place, name):
    assert files.check_output(place / name, place / "q.jsonl", place / "model", place / "gone") == place / name


@pytest.mark.parametrize("name", ["n" * 300, "n/" * 3000])
def test_a_name_that_is_too_long_is_one_line(tmp_path, name):
    for write in (lambda p: files.write_atomic(p, ""), lambda p: files.locked(p, "writing it").__enter__()):
        with pytest.raises(DiskError) as caught:
            write(tmp_path / name)
        tells(caught.value, "File name too long")


@pytest.fixture(params=[0o022, 0o077], ids=oct)
def umask(request):
    """What a new file is allowed here."""
    former = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(former)


def test_everything_that_is_written_follows_the_umask(umask, tiny, tmp_path):
    model, tokenizer = tiny
    folder = tmp_path / "saved"
    folder.mkdir()
    session = ChatSession(model, tokenizer, history=[{"role": "user", "content": "Hi"}])
    session.save(folder / "chat.jsonl")
    gguf.write_model(model, tokenizer, folder / "model.gguf", "f16")
    with files.folder_atomic(folder / "adapter") as scratch:
        wrap(tiny_model(tokenizer)).save_pretrained(str(scratch))
    (folder / "merged").mkdir()
    merge.save(merge.merge(wrap(model)), tokenizer, folder / "merged")
    merge.add_papers(folder / "merged", runs.reference_run(), rows=True)
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert {"chat.jsonl", "model.gguf", "adapter_model.safetensors", "model.safetensors"} <= {p.name for p in written}
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in written} == {p.name: umask for p in written}


def test_a_home_named_by_a_variable_is_one_folder_everywhere(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    root = files.project_root()
    named = {"~/x": tmp_path / "x", "~": tmp_path, "made/x": root / "made/x", "../x": root.parent / "x", " ": root}
    for told, meant in {**named, "": root, str(tmp_path / "a b"): tmp_path / "a b"}.items():
        for cwd in (tmp_path, root):
            monkeypatch.chdir(cwd)
            monkeypatch.setenv("IDENTITY_HOME", told)
            assert files.home() == meant


def test_a_home_that_cannot_be_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("IDENTITY_HOME", "~nobody-of-this-name/x")
    with pytest.raises(RunError) as caught:
        files.home()
    tells(caught.value, "~nobody-of-this-name/x", "no such user")
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("IDENTITY_HOME", str(tmp_path / "file"))
    with pytest.raises(DiskError) as caught:
        files.my_dir()
    tells(caught.value, str(tmp_path / "file"), "cannot be written")


SEPARATORS = "a\u2028b\u2029c\x85d\x0be\x1cf\rg\nh"


def test_lines_of_json_come_back_as_they_were(tmp_path):
    rows = [{"a": "é小"}, {"b": [1, SEPARATORS]}, {SEPARATORS: None}]
    assert files.read_jsonl(files.write_jsonl(tmp_path / "a.jsonl", rows)) == rows


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}\n{"a": 2}\n',
        '\ufeff{"a": 1}\n{"a": 2}',
        '{"a": 1}\r\n\r\n{"a": 2}\r\n',
        '\n\n{"a": 1}\n  \n\t{"a": 2}',
    ],
    ids=["plain", "byte order mark, no last line end", "Windows", "empty lines"],
)
def test_lines_of_json_are_read_from_any_editor(tmp_path, text):
    (tmp_path / "a.jsonl").write_bytes(text.encode())
    assert files.read_jsonl(tmp_path / "a.jsonl") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("error", [ProbeError, IdentityError])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, ["there is no such file"]),
        (b"", ["the file is empty"]),
        (b"\xef\xbb\xbf\r\n", ["the file is empty"]),
        (b'{"a": "\xe9"}', ["not UTF-8 text (byte 7)"]),
        (b'{"a": 1}\n\n{"a": ', ["row 3: not JSON"]),
        (b'{"a": 1}\n[1]\n', ["row 2: not a JSON object"]),
        (b"[" * 100_000, ["row 1: not JSON"]),
    ],
    ids=["no file", "empty", "blank", "Latin-1", "half a line", "a list", "nested too deep"],
)
def test_a_file_that_is_not_json_lines_is_refused_with_its_name_and_row(tmp_path, error, data, words):
    path = tmp_path / "a.jsonl"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(error) as caught:
        files.read_jsonl(path, error)
    tells(caught.value, str(path), *words)


def test_a_folder_is_no_file_of_json_lines(tmp_path):
    with pytest.raises(ProbeError) as caught:
        files.read_jsonl(tmp_path)
    tells(caught.value, str(tmp_path), "cannot be read")


HALF = '{"a": ["\\uD83D"]}'


def test_half_a_character_is_refused_with_file_and_row_and_a_whole_one_is_not(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "\\ud83d\\ude00 \\\\ud800"}\n')
    assert files.read_jsonl(path) == [{"a": "\N{GRINNING FACE} \\ud800"}]
    path.write_text(f'{{"a": 1}}\n{HALF}\n')
    with pytest.raises(IdentityError) as caught:
        files.read_jsonl(path, IdentityError)
    tells(caught.value, f"{path}, row 2", "\\ud83d", "half a character")
    path.write_text(HALF)
    with pytest.raises(IdentityError) as caught:
        files.read_json(path, IdentityError)
    tells(caught.value, str(path), "half a character")


def test_a_device_is_no_file_of_rows_and_a_file_without_end_is_not_read():
    with pytest.raises(ProbeError, match="/dev/zero: is a device"):
        files.read_text("/dev/zero")


def test_a_file_of_hundreds_of_megabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_BYTES", 10)
    (tmp_path / "a.json").write_text("[1, 2, 3, 4]")
    with pytest.raises(ProbeError, match="has more than 0 MB"):
        files.read_text(tmp_path / "a.json")


@pytest.mark.parametrize("text", ['[{"question": "a"},\n {"question": "b"}]', '{\n"question": "a"\n}'])
def test_one_json_value_over_several_lines_is_called_so(text):
    with pytest.raises(ProbeError, match="one JSON value over several lines"):
        files.parse_jsonl(text)


def test_a_name_that_is_too_long_asks_for_a_shorter_one(tmp_path):
    with pytest.raises(DiskError, match="choose a shorter name"):
        files.write_atomic(tmp_path / ("a" * 300), "x")
