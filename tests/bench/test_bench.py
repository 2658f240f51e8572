"""Every benchmark starts, keeps what it has measured, and writes into out/ alone. Figures are not judged here."""

import importlib
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import typer
from typer.testing import CliRunner

from bench import common, gpu, gpu_figures, kills, several_gpus, widgets
from helpers import files
from helpers.models import catalog
from helpers.models.estimate import FULL_FLOAT32, LORA_FLOAT32


def started(module, *args):
    app = typer.Typer()
    app.command()(module.main)
    result = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", ["cpu", "widgets", "seats", "products", "kills", "gpu", "several_gpus"])
def test_each_says_how_it_is_used(name):
    assert "Measure" in started(importlib.import_module(f"bench.{name}"), "--help")


def test_the_page_shows_the_kills_that_were_measured():
    rows = pd.read_csv(files.data_dir() / "reference" / "kills.csv", dtype=str, keep_default_na=False)
    page = (files.project_root() / "docs" / "trust.md").read_text(encoding="utf-8")
    assert f"<!-- kills -->\n{kills.markdown(rows.to_dict('records'))}\n<!-- end of kills -->" in page
    assert set(rows["killed"]) == {"20"} and set(rows["half-written"]) == {"0"} and len(rows) == len(kills.COMMANDS)


@pytest.mark.parametrize("name", ["cpu", "widgets"])
def test_what_is_written_goes_where_git_ignores_it(name):
    path = importlib.import_module(f"bench.{name}").OUT
    assert path.parent == files.project_root() / "out"


def test_a_table_keeps_each_row_as_it_comes_and_says_what_failed(tmp_path):
    def fails():
        raise ValueError("too large")

    for group in "ab":
        table = common.Table(tmp_path / "t.csv", ("group", "what", "seconds", "error"), {"group": group})
        table.add({"what": "one"}, lambda: {"seconds": 1.5})
        table.add({"what": "two"}, fails)
    found = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert found["group"].tolist() == ["a", "a", "b", "b"] and found["seconds"].tolist() == ["1.5", "", "1.5", ""]
    assert found["error"].tolist() == ["", "ValueError: too large"] * 2


def test_a_group_measured_again_replaces_its_own_rows_alone(tmp_path, monkeypatch):
    def child(command, **how):
        group = command[command.index("--one") - 1]
        common.Table(tmp_path / "gpu.csv", gpu.COLUMNS, {"shape": group}).add({}, lambda: {"seconds": len(calls)})
        calls.append(group)

    calls = []
    monkeypatch.setattr(subprocess, "run", child)
    started(gpu, tmp_path, "7B", "3B")
    started(gpu, tmp_path, "7B")
    found = pd.read_csv(tmp_path / "gpu.csv")
    assert dict(zip(found["shape"], found["seconds"], strict=True)) == {"3B": 1, "7B": 2} and len(found) == 2


@pytest.mark.slow
def test_a_small_shape_is_measured_on_a_cpu_as_a_large_one_is_on_a_gpu(tmp_path, monkeypatch):
    shape = catalog.Shape(hidden=32, layers=2, heads=2, kv_heads=1, intermediate=64, vocab=49152, tied=True, bias=True)
    spec = replace(catalog.HUB_MODELS[0], shape=shape, parameters=shape.parameters())
    jobs = tuple(gpu_figures.Job(method, "published", epochs=1) for method in (LORA_FLOAT32, FULL_FLOAT32))
    monkeypatch.setattr(gpu, "SIZES", {"tiny": spec})
    monkeypatch.setattr(gpu, "GROUPS", {"tiny": jobs})
    monkeypatch.setattr(gpu, "reference_rate", lambda: 1e12)
    monkeypatch.setattr(gpu_figures, "NEW_TOKENS", 2)
    gpu.measure("tiny", tmp_path / "gpu.csv")
    found = pd.read_csv(tmp_path / "gpu.csv")
    assert found["error"].isna().all() and found["what"].tolist() == [
        "published",
        "answer",
        "published",
        "matrix product",
    ]
    assert found["steps"].dropna().tolist() == [1, 1] and found["trained weights"][2] == spec.parameters


def test_both_parts_of_several_gpus_are_measured_under_every_profile(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "card")
    monkeypatch.setattr(several_gpus, "export", lambda choice, folder: folder)
    monkeypatch.setattr(several_gpus, "random_model", lambda *args: SimpleNamespace(save_pretrained=lambda path: path))
    monkeypatch.setattr(several_gpus, "train", lambda folder, place, profile, *more: {"profile": profile, "steps": 1})
    monkeypatch.setattr(several_gpus, "identity_check", lambda adapter: {"dev leak": "0 of 1"})
    monkeypatch.setattr(several_gpus, "loads_in_plain_peft", lambda base, adapter: {"adapter in plain PEFT": "yes"})
    started(several_gpus, tmp_path / "out", tmp_path / "place")
    found = pd.read_csv(tmp_path / "out" / "several_gpus.csv")
    assert found["profile"].tolist() == ["one_gpu", "ddp", "one_gpu", "fsdp2", "ddp"] and found["error"].isna().all()
    assert set(found["device"]) == {"2 x card"}


def test_a_long_chat_and_a_training_are_drawn_without_a_model():
    found = {**widgets.two_hundred_turns(), **widgets.training_redraw()}
    assert found["bytes_a_redraw"] < 2000, "a redraw sends what is new, not the whole conversation"
    assert found["text_kib_of_200_turns"] > 100
