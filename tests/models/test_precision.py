"""Number formats: each device gets its own, and what it cannot do is refused before anything is loaded."""

import sys
from dataclasses import replace

import pytest
import torch

from helpers.__main__ import main
from helpers.errors import ResourceError
from helpers.models import catalog, estimate, machine, precision
from helpers.models.load import load_model
from tests.fixtures import tells

QWEN = catalog.HUB_MODELS[0]
OUTSIDE = catalog.ModelSpec("mine", None, None, "unknown", 0, 0, ("en",), "its maker", "mine")


@pytest.fixture
def card(monkeypatch):
    """Make torch believe in a GPU of this compute capability, with this much free memory (GiB)."""

    def put(capability: tuple[int, int], free: float = 80.0):
        here = machine.Machine("cuda", "Tesla T4", 8, 8, 2**37, int(free * catalog.GIB), capability[0] >= 8)
        monkeypatch.setattr(machine, "device", lambda: "cuda")
        monkeypatch.setattr(machine, "machine", lambda: here)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: here.name)

    return put


def test_a_gpu_takes_bfloat16_where_it_is_native_and_float16_before(card):
    card((9, 0))
    assert precision.dtype_for(QWEN) is torch.bfloat16 and precision.dtype_for(OUTSIDE) is torch.bfloat16
    card((7, 5))
    assert precision.dtype_for(QWEN) is torch.float16
    assert precision.dtype_for(catalog.EMBEDDED) is torch.float32


def test_a_cpu_repeats_the_embedded_model_in_float32_and_takes_bfloat16_for_larger_ones_where_it_has_it(monkeypatch):
    for native, larger in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(machine, "native_bf16", lambda where, native=native: native)
        assert precision.dtype_for(catalog.EMBEDDED) is torch.float32
        assert precision.dtype_for(OUTSIDE) is torch.float32
        assert precision.dtype_for(QWEN) is larger
    assert precision.dtype_for(QWEN, torch.float32) is torch.float32


def test_a_format_that_the_device_does_not_have_is_refused(card):
    with pytest.raises(ResourceError) as caught:
        precision.dtype_for(QWEN, torch.float16)
    tells(caught.value, "float16", "CPU")
    assert "torch.float32" in caught.value.cure
    card((7, 5))
    with pytest.raises(ResourceError) as caught:
        precision.dtype_for(QWEN, torch.bfloat16)
    tells(caught.value, "bfloat16", "Tesla T4", "8.0")
    assert "torch.float16" in caught.value.cure


def test_four_bits_need_a_gpu_and_their_package(card, monkeypatch):
    with pytest.raises(ResourceError) as caught:
        precision.four_bit(torch.bfloat16)
    tells(caught.value, "NVIDIA GPU")
    assert "--four-bit" in caught.value.cure
    card((9, 0))
    monkeypatch.setattr(machine, "has_bitsandbytes", lambda: False)
    with pytest.raises(ResourceError) as caught:
        precision.four_bit(torch.bfloat16)
    tells(caught.value, "bitsandbytes")
    assert caught.value.cure == 'pip install -c constraints.txt -e ".[4bit]"'


def test_four_bits_are_nf4_with_double_quantisation(card, monkeypatch):
    card((9, 0))
    monkeypatch.setattr(machine, "has_bitsandbytes", lambda: True)
    monkeypatch.setitem(sys.modules, "bitsandbytes", sys)  # transformers looks only whether there is one
    try:
        found = precision.four_bit(torch.float16)
    except ImportError:
        pytest.skip("this transformers wants to see bitsandbytes itself")
    assert (found.bnb_4bit_quant_type, found.bnb_4bit_use_double_quant) == ("nf4", True)
    assert found.load_in_4bit and found.bnb_4bit_compute_dtype is torch.float16


def test_too_little_memory_is_told_before_loading_and_what_would_fit(card):
    card((8, 0), free=10)
    with pytest.raises(ResourceError) as caught:
        precision.check_memory(QWEN, torch.bfloat16)
    tells(caught.value, QWEN.key, "14.2 GiB", "10.0 GiB", "bfloat16")
    assert "MODEL='Qwen/Qwen2.5-3B-Instruct'" in caught.value.cure and "helpers check" in caught.value.cure
    precision.check_memory(QWEN, torch.bfloat16, in_four_bit=True)
    precision.check_memory(OUTSIDE, torch.bfloat16)
    card((8, 0), free=0.3)
    with pytest.raises(ResourceError) as caught:
        precision.check_memory(QWEN, torch.bfloat16, in_four_bit=True)
    assert "4-bit" in caught.value.what and "MODEL='embedded'" in caught.value.cure
    card((8, 0), free=0.01)
    with pytest.raises(ResourceError) as caught:
        precision.check_memory(QWEN, torch.bfloat16)
    assert caught.value.cure.startswith("close other programs") and "MODEL" not in caught.value.cure


def test_loading_refuses_before_it_reads_and_the_command_line_says_it_in_one_line(capsys, monkeypatch):
    small = replace(machine.machine(), memory_free=10**8)
    monkeypatch.setattr(machine, "machine", lambda: small)
    with pytest.raises(ResourceError) as caught:
        load_model("embedded")
    tells(caught.value, catalog.EMBEDDED.key, "0.5 GiB", "0.1 GiB")
    with pytest.raises(SystemExit) as ended:
        main(["ask", "Who are you?", "--four-bit", "--model", "embedded"])
    told = capsys.readouterr().err
    assert ended.value.code == 1 and told.count("\n") == 1 and "NVIDIA GPU" in told


def test_weights_are_counted_in_every_format():
    shape, count = QWEN.shape, QWEN.parameters
    assert estimate.weights_bytes(shape, "float32") == 2 * estimate.weights_bytes(shape, "bfloat16") == 4 * count
    assert estimate.weights_bytes(shape, "4-bit") < 0.4 * estimate.weights_bytes(shape, "float16")
