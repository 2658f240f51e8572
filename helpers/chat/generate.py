"""From messages to answers: the chat template, batched answers, streamed answers that can be stopped. No judging."""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import chain

import jinja2
import torch
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedTokenizerBase, TextIteratorStreamer

from helpers.errors import ModelError
from helpers.models.adapters import adapter_scaled, model_lock
from helpers.models.load import base_of
from helpers.models.template import spoken, stops

Messages = list[dict[str, str]]
UNSPOKEN = "the model was still thinking after {} tokens"
TOKENS_AT_ONCE = {"cpu": 2048, "cuda": 32768, "mps": 2048}  # prompt tokens in a batch


def as_messages(question: str | Messages, system: str | None = None) -> Messages:
    """A conversation from a question or from earlier turns, with ``system`` put first in the place of a former one.

    ``system=None`` changes nothing (without a system turn the chat template's default applies), ``""`` is an empty one.
    """
    messages = [{"role": "user", "content": question}] if isinstance(question, str) else list(question)
    if system is None:
        return messages
    return [{"role": "system", "content": system}, *(turn for turn in messages if turn["role"] != "system")]


def render(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> str:
    """The text that the model really reads, template and all, ending where its answer begins.

    Raises `ModelError` for a conversation that the chat template refuses.
    """
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except jinja2.TemplateError as e:
        turns = ", ".join(turn["role"] for turn in messages)
        cure = "let user and assistant take turns, from a user's turn to a user's turn"
        raise ModelError(f"the model's chat template refuses the turns {turns} ({str(e)[:200]})", cure) from e


def count_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """The number of tokens of a text that `render` made, or of a part of one."""
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _encode(tokenizer, texts: list[str], device) -> dict[str, torch.Tensor]:
    # Shape (batch, tokens), padded on the left so that the answers start together.
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    return {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}


def _config(model, tokenizer, max_new_tokens: int, temperature: float | None) -> GenerationConfig:
    # A model's own generation settings (Qwen's repetition penalty, for one) would make greedy answers not greedy.
    how = {"temperature": temperature, "top_p": 1.0, "top_k": 0} if temperature else {}
    how |= {"max_new_tokens": max_new_tokens, "repetition_penalty": 1.0, "do_sample": bool(temperature)}
    how["eos_token_id"] = stops(model, tokenizer)
    return GenerationConfig(pad_token_id=tokenizer.pad_token_id, **how)


def answers(
    model, tokenizer: PreTrainedTokenizerBase, questions: Sequence[str | Messages], *, system: str | None = None,
    adapter: bool = True, max_new_tokens: int = 64, batch: int = 16, temperature: float | None = None, seed: int = 0,
    progress: str = "", adapter_names: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """Answer many questions in the order they have: plain texts, or conversations that end with a user turn.

    ``system`` is that of `as_messages`; ``adapter`` False answers with the base model under the adapter. ``batch``
    conversations at most are answered at once; in float32 the answers do not depend on it. Decoding is greedy, or
    samples with ``seed`` at a ``temperature``. ``progress`` is the label of a progress bar, empty for none.
    ``adapter_names`` gives each question its own adapter of a model that carries several, side by side in a batch.
    A model that another program runs (`export.runtime`) brings ``served_pieces`` and is asked through it, one by one.
    What a model thinks before its answer is left out; an answer that ends in a thought is empty, and a line says so.
    """
    if hasattr(model, "served_pieces"):
        how = {"strength": float(adapter), "max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
        asked = tqdm([as_messages(q, system) for q in questions], progress, disable=not progress, leave=False)
        with model_lock(model, "answering a list of questions"):
            return _spoken(["".join(model.served_pieces(q, **how, fresh=True)) for q in asked], max_new_tokens)
    texts = [render(tokenizer, as_messages(question, system)) for question in questions]
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))  # a batch is padded to its first, the longest
    config, found = _config(model, tokenizer, max_new_tokens, temperature), {}
    with (
        model_lock(model, "answering a list of questions"),
        adapter_scaled(model, 1.0 if adapter else 0.0),
        torch.random.fork_rng(enabled=config.do_sample),  # the caller's random state stays as it was
        ExitStack() as afterwards,
        tqdm(total=len(texts), desc=progress, unit="answer", disable=not progress, leave=False) as bar,
    ):
        afterwards.callback(model.train, model.training)
        model.eval()
        if config.do_sample:
            torch.manual_seed(seed)
        while order:
            # The keys and values of 16 conversations of 400 tokens would take 300 MB of the embedded model's memory.
            size = max(1, min(batch, TOKENS_AT_ONCE[model.device.type] // count_tokens(tokenizer, texts[order[0]])))
            part, order = order[:size], order[size:]
            inputs = _encode(tokenizer, [texts[i] for i in part], model.device)
            names = {"adapter_names": [adapter_names[i] for i in part]} if adapter_names else {}
            new = model.generate(**inputs, **names, generation_config=config)[:, inputs["input_ids"].shape[1] :]
            found |= zip(part, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True)
            bar.update(len(part))
    return _spoken([found[i] for i in range(len(texts))], max_new_tokens)


def _spoken(found: list[str], longest: int) -> list[str]:
    told = [spoken(text).strip() for text in found]
    if silent := sum(not said and bool(text.strip()) for said, text in zip(told, found, strict=True)):
        tqdm.write(f"{silent} of {len(told)} answers are empty: {UNSPOKEN.format(longest)}", file=sys.stderr)
    return told


def stream(
    model, tokenizer: PreTrainedTokenizerBase, question: str | Messages, *, system: str | None = None,
    adapter: bool = True, max_new_tokens: int = 128, temperature: float | None = None,
    stop: threading.Event | None = None, wait: bool = True, strength: float = 1.0,
) -> Iterator[str]:  # fmt: skip
    """Answer one conversation piece by piece. Set ``stop`` (or leave the loop) to end it at the next layer.

    Generation runs in a thread of its own, which takes the model's lock: do not hold it around this. What fails there
    is raised here, such as `BusyError` if the model is in use and ``wait`` is False. ``strength`` scales the adapter.
    What a model thinks before its answer is left out; raises `ModelError` if it has thought, and not answered.
    """
    stop = stop or threading.Event()
    how = {"system": system, "adapter": adapter, "temperature": temperature, "wait": wait, "strength": strength}
    text = said = ""
    with closing(_pieces(model, tokenizer, question, stop=stop, max_new_tokens=max_new_tokens, **how)) as pieces:
        for piece in chain(pieces, [""]):  # at the end what was held back
            text += piece
            before, said = said, spoken(text, whole=not piece)
            if new := said.removeprefix(before):
                yield new
    if text.strip() and not said.strip() and not stop.is_set():
        raise ModelError(UNSPOKEN.format(max_new_tokens), "allow longer answers (max_new_tokens, --max-new-tokens)")


def _pieces(
    model, tokenizer, question, *, system, adapter, max_new_tokens, temperature, stop, wait, strength
) -> Iterator[str]:  # fmt: skip
    if hasattr(model, "served_pieces"):
        how = {"max_new_tokens": max_new_tokens, "temperature": temperature, "stop": stop}
        with model_lock(model, "a chat answer", wait):
            yield from model.served_pieces(as_messages(question, system), strength=strength if adapter else 0.0, **how)
        return
    inputs = _encode(tokenizer, [render(tokenizer, as_messages(question, system))], model.device)
    config = _config(model, tokenizer, max_new_tokens, temperature)
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    failure: list[BaseException] = []

    def work() -> None:
        try:
            with model_lock(model, "a chat answer", wait), _as_asked(model, adapter, strength, stop):
                model.generate(**inputs, generation_config=config, streamer=streamer)
        except BaseException as e:
            failure.append(e)
        finally:
            streamer.end()

    thread = threading.Thread(target=work, daemon=True, name="answer")
    thread.start()
    try:
        yield from (piece for piece in streamer if piece)
    except BaseException:  # the reader left
        stop.set()
        raise
    finally:
        thread.join()
    if failure:
        raise failure[0]


@contextmanager
def _as_asked(model, adapter: bool, strength: float, stop: threading.Event) -> Iterator[None]:
    # A stopping criterion is asked once a token, but reading a long prompt takes seconds before the first: so every
    # linear layer looks. Only this thread's passes go by the event; nobody else has the model meanwhile.
    def look(*_) -> None:
        if stop.is_set():
            raise InterruptedError("the reader no longer wants the answer")

    scaled = adapter_scaled(model, strength if adapter else 0.0)
    with suppress(InterruptedError), scaled, ExitStack() as hooks:
        for layer in base_of(model).modules():
            if isinstance(layer, torch.nn.Linear):
                hooks.enter_context(layer.register_forward_pre_hook(look))
        yield


@torch.no_grad()
def mean_logprob(model, tokenizer: PreTrainedTokenizerBase, question: str | Messages, answer: str) -> float:
    """Mean natural-log probability a token that the model gives ``answer`` after ``question`` (0 is certainty)."""
    prompt = render(tokenizer, as_messages(question))
    ids = _encode(tokenizer, [prompt + answer], model.device)["input_ids"]
    start = count_tokens(tokenizer, prompt)
    logits = model(input_ids=ids).logits[0, start - 1 : -1].float()  # (answer tokens, vocabulary)
    return torch.log_softmax(logits, -1).gather(1, ids[0, start:, None]).mean().item()
