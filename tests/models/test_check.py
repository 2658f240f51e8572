"""The preflight answers on every device that may be asked for."""

import pytest

from helpers.models import check, embedded, machine


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_what_fits_is_told_on_every_device_without_cuda(monkeypatch, device):
    monkeypatch.setattr(machine, "device", lambda: device)
    lines = check.fits()
    assert lines[0].startswith("Training, 8 rows of at most 128 tokens") and lines[-1].startswith("Best on a CPU: ")


def finding(name, deep=False):
    return next(found for found in check.findings(deep) if found.name == name)


@pytest.mark.parametrize("variable", ["IDENTITY_HOME", "IDENTITY_CACHE"])
@pytest.mark.parametrize("below", ["", "/folder"])
def test_a_variable_that_names_a_file_is_found_and_never_raises(monkeypatch, tmp_path, variable, below):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(variable, f"{tmp_path / 'file'}{below}")
    found = finding("disk" if variable == "IDENTITY_HOME" else "weights")
    assert not found.ok and str(tmp_path / "file") in found.text and variable in found.cure


@pytest.mark.parametrize("error", [TypeError, RuntimeError, RecursionError, AttributeError])
def test_whatever_goes_wrong_is_a_finding(monkeypatch, error):
    def fail(*args, **how):
        raise error("odd")

    monkeypatch.setattr(machine, "machine", fail)
    monkeypatch.setattr(embedded, "verify", fail)
    assert not finding("device").ok and not finding("weights").ok and check.fits() == []
    assert "odd" in finding("weights").text
