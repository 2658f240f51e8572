"""A fingerprint tells any two base models apart, and knows one again in any format and under an adapter."""

import time

import pytest
import torch

from helpers.models.load import _norms, fingerprint, same_base
from tests.fixtures import tiny_model, wrap


def block(model):
    return model.model.layers[1]


def zeroed(model):
    torch.nn.init.zeros_(block(model).mlp.down_proj.weight)


def merged(model):
    """Its own copy with a small adapter of rank 8 on the upper block merged in, as bfloat16 stores it."""
    torch.manual_seed(0)
    for layer in (block(model).self_attn.q_proj, block(model).mlp.up_proj):
        rows, columns = layer.weight.shape
        layer.weight.data += 1e-4 * torch.randn(rows, 8) @ torch.randn(8, columns)
        layer.weight.data = layer.weight.data.bfloat16().float()


def swapped(model):
    layers = model.model.layers
    layers[0], layers[1] = layers[1], layers[0]


def other_head(model):
    model.lm_head.weight.data += 0.01


@pytest.mark.parametrize("change", [zeroed, merged, swapped, other_head])
def test_any_other_base_is_told_apart_also_where_its_norms_are_the_same(tiny, change):
    before, norms = fingerprint(tiny[0]), _norms(tiny[0])
    assert same_base(tiny[0], before)
    with torch.no_grad():
        change(tiny[0])
    assert (_norms(tiny[0]) == norms) == (change is not swapped), "the norms tell these apart already"
    assert fingerprint(tiny[0]) != before and not same_base(tiny[0], before)


def test_one_layer_of_the_embedded_model_set_to_zero_is_told_apart_in_a_moment(embedded):
    model, began = embedded[0], time.perf_counter()
    before = fingerprint(model)
    assert time.perf_counter() - began < 0.3
    weight = model.model.layers[20].self_attn.v_proj.weight
    kept = weight.detach().clone()
    try:
        weight.data.zero_()
        assert not same_base(model, before)
    finally:
        weight.data.copy_(kept)
    assert fingerprint(model) == before


def as_trained(model):
    return wrap(model, strength=0.5)


def head_written_down(model):
    model.lm_head.weight = torch.nn.Parameter(model.model.embed_tokens.weight.detach().clone())
    return model


@pytest.mark.parametrize("tied", [False, True], ids=["two", "tied"])
@pytest.mark.parametrize("other", [torch.nn.Module.bfloat16, torch.nn.Module.half, as_trained, head_written_down])
def test_one_base_is_known_in_every_number_format_with_an_adapter_and_with_its_output_layer_written_down(
    tiny, tied, other
):
    def make():
        model = tiny_model(tiny[1])
        if tied or other is head_written_down:
            model.lm_head.weight = model.model.embed_tokens.weight
        return model

    first, second = make(), other(make())
    assert same_base(first, fingerprint(second)) and same_base(second, fingerprint(first))


def test_weights_that_are_packed_into_four_bits_are_left_out_and_the_rest_is_compared(tiny):
    model, packed = tiny_model(tiny[1]), tiny_model(tiny[1])
    for layer in packed.model.layers:
        for name in ("gate_proj", "up_proj", "down_proj"):
            squeezed = torch.zeros(layer.mlp.get_submodule(name).weight.numel() // 2, 1, dtype=torch.uint8)
            layer.mlp.get_submodule(name).weight = torch.nn.Parameter(squeezed, requires_grad=False)
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            squeezed = torch.zeros(layer.self_attn.get_submodule(name).weight.numel() // 2, 1, dtype=torch.uint8)
            layer.self_attn.get_submodule(name).weight = torch.nn.Parameter(squeezed, requires_grad=False)
    packed.bfloat16()
    assert same_base(packed, fingerprint(model)) and same_base(model, fingerprint(packed))
    other = tiny_model(tiny[1], seed=1)
    assert not same_base(packed, fingerprint(other)) and not same_base(other, fingerprint(packed))


def test_what_an_earlier_version_recorded_is_compared_by_norms_and_nonsense_is_no_base(tiny):
    model, other = tiny[0], tiny_model(tiny[1], seed=1)
    assert same_base(model, _norms(model)) and not same_base(other, _norms(model))
    for nonsense in ("", "2:", "2:-", "2:a-b:c-d", "3:x", None, 2, ["2:"]):
        assert not same_base(model, nonsense)
