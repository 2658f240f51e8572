"""From messages to answers: the chat template, batched answers, streamed answers that can be stopped.

Greedy decoding unless asked otherwise, so the same weights give the same answer. Nothing here judges an answer.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence

import torch
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedTokenizerBase, TextIteratorStreamer

from helpers.models.adapters import adapter_off, adapter_scaled, model_lock
from helpers.models.load import base_of

Messages = list[dict[str, str]]
TOKENS_AT_ONCE = {"cpu": 2048, "cuda": 32768, "mps": 2048}  # prompt tokens in a batch


def as_messages(question: str | Messages, system: str | None = None) -> Messages:
    """A conversation from a question or from earlier turns, with ``system`` put first.

    ``system=None`` adds nothing (the chat template's own default then applies), ``""`` an empty system text.
    A system turn that the conversation already has is replaced only if ``system`` is given.
    """
    messages = [{"role": "user", "content": question}] if isinstance(question, str) else list(question)
    if system is None:
        return messages
    if messages and messages[0]["role"] == "system":
        messages = messages[1:]
    return [{"role": "system", "content": system}, *messages]


def render(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> str:
    """The text that the model really reads, template and all, ending where its answer begins."""
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def count_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """The number of tokens of a text that `render` made, or of a part of one."""
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _encode(tokenizer, texts: list[str], device) -> dict[str, torch.Tensor]:
    # Shape (batch, tokens), padded on the left so that the answers start together.
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    return {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}


def _config(model, tokenizer, max_new_tokens: int, temperature: float | None) -> GenerationConfig:
    # A model's own generation settings (Qwen's repetition penalty, for one) would make greedy answers not greedy.
    how = {"max_new_tokens": max_new_tokens, "repetition_penalty": 1.0, "do_sample": bool(temperature)}
    if temperature:
        how |= {"temperature": temperature, "top_p": 1.0, "top_k": 0}
    eos = model.generation_config.eos_token_id
    eos = tokenizer.eos_token_id if eos is None else eos
    return GenerationConfig(eos_token_id=eos, pad_token_id=tokenizer.pad_token_id, **how)


def answers(
    model, tokenizer: PreTrainedTokenizerBase, questions: Sequence[str | Messages], *, system: str | None = None,
    adapter: bool = True, max_new_tokens: int = 64, batch: int = 16, temperature: float | None = None, seed: int = 0,
    progress: str = "",
) -> list[str]:  # fmt: skip
    """Answer many questions, in batches sorted by length; the answers come in the order of the questions.

    Args:
        questions: plain texts, or conversations that end with a user turn.
        system: see `as_messages`.
        adapter: False answers with the base model under the adapter.
        batch: conversations at once at most (fewer if they are long). In float32 the answers do not depend on it.
        temperature: None for greedy decoding; otherwise samples with ``seed``.
        progress: label of a progress bar; empty for none.
    """
    texts = [render(tokenizer, as_messages(question, system)) for question in questions]
    config = _config(model, tokenizer, max_new_tokens, temperature)
    found: dict[int, str] = {}
    with (
        model_lock(model, "answering a list of questions"),
        adapter_off(model, not adapter),
        torch.random.fork_rng(enabled=config.do_sample),  # the caller's random state stays as it was
        tqdm(total=len(texts), desc=progress, unit="answer", disable=not progress, leave=False) as bar,
    ):
        if config.do_sample:
            torch.manual_seed(seed)
        for part in _batches(texts, tokenizer, batch, TOKENS_AT_ONCE[model.device.type]):
            said = _answer_batch(model, tokenizer, [texts[i] for i in part], config)
            found.update(zip(part, said, strict=True))
            bar.update(len(part))
    return [found[i] for i in range(len(texts))]


def _batches(texts: list[str], tokenizer, batch: int, tokens: int) -> Iterator[list[int]]:
    # Longest first, so the first of a batch says how wide it is padded. Long prompts go in smaller batches: the keys
    # and values of 16 conversations of 400 tokens alone would take 300 MB of the embedded model's memory.
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    while order:
        size = max(1, min(batch, tokens // count_tokens(tokenizer, texts[order[0]])))
        yield order[:size]
        order = order[size:]


def _answer_batch(model, tokenizer, texts: list[str], config: GenerationConfig) -> list[str]:
    inputs = _encode(tokenizer, texts, model.device)
    was_training = model.training
    model.eval()
    try:
        output = model.generate(**inputs, generation_config=config)
    finally:
        model.train(was_training)
    new = output[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


def stream(
    model, tokenizer: PreTrainedTokenizerBase, question: str | Messages, *, system: str | None = None,
    adapter: bool = True, max_new_tokens: int = 128, temperature: float | None = None,
    stop: threading.Event | None = None, wait: bool = True, strength: float = 1.0,
) -> Iterator[str]:  # fmt: skip
    """Answer one conversation piece by piece. Set ``stop`` (or leave the loop) to end it at the next layer.

    Generation runs in a thread of its own, which takes the model's lock: do not hold it around this. What fails there
    is raised here, such as `BusyError` if the model is in use and ``wait`` is False. ``strength`` scales the adapter.
    """
    stop = stop or threading.Event()
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
    finally:
        stop.set()
        thread.join()
    if failure:
        raise failure[0]


@contextlib.contextmanager
def _as_asked(model, adapter: bool, strength: float, stop: threading.Event) -> Iterator[None]:
    # A stopping criterion is asked once a token, but reading a long prompt takes seconds before the first: so every
    # linear layer looks. Only this thread's passes go by the event; nobody else has the model meanwhile.
    def look(*_) -> None:
        if stop.is_set():
            raise InterruptedError("the reader no longer wants the answer")

    with contextlib.suppress(InterruptedError), contextlib.ExitStack() as stack:
        stack.enter_context(adapter_off(model, not adapter))
        stack.enter_context(adapter_scaled(model, strength))
        for layer in base_of(model).modules():
            if isinstance(layer, torch.nn.Linear):
                stack.enter_context(layer.register_forward_pre_hook(look))
        yield


@torch.no_grad()
def mean_logprob(
    model, tokenizer: PreTrainedTokenizerBase, question: str | Messages, answer: str, system: str | None = None
) -> float:
    """Mean natural-log probability a token that the model gives ``answer`` after ``question`` (0 is certainty)."""
    prompt = render(tokenizer, as_messages(question, system))
    ids = _encode(tokenizer, [prompt + answer], model.device)["input_ids"]
    start = count_tokens(tokenizer, prompt)
    logits = model(input_ids=ids).logits[0, start - 1 : -1].float()  # (answer tokens, vocabulary)
    return torch.log_softmax(logits, -1).gather(1, ids[0, start:, None]).mean().item()
