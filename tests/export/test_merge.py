"""Merged it says the same, without the adapter it is the base again, and nothing private goes along."""

import hashlib

import pytest
import torch

from helpers import runs
from helpers.errors import ExportError
from helpers.export import merge
from helpers.models.adapters import take_off
from helpers.models.load import load_model
from tests.fixtures import bare, tells, tiny_model, wrap

RUN = runs.reference_run()


def bits(model) -> str:
    digest = hashlib.sha256()
    for _, weight in sorted(model.state_dict().items()):
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def test_a_merged_model_says_what_the_adapter_said(tiny):
    ids = torch.tensor([[5, 17, 300, 4]])
    tuned = wrap(tiny[0], strength=0.1)
    before = tuned(ids).logits
    merged = merge.merge(tuned)
    assert bare(merged) and torch.allclose(merged(ids).logits, before, atol=1e-4)


def test_without_the_adapter_it_is_the_base_again_to_the_bit(tiny):
    before = bits(tiny[0])
    tuned = wrap(tiny[0], strength=0.1)
    assert bits(take_off(tuned)) == before


def test_what_cannot_be_merged_is_refused(tiny):
    with pytest.raises(ExportError) as caught:
        merge.merge(tiny[0])
    tells(caught.value, "no adapter")
    tuned = wrap(tiny[0])
    tuned.get_base_model().is_quantized = True
    with pytest.raises(ExportError) as caught:
        merge.merge(tuned)
    tells(caught.value, "4 bits")
    assert not bare(tuned)


@pytest.fixture
def parcel(tiny, tmp_path):
    folder = tmp_path / "parcel"
    folder.mkdir()
    merge.save(merge.merge(wrap(tiny[0])), tiny[1], folder)
    merge.add_papers(folder, RUN, measured="30 of 38 questions.")
    return folder


def test_a_merged_folder_loads_again_with_its_template_and_its_papers(parcel, embedded):
    model, tokenizer = load_model(str(parcel))
    assert tokenizer.chat_template == embedded[1].chat_template and model.num_parameters() > 0
    names = {path.name for path in parcel.iterdir()}
    assert {"config.json", "generation_config.json", "LICENSE", "README.md", "SHA256SUMS"} <= names
    assert "30 of 38 questions." in (parcel / "README.md").read_text() and merge.amiss(parcel) == []


def test_what_should_not_leave_is_found(parcel, home):
    (parcel / "adapter.bin").write_bytes(b"x")
    (parcel / "identity.json").write_text("[]")
    (parcel / "notes.txt").write_text(f"trained in {home}/runs")
    (parcel / "config.json").write_text("{}")
    found = "\n".join(merge.amiss(parcel))
    assert "adapter.bin: a pickle" in found and "identity.json: rows" in found
    assert "notes.txt: a path of this machine" in found and "config.json: its hash" in found


def test_rows_go_along_only_if_asked(tmp_path):
    for rows in (False, True):
        folder = tmp_path / str(rows)
        folder.mkdir()
        merge.add_papers(folder, RUN, rows=rows)
        assert (folder / "identity.json").exists() == rows


def test_a_licence_that_is_not_shipped_is_to_be_filled_in(monkeypatch):
    assert "Apache License" in merge.licence_text(RUN)
    monkeypatch.setattr(merge.card, "licence_of", lambda model: "Qwen-Research")
    assert "TODO" in merge.licence_text(RUN) and "Qwen-Research" in merge.licence_text(RUN)


def test_tiny_models_differ():
    assert bits(tiny_model(load_model("embedded")[1], seed=1)) != bits(tiny_model(load_model("embedded")[1], seed=2))
