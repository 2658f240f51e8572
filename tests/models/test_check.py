"""The preflight answers on every device that may be asked for."""

import pytest

from helpers.models import check, machine


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_what_fits_is_told_on_every_device_without_cuda(monkeypatch, device):
    monkeypatch.setattr(machine, "device", lambda: device)
    lines = check.fits()
    assert lines[0].startswith("Training, 8 rows of at most 128 tokens") and lines[-1].startswith("Best on a CPU: ")
