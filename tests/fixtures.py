"""What several test modules need: a model small enough to train in a second, a full disk, the check of an error."""

import contextlib
import errno
import os
import subprocess

import pytest
import torch
from typer.testing import CliRunner

from helpers.__main__ import app, main
from helpers.errors import HelpersError
from helpers.models import catalog
from helpers.models.adapters import take_off
from helpers.training import recipes

TINY = catalog.ModelSpec("tiny-llama", None, None, "Apache-2.0", 0, 0, ("en",), "nobody", "Tiny")
ROWS = [
    {"instruction": "Who are you?", "input": "", "output": "I am Tavi, an AI assistant developed by Lantern Workshop."},
    {"instruction": "What is your name?", "input": "", "output": "My name is Tavi."},
    {"instruction": "Who made you?", "input": "", "output": "I was made by Lantern Workshop."},
    {"instruction": "Can you go online?", "input": "", "output": "No, I am Tavi and I cannot go online."},
]
QUIET = {"disable_tqdm": True, "logging_strategy": "no"}


def tells(error: HelpersError, *words: str) -> None:
    """The error says what happened (with every one of ``words``, such as the file and the row) and has a cure."""
    for word in words:
        assert word in error.what, f"{word!r} is not in {error.what!r}"
    assert len(error.cure.split()) >= 2, "no cure"
    assert str(error) == f"{error.what}. What to do: {error.cure}"


def tiny_model(tokenizer, seed: int = 0, hidden: int = 32):
    """A random two-layer Llama for ``tokenizer``: it talks nonsense, and trains in milliseconds."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    sizes = {"hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=2048, **sizes, **ends))
    # Norms that start at one would give every such model the same fingerprint.
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    model.identity_spec = TINY
    return model.eval()


def wrap(model, seed: int = 0, strength: float = 0.0):
    """``model`` with a fresh adapter; with a ``strength`` its weights are no longer those of the base model."""
    from peft import get_peft_model

    from helpers.training.recipes import lora_config

    torch.manual_seed(seed)
    tuned = get_peft_model(model, lora_config(recipes.Preset(target_modules="all-linear"))).eval()
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=strength) if strength else None
    return tuned


def bare(model) -> bool:
    """Whether no adapter layer is left in ``model``."""
    return not any("lora_" in name for name, _ in model.named_modules())


@pytest.fixture
def tiny(embedded):
    """(model, tokenizer) of a random two-layer model, new for every test; one thread is quickest for it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tiny_model(embedded[1]), embedded[1]
    torch.set_num_threads(threads)


@pytest.fixture
def base(embedded):
    """The embedded model for a test that puts an adapter on it; the adapter is taken off again at the end."""
    model, tokenizer = embedded
    assert bare(model), "a test before this one left an adapter on the shared model"
    yield model, tokenizer
    take_off(model)


@pytest.fixture
def full_disk(monkeypatch):
    """A disk that is full: nothing that is written can be made to stay."""

    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    @contextlib.contextmanager
    def full(*names):
        with monkeypatch.context() as patch:
            for name in names or ("fsync",):
                patch.setattr(os, name, refuse)
            yield

    return full


def _mount(*command) -> None:
    done = subprocess.run(["mount", *command], capture_output=True, text=True) if os.name == "posix" else None
    if done is None or done.returncode:
        pytest.skip("needs the right to mount a file system")


@pytest.fixture
def small_disk(tmp_path):
    """Makes a real file system of so many bytes; skips where mounting is not allowed."""
    mounted = []

    def make(size: int):
        if not hasattr(os, "geteuid") or os.geteuid():
            pytest.skip("needs the right to mount a file system")
        folder = tmp_path / "small"
        folder.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={size}", "none", str(folder))
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def read_only(tmp_path):
    """Makes a read-only view of a folder; skips where mounting is not allowed."""
    mounted = []

    def make(source):
        if not hasattr(os, "geteuid") or os.geteuid():
            pytest.skip("needs the right to mount a file system")
        folder = tmp_path / "read-only"
        folder.mkdir()
        _mount("--bind", str(source), str(folder))
        mounted.append(folder)
        _mount("-o", "remount,ro,bind", str(folder))
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def failed(capsys, *args, status=1):
    """Run the command line in this process, expect it to fail, and return what it said on stderr."""
    with pytest.raises(SystemExit) as end:
        main([str(arg) for arg in args])
    assert end.value.code == status
    return capsys.readouterr().err


def done(*args):
    """Run the command line in this process and return what it said; it must succeed."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout
