"""Models from the Hub: a mirror, a cache without network, and every way of not getting one, each a clear line.

The mirror is real: a small server that speaks the Hub's protocol, with a small model behind it.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from helpers import files
from helpers.errors import DiskError, ModelError
from helpers.models import catalog, locate, machine
from tests.fixtures import tells

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SPEC = catalog.ModelSpec("tiny", "maker/tiny", COMMIT, "Apache-2.0", 1, 1, ("en",), "its maker", "tiny")
LOADING = """
import sys
from helpers.errors import HelpersError
from helpers.models.load import load_model, spec_of
for choice in sys.argv[1:]:
    try:
        model, tokenizer = load_model(choice)
        print("loaded", spec_of(model).key, spec_of(model).revision, len(tokenizer) > 1000)
    except HelpersError as e:
        print(e)
"""
# A model that the mirror refuses: status, error code, and what the reader is told.
REFUSED = {
    "maker/gone": (404, "RepoNotFound", ("has no maker/gone", "correct the id")),
    "maker/old": (404, "RevisionNotFound", ("has no maker/old", "choose another model")),
    "maker/gated": (403, "GatedRepo", ("agreed to its terms", "hf auth login")),
    "maker/broken": (500, "", ("cannot be reached", "500")),
    "maker/pickled": (200, "", ("no weights as safetensors", "choose another model")),
}


class Mirror(BaseHTTPRequestHandler):
    """What huggingface_hub asks of a Hub: a model's files with sizes, and each of them."""

    folder: Path
    asked: ClassVar[list[str]] = []

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.asked.append(self.path)
        status, code, _ = next((how for name, how in REFUSED.items() if name in self.path), (200, "", ()))
        if status != 200:
            return self.say(b"{}", status, code)
        pickled = "maker/pickled" in self.path
        files = {p.name: p.read_bytes() for p in self.folder.iterdir() if not (pickled and p.suffix == ".safetensors")}
        if "/resolve/" in self.path:
            name = self.path.split("/resolve/")[1].split("/", 1)[1].split("?")[0]
            return self.say(files[name]) if name in files else self.say(b"", 404)
        if "/tree/" in self.path:
            listed = [{"type": "file", "path": n, "size": len(b), "oid": oid(b)} for n, b in files.items()]
            return self.say(json.dumps(listed).encode())
        siblings = [{"rfilename": n, "size": len(b), "blobId": oid(b)} for n, b in files.items()]
        found = {"id": SPEC.hub_id, "sha": COMMIT, "siblings": siblings, "private": False, "tags": [], "downloads": 0}
        return self.say(json.dumps(found).encode())

    def say(self, body: bytes, status: int = 200, code: str = ""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{oid(body)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *words):
        pass


def oid(body: bytes) -> str:
    return hashlib.sha1(body).hexdigest()


@pytest.fixture
def mirror(tiny, tmp_path):
    """A Hub of one model, as (its class, which notes what was asked; its address)."""
    model, tokenizer = tiny
    folder = tmp_path / "served"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    handler = type("Here", (Mirror,), {"folder": folder, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def load(tmp_path, endpoint: str, *choices: str, **env: str) -> subprocess.CompletedProcess:
    """Load ``choices``, by default the mirror's model, in a process of its own: the library reads its settings once."""
    env = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0", **env}
    command = [sys.executable, "-c", LOADING, *(choices or [SPEC.hub_id])]
    return subprocess.run(
        command, cwd=files.project_root(), env={**os.environ, **env}, capture_output=True, text=True, timeout=120
    )


def one_line(done: subprocess.CompletedProcess) -> str:
    """What the reader sees of a refusal: one line, with a cure, and no retries or traceback beside it."""
    assert done.returncode == 0 and "Retry" not in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert done.stdout.count("\n") == 1 and "What to do:" in done.stdout, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_mirror_is_downloaded_from_once_and_then_no_network_is_needed(mirror, tmp_path):
    handler, address = mirror
    told = load(tmp_path, address)
    assert told.stdout == f"loaded tiny {COMMIT} True\n", told.stdout + told.stderr
    fetched = {path.split("/resolve/")[1].split("/", 1)[1] for path in handler.asked if "/resolve/" in path}
    assert "model.safetensors" in fetched and "pytorch_model.bin" not in fetched
    handler.asked.clear()
    again = load(tmp_path, address, HF_HUB_OFFLINE="1")
    assert again.stdout == told.stdout and not handler.asked


def test_without_a_network_there_is_one_line_with_three_ways_out(tmp_path):
    line = one_line(load(tmp_path, "http://127.0.0.1:9"))
    for word in (SPEC.hub_id, "http://127.0.0.1:9", "cannot be reached", "HF_ENDPOINT", "hf download", "'embedded'"):
        assert word in line


def test_a_forbidden_network_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        locate.fetch(SPEC)  # the tests run with HF_HUB_OFFLINE=1
    tells(caught.value, "HF_HUB_OFFLINE is set", str(tmp_path), COMMIT)
    assert f"hf download {SPEC.hub_id} --revision {COMMIT}" in caught.value.cure


def test_what_the_hub_refuses_is_told_with_its_cure(mirror, tmp_path):
    told = load(tmp_path, mirror[1], *REFUSED)
    assert "Retry" not in told.stderr and "Traceback" not in told.stderr, told.stderr
    lines = told.stdout.splitlines()
    assert len(lines) == len(REFUSED), told.stdout + told.stderr
    for line, (_, _, words) in zip(lines, REFUSED.values(), strict=True):
        assert "What to do: " in line and all(word in line for word in words), line


def test_a_model_larger_than_the_disk_is_refused_before_it_is_fetched(monkeypatch):
    def downloaded(repo, local_files_only=False, **how):
        assert local_files_only, "fetched all the same"
        raise FileNotFoundError

    weights = SimpleNamespace(rfilename="model.safetensors", size=15 * 10**9)
    hub_api = SimpleNamespace(model_info=lambda *args, **how: SimpleNamespace(siblings=[weights]))
    monkeypatch.setattr(locate, "HfApi", lambda **how: hub_api)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(locate, "snapshot_download", downloaded)
    monkeypatch.setattr(machine, "disk_free", lambda path: 10**9)
    with pytest.raises(DiskError) as caught:
        locate.fetch(SPEC)
    tells(caught.value, SPEC.hub_id, "15.0 GB", "1.0 GB", locate._cache())
    assert "HF_HOME" in caught.value.cure


@pytest.mark.parametrize(
    ("index", "present", "is_whole"),
    [
        (None, [], False),
        (None, ["model.safetensors"], True),
        (["1.safetensors", "2.safetensors"], ["1.safetensors"], False),
        (["1.safetensors", "2.safetensors"], ["1.safetensors", "2.safetensors"], True),
        ("{ half", ["1.safetensors"], False),
    ],
)
def test_a_download_that_was_cut_off_is_not_taken_for_a_model(monkeypatch, tmp_path, index, present, is_whole):
    if index:
        text = index if isinstance(index, str) else json.dumps({"weight_map": dict(enumerate(index))})
        (tmp_path / "model.safetensors.index.json").write_text(text)
    for name in present:
        (tmp_path / name).touch()
    monkeypatch.setattr(locate, "snapshot_download", lambda *args, **how: str(tmp_path))
    assert locate.cached(SPEC) == (tmp_path if is_whole else None)
