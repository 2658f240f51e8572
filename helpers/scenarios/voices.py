"""Several adapters on one model in memory, each under its product's key: attach them, speak as one, answer as many.

An adapter by itself is `models.adapters`. Switching is global to the model, so everything here holds the model's lock.
"""

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, PeftModelForCausalLM
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase

from helpers.chat import generate
from helpers.errors import AdapterError
from helpers.models.adapters import find_adapter, load_adapter, model_lock, take_off
from helpers.models.locate import reason
from helpers.scenarios.brand import Product


def attach(
    model: torch.nn.Module, adapters: Mapping[str, Path | str], products: Iterable[Product] = ()
) -> PeftModel:  # fmt: skip
    """Put an adapter for each key on ``model``, from run or adapter folders; the first speaks, until another is chosen.

    Raises `AdapterError` where one of ``products`` has no adapter, where two keys have the same one (by its tensors),
    and for all that `load_adapter` refuses. No adapter is left on the model then.
    """
    try:
        for key in (product.key for product in products):
            if not adapters.get(key):
                raise AdapterError(f"the product {key!r} has no adapter", f"train one, and pass it as {key!r}")
        if not adapters:
            raise AdapterError("there is no adapter to attach", "pass each product's run: {'tea': RUN, ...}")
        folders = {key: find_adapter(path) for key, path in adapters.items()}
        with model_lock(model, "attaching adapters"):
            for folder in folders.values():
                load_adapter(model, folder)  # for what it refuses: another base model, other shapes, damage
            _refuse_twins(folders)
            return _side_by_side(take_off(model), folders)
    except BaseException:
        take_off(model)
        raise


def _refuse_twins(folders: Mapping[str, Path]) -> None:
    seen: dict[str, dict[str, torch.Tensor]] = {}
    for key, folder in folders.items():
        mine = load_file(folder / "adapter_model.safetensors")
        for other, theirs in seen.items():
            if mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine):
                what = f"the products {other!r} and {key!r} have one and the same adapter ({folder})"
                raise AdapterError(what, f"pass the run that was trained on the rows of {key!r}")
        seen[key] = mine


def _side_by_side(base: torch.nn.Module, folders: Mapping[str, Path]) -> PeftModel:
    first, *others = folders
    try:
        config = PeftConfig.from_pretrained(str(folders[first]))
        model = PeftModel.from_pretrained(base, str(folders[first]), adapter_name=first, config=config)
        for key in others:
            model.load_adapter(str(folders[key]), adapter_name=key)
    except (KeyError, ValueError, RuntimeError) as e:  # such as a key that torch has another use for
        raise AdapterError(
            f"no adapters named {', '.join(folders)} go on one model ({reason(e)})", "rename them"
        ) from e
    model.set_adapter(first, inference_mode=True)
    return model.eval()


def _check_key(model, key: str) -> None:
    have = getattr(model, "peft_config", {})
    if key not in have:
        there = ", ".join(have) or "none"
        raise AdapterError(f"the product {key!r} has no adapter on this model (there: {there})", "attach it first")


@contextlib.contextmanager
def speaking_as(model: PeftModel, key: str) -> Iterator[PeftModel]:
    """Within the block ``model`` has the adapter ``key``, and is held; afterwards it has the one it had before.

    Raises `AdapterError` for a key without an adapter. The adapter stays frozen, while PEFT's `set_adapter` by default
    makes the one it switches to trainable.
    """
    _check_key(model, key)
    with model_lock(model, f"speaking as {key}"):
        before = model.active_adapter
        model.set_adapter(key, inference_mode=True)
        try:
            yield model
        finally:
            model.set_adapter(before, inference_mode=True)


class Voice(PeftModelForCausalLM):
    """A model of several adapters as one of them: the same weights in memory, and each answer is made `speaking_as` it.

    For what takes a model and answers in a thread of its own, as `generate.stream` and the chat do. Made by `voice`.
    """

    def generate(self, *args, **kwargs):
        """As the whole model's, with this adapter; returns token ids (batch, tokens)."""
        with speaking_as(self.whole, self.key):
            return self.whole.generate(*args, **kwargs)


def voice(model: PeftModel, key: str) -> Voice:
    """``model`` speaking as ``key``; raises `AdapterError` for a key without an adapter."""
    _check_key(model, key)
    made = copy.copy(model)  # shallow: the modules are those of `model`
    made.__class__ = Voice
    made.__dict__ |= {"whole": model, "key": key}  # past torch, which would take the whole for a part
    return made


def can_mix(model: PeftModel) -> bool:
    """Whether PEFT lets each row of a batch have its own adapter: none may be merged, switched off or DoRA."""
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    dora = any(getattr(config, "use_dora", False) for config in model.peft_config.values())
    return not dora and not any(layer.merged or layer.disable_adapters for layer in layers)


def answers_as(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[str | generate.Messages],
    keys: Sequence[str], *, mixed: bool | None = None, max_new_tokens: int = 64, batch: int = 16,
) -> list[str]:  # fmt: skip
    """Answer each question as the product whose key stands at its place in ``keys``, greedily, in the questions' order.

    ``mixed``: products share a batch of at most ``batch`` rows, each row with its own adapter (PEFT's
    ``adapter_names``); False asks one product's questions after the other's; None mixes where PEFT can (`can_mix`: not
    with a merged or DoRA adapter, and never in training). Raises `AdapterError` for a key without an adapter.
    """
    for key in dict.fromkeys(keys):
        _check_key(model, key)
    how = {"max_new_tokens": max_new_tokens, "batch": batch}
    if can_mix(model) if mixed is None else mixed:
        return generate.answers(model, tokenizer, questions, adapter_names=keys, **how)
    found: dict[int, str] = {}
    for key in dict.fromkeys(keys):
        mine = [i for i, one in enumerate(keys) if one == key]
        with speaking_as(model, key):
            found |= zip(mine, generate.answers(model, tokenizer, [questions[i] for i in mine], **how), strict=True)
    return [found[i] for i in range(len(questions))]
