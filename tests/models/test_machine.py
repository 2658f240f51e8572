"""What the machine grants is read, not guessed, and a wrong setting is named with its cure."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from helpers import files
from helpers.errors import ModelError
from helpers.models import machine
from tests.fixtures import tells


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", " ", "9" * 21])
def test_a_bad_number_of_threads_is_refused(monkeypatch, threads, value):
    before = torch.get_num_threads()
    monkeypatch.setenv("IDENTITY_THREADS", value)
    with pytest.raises(ModelError) as caught:
        machine.set_threads()
    tells(caught.value, "IDENTITY_THREADS", repr(value))
    assert torch.get_num_threads() == before


def test_threads_are_those_asked_for_or_those_granted(monkeypatch, threads):
    monkeypatch.setenv("IDENTITY_THREADS", "1")
    assert machine.set_threads() == torch.get_num_threads() == 1
    monkeypatch.delenv("IDENTITY_THREADS")
    assert machine.set_threads() == machine.cores()


def test_a_device_that_is_none_or_not_there_is_refused(monkeypatch):
    monkeypatch.setenv("IDENTITY_DEVICE", "tpu")
    with pytest.raises(ModelError) as caught:
        machine.device()
    tells(caught.value, "IDENTITY_DEVICE", "tpu")
    monkeypatch.setenv("IDENTITY_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError) as caught:
        machine.device()
    tells(caught.value, "IDENTITY_DEVICE=cuda")


def test_without_a_setting_a_gpu_is_used_if_there_is_one_and_apples_never(monkeypatch):
    monkeypatch.delenv("IDENTITY_DEVICE")
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert machine.device() == expected


def test_cores_and_memory_are_what_the_container_grants(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    assert machine.cores() == 16
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text(f"{2**20}\n")
    (tmp_path / "memory.current").write_text(f"{2**19}\n")
    assert machine.cores() == 2 and machine.memory() == (2**20, 2**19)
    assert machine.machine().memory_free == 2**19
    (tmp_path / "memory.stat").write_text("anon 9\ninactive_file 1024\n")
    assert machine.memory()[1] == 2**19 + 1024, "a file that was read gives its memory up when it is wanted"
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.cores() == 16 and machine.memory()[0] > 2**20
    (tmp_path / "memory.max").unlink()
    (tmp_path / "memory").mkdir()  # version 1, without statistics
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{2**21}\n")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text(f"{2**20}\n")
    assert machine.memory() == (2**21, 2**20)


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [("150000", "100000", 2), ("400000", "100000", 4), ("-1", "100000", 16), ("50000", "", 16), ("5000", "0", 16)],
)
def test_a_container_of_version_1_grants_a_quota_of_cpus_too(monkeypatch, tmp_path, quota, period, cores):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text(f"{period}\n")
    assert machine.cores() == cores


def test_free_disk_is_that_of_the_nearest_folder_that_exists(tmp_path):
    assert machine.disk_free(tmp_path / "not" / "there") > 0


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_tensors_are_kept_for_the_next_step_unless_the_reader_chose_a_threshold(monkeypatch):
    told = []
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda *how: told.append(how)))
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "33554432")
    machine.keep_memory()
    assert told == []
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_")
    machine.keep_memory()
    assert told == [(-3, 2**25), (-1, 2**31 - 1)], "M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of mallopt(3), in bytes"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "0"),
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, "2,3"),
        ({"CUDA_VISIBLE_DEVICES": ""}, ""),
        ({"LOCAL_RANK": "1"}, None),
    ],
    ids=["nothing", "chosen", "none wanted", "launched"],
)
def test_one_gpu_is_seen_unless_the_reader_or_a_launcher_says_otherwise(given, expected):
    env = {k: v for k, v in os.environ.items() if k not in ("CUDA_VISIBLE_DEVICES", "LOCAL_RANK")}
    code = "import helpers, os; print(repr(os.environ.get('CUDA_VISIBLE_DEVICES')))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=files.project_root(),
        env={**env, **given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == repr(expected)


def test_fused_attention_under_a_mask_is_off_on_cuda_alone(monkeypatch):
    kernels = torch.backends.cuda
    before = kernels.cudnn_sdp_enabled(), kernels.mem_efficient_sdp_enabled()
    try:
        machine.plain_attention()
        assert (kernels.cudnn_sdp_enabled(), kernels.mem_efficient_sdp_enabled()) == before, "there is no GPU here"
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        machine.plain_attention()
        assert (kernels.cudnn_sdp_enabled(), kernels.mem_efficient_sdp_enabled()) == (False, False)
    finally:
        kernels.enable_cudnn_sdp(before[0])
        kernels.enable_mem_efficient_sdp(before[1])
