"""Variables that a notebook's cell sets after huggingface_hub was imported count all the same."""

import os

import pytest

from helpers.errors import ModelError
from helpers.models import locate
from tests.fixtures import tells
from tests.models.test_hub import COMMIT, SPEC, mirror  # noqa: F401 (a fixture)

NAMES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")


@pytest.fixture
def late(monkeypatch, tmp_path):
    """A function that sets variables. Without it huggingface_hub would ask an address where nobody answers."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(locate.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(locate.constants, "HF_HUB_CACHE", str(tmp_path / "early"))
    monkeypatch.setattr(locate.constants, "ENDPOINT", "http://127.0.0.1:9")
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(locate.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    return lambda **named: [monkeypatch.setenv(name, value) for name, value in named.items()]


def test_a_mirror_and_a_cache_that_are_set_late_are_used(late, mirror, tmp_path):  # noqa: F811
    handler, address = mirror
    late(HF_ENDPOINT=address + "/", HF_HOME=str(tmp_path / "late"), HF_HUB_OFFLINE="0")
    folder = locate.fetch(SPEC)
    assert folder == locate.cached(SPEC) and folder.is_relative_to(tmp_path / "late" / "hub")
    assert (folder / "config.json").exists() and any("/model.safetensors" in path for path in handler.asked)
    assert not (tmp_path / "early").exists()


@pytest.mark.parametrize(("named", "asked"), [("http://127.0.0.1:7/", "127.0.0.1:7"), ("", "127.0.0.1:9")])
def test_an_error_names_the_address_that_was_asked(late, named, asked):
    late(HF_ENDPOINT=named, HF_HUB_OFFLINE="0")
    with pytest.raises(ModelError) as caught:
        locate.fetch(SPEC)
    tells(caught.value, f"http://{asked} cannot be reached")


def test_a_network_that_is_forbidden_late_is_not_used(late, monkeypatch, tmp_path):
    monkeypatch.setattr(locate, "HfApi", lambda **how: pytest.fail("it went to the network"))
    late(HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(tmp_path))
    with pytest.raises(ModelError) as caught:
        locate.fetch(SPEC)
    tells(caught.value, "HF_HUB_OFFLINE is set", str(tmp_path), COMMIT)


@pytest.mark.parametrize(
    ("named", "cache"),
    [
        ({"HF_HOME": "/a"}, "/a/hub"),
        ({"HF_HOME": "/a", "HF_HUB_CACHE": "/b"}, "/b"),
        ({"HF_HUB_CACHE": "~/b"}, os.path.expanduser("~/b")),
        ({"HF_HOME": "$HF_PLACE", "HF_PLACE": "/c"}, "/c/hub"),
        ({}, None),
    ],
)
def test_the_cache_is_where_the_variables_say_now(late, tmp_path, named, cache):
    late(**named)
    assert locate._cache() == (cache or str(tmp_path / "early"))
