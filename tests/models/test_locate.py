"""A choice names a model or says why not; ``auto`` never downloads."""

import json

import pytest

from helpers.errors import ModelError
from helpers.models import catalog, embedded, locate, machine
from tests.fixtures import tells


@pytest.mark.parametrize("choice", ["auto", "embedded", None, ""])
def test_the_embedded_model_is_the_default(choice):
    spec, where, note = locate.resolve(choice)
    assert spec is catalog.EMBEDDED and where == embedded.embedded_dir() and spec.key in note


@pytest.mark.parametrize("choice", ["smolm", "Qwen2.5", "maker:model"])
def test_an_unknown_model_is_refused_with_what_would_be_known(choice):
    with pytest.raises(ModelError) as caught:
        locate.resolve(choice)
    tells(caught.value, repr(choice), "embedded", "Hub id")


PATHS = [
    "./models/x",
    "/no/such",
    "a/b/c",
    "/x",
    "~/x",
    "~nobody-here/x",
    "C:\\x",
    "C:/x",
    "runs/mine",
    "my/x",
    "..x/y",
]


@pytest.mark.parametrize("choice", [*PATHS, "/x" * 5000, "/nul\0/x"])
def test_of_a_path_that_is_not_there_it_is_said_that_there_is_no_such_folder(choice):
    with pytest.raises(ModelError) as caught:
        locate.resolve(choice)
    tells(caught.value, repr(choice), "no such folder")


def test_what_may_be_a_path_or_a_hub_id_is_told_to_be_neither_here(elsewhere):
    spec, where, _ = locate.resolve("some/model")
    with pytest.raises(ModelError) as caught:
        locate.fetch(spec)  # the tests run with HF_HUB_OFFLINE=1
    tells(caught.value, where, "no folder here", "not in the cache")


def test_a_run_or_an_adapter_given_as_the_model_is_told_where_to_give_it(tmp_path):
    run, adapter = tmp_path / "a run", tmp_path / "a run" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    for folder in (run, adapter):
        with pytest.raises(ModelError) as caught:
            locate.resolve(str(folder))
        tells(caught.value, str(folder), "holds an adapter")
        assert f"--adapter '{folder}'" in caught.value.cure


def test_the_variable_wins_over_auto_and_is_named_when_it_is_wrong(monkeypatch):
    monkeypatch.setenv("IDENTITY_MODEL", "nonsense")
    with pytest.raises(ModelError) as caught:
        locate.resolve("auto")
    tells(caught.value, "'nonsense'")
    assert locate.resolve("embedded")[0] is catalog.EMBEDDED


def test_auto_never_downloads_and_offers_the_larger_model_with_size_and_licence(monkeypatch):
    asked = []

    def not_cached(repo, revision, local_files_only, **how):
        assert local_files_only is True
        asked.append((repo, revision))
        raise FileNotFoundError

    monkeypatch.delenv("IDENTITY_MODEL")
    monkeypatch.setattr(locate, "snapshot_download", not_cached)
    monkeypatch.setattr(machine, "device", lambda: "cuda")
    gpu = machine.Machine("cuda", "a GPU", 2**36, True)
    monkeypatch.setattr(machine, "machine", lambda: gpu)
    spec, _, note = locate.resolve("auto")
    free = [s for s in catalog.HUB_MODELS if s.licence == "Apache-2.0"]
    assert spec is catalog.EMBEDDED and asked == [(s.hub_id, s.revision) for s in free]
    assert free[0].hub_id in note and free[0].revision in note and "15 GB" in note and "Apache-2.0" in note


def test_auto_passes_over_a_download_that_was_cut_off_and_takes_a_whole_one(monkeypatch, tmp_path):
    for spec in catalog.HUB_MODELS:
        (tmp_path / spec.key).mkdir()
        (tmp_path / spec.key / "config.json").write_text("{}")
    half, whole = catalog.HUB_MODELS[0], catalog.HUB_MODELS[2]
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    for spec, shards in ((half, 1), (whole, 2)):
        (tmp_path / spec.key / "model.safetensors.index.json").write_text(json.dumps(index))
        for n in range(1, shards + 1):
            (tmp_path / spec.key / f"model-0000{n}-of-00002.safetensors").write_text("")
    monkeypatch.delenv("IDENTITY_MODEL")
    monkeypatch.setattr(machine, "device", lambda: "cuda")
    gpu = machine.Machine("cuda", "a GPU", 2**36, True)
    monkeypatch.setattr(machine, "machine", lambda: gpu)
    monkeypatch.setattr(locate, "snapshot_download", lambda repo, **how: str(tmp_path / repo.split("/")[1]))
    assert locate.resolve("auto")[:2] == (whole, tmp_path / whole.key)
