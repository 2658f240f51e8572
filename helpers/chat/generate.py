"""From messages to answers: the chat template, batched answers, streamed answers that can be stopped.

Greedy decoding unless asked otherwise, so the same weights give the same answer. Nothing here judges an answer.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence

import torch
from tqdm import tqdm
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
)

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


def _config(model, tokenizer, max_new_tokens: int, temperature: float | None) -> GenerationConfig:
    sampling = {"temperature": temperature, "top_p": 1.0, "top_k": 0} if temperature else {}
    eos = model.generation_config.eos_token_id
    eos = tokenizer.eos_token_id if eos is None else eos
    # A model's own generation settings (Qwen's repetition penalty, for one) would make greedy answers not greedy.
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        eos_token_id=eos,
        pad_token_id=tokenizer.pad_token_id,
        repetition_penalty=1.0,
        do_sample=bool(temperature),
        **sampling,
    )


def encode(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Messages], device) -> dict[str, torch.Tensor]:
    """Token ids and attention mask of shape (batch, tokens), padded on the left so that answers start together."""
    texts = [render(tokenizer, messages) for messages in conversations]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    return {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}


def answers(
    model,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str | Messages],
    *,
    system: str | None = None,
    adapter: bool = True,
    max_new_tokens: int = 64,
    batch: int = 16,
    temperature: float | None = None,
    seed: int = 0,
    progress: str = "",
) -> list[str]:
    """Answer many questions, in batches sorted by length; the answers come in the order of the questions.

    Args:
        questions: plain texts, or conversations that end with a user turn.
        system: see `as_messages`.
        adapter: False answers with the base model under the adapter.
        batch: conversations at once at most (fewer if they are long). In float32 the answers do not depend on it.
        temperature: None for greedy decoding; otherwise samples with ``seed``.
        progress: label of a progress bar; empty for none.
    """
    conversations = [as_messages(q, system) for q in questions]
    order = sorted(range(len(conversations)), key=lambda i: -len(render(tokenizer, conversations[i])))
    config = _config(model, tokenizer, max_new_tokens, temperature)
    found = [""] * len(conversations)
    bar = tqdm(total=len(order), desc=progress, unit="answer", disable=not progress, leave=False)
    with (
        model_lock(model, "answering a list of questions"),
        adapter_off(model, not adapter),
        _seeded(config, seed),
        bar,
    ):
        for part in _batches(order, conversations, tokenizer, batch, TOKENS_AT_ONCE[model.device.type]):
            texts = _answer_batch(model, tokenizer, [conversations[i] for i in part], config)
            for i, text in zip(part, texts, strict=True):
                found[i] = text
            bar.update(len(part))
    return found


def _batches(order: list[int], conversations, tokenizer, batch: int, tokens: int) -> Iterator[list[int]]:
    # Longest first, so the first of a batch says how wide it is padded. Long prompts go in smaller batches: the keys
    # and values of 16 conversations of 400 tokens alone would take 300 MB of the embedded model's memory.
    while order:
        width = len(tokenizer(render(tokenizer, conversations[order[0]]), add_special_tokens=False)["input_ids"])
        size = max(1, min(batch, tokens // width))
        yield order[:size]
        order = order[size:]


@contextlib.contextmanager
def _seeded(config: GenerationConfig, seed: int) -> Iterator[None]:
    with torch.random.fork_rng(enabled=config.do_sample):  # the caller's random state stays as it was
        if config.do_sample:
            torch.manual_seed(seed)
        yield


@torch.no_grad()
def _answer_batch(model, tokenizer, conversations: Sequence[Messages], config: GenerationConfig) -> list[str]:
    inputs = encode(tokenizer, conversations, model.device)
    was_training = model.training
    model.eval()
    try:
        output = model.generate(**inputs, generation_config=config)
    finally:
        model.train(was_training)
    new = output[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


class _StopWhen(StoppingCriteria):
    def __init__(self, event: threading.Event):
        self.event = event

    def __call__(self, input_ids, scores, **kwargs):
        return torch.full((input_ids.shape[0],), self.event.is_set(), device=input_ids.device, dtype=torch.bool)


class _Stopped(Exception):
    """The reader no longer wants the answer."""


@contextlib.contextmanager
def _as_asked(model, adapter: bool, strength: float, stop: threading.Event) -> Iterator[None]:
    # A stopping criterion is heard once a token, but reading a long prompt takes seconds before the first: so every
    # linear layer looks, too. Only this thread's passes go by the event; nobody else has the model meanwhile.
    def look(*_) -> None:
        if stop.is_set():
            raise _Stopped

    layers = [m for m in base_of(model).modules() if isinstance(m, torch.nn.Linear)]
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        with adapter_off(model, not adapter), adapter_scaled(model, strength):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def stream(
    model,
    tokenizer: PreTrainedTokenizerBase,
    question: str | Messages,
    *,
    system: str | None = None,
    adapter: bool = True,
    max_new_tokens: int = 128,
    temperature: float | None = None,
    stop: threading.Event | None = None,
    wait: bool = True,
    strength: float = 1.0,
) -> Iterator[str]:
    """Answer one conversation piece by piece. Set ``stop`` (or leave the loop) to end it at the next layer.

    Generation runs in a thread of its own; an exception there is raised here, where the text is read. That thread
    takes the model's lock: do not hold it around this. ``strength`` scales the adapter, for this answer alone.

    Raises:
        BusyError: at once, if the model is in use and ``wait`` is False.
    """
    stop = stop or threading.Event()
    inputs = encode(tokenizer, [as_messages(question, system)], model.device)
    config = _config(model, tokenizer, max_new_tokens, temperature)
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    failure: list[BaseException] = []

    def work() -> None:
        try:
            with model_lock(model, "a chat answer", wait), _as_asked(model, adapter, strength, stop), torch.no_grad():
                criteria = StoppingCriteriaList([_StopWhen(stop)])
                model.generate(**inputs, generation_config=config, streamer=streamer, stopping_criteria=criteria)
        except _Stopped:
            streamer.end()
        except BaseException as e:
            failure.append(e)
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


@torch.no_grad()
def mean_logprob(
    model, tokenizer: PreTrainedTokenizerBase, question: str | Messages, answer: str, system: str | None = None
) -> float:
    """Mean natural-log probability a token that the model gives ``answer`` after ``question`` (0 is certainty)."""
    prompt = render(tokenizer, as_messages(question, system))
    start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    ids = tokenizer(prompt + answer, return_tensors="pt", add_special_tokens=False)["input_ids"].to(model.device)
    logits = model(input_ids=ids).logits[0, start - 1 : -1].float()  # (answer tokens, vocabulary)
    return torch.log_softmax(logits, -1).gather(1, ids[0, start:, None]).mean().item()
