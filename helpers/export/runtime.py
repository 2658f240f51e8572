"""llama.cpp as a wheel (`xllamacpp`): a GGUF file served in this process by an OpenAI-compatible server.

A `Served` model goes wherever a loaded one goes that only answers: `chat.generate`, the chat boxes, `measure.probes`.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import torch

from helpers.errors import ExportError, ResourceError
from helpers.models import machine

CONTEXT = 2048  # tokens
INSTALL = 'python -m pip install -c constraints.txt -e ".[export]"'


def _library():
    try:
        import xllamacpp
    except ImportError as e:
        raise ResourceError("running a GGUF file needs the package xllamacpp, which is not installed", INSTALL) from e
    return xllamacpp


def _check(path: Path | str) -> str:
    try:
        with open(path, "rb") as f:
            reason = "" if f.read(4) == b"GGUF" else "this is no GGUF file"
    except OSError as e:
        reason = e.strerror
    if reason:
        raise ExportError(
            f"{path}: {reason}", "write one: python -m helpers export data/reference --to gguf --out out/tavi"
        )
    return str(path)


def _check_port(port: int) -> None:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as e:
        raise ExportError(f"port {port} of this machine is taken", "choose another: --port 8081, or 0 for any") from e


class Served(contextlib.AbstractContextManager):
    """A GGUF file at ``address``, with ``adapter`` (another file) beside it if given. Close it, or use it in a `with`.

    It stands for the model and, in ``tokenizer``, for its tokenizer. ``template`` replaces the chat template in the
    file: a Jinja text, or a name that llama.cpp knows. ``speed`` is the tokens a second of all answers so far. Raises
    `ExportError` for a file that cannot be served or a ``port`` that is taken (0: any that is free), and
    `ResourceError` where the runtime is not installed.
    """

    def __init__(self, path: Path | str, adapter: Path | str | None = None, port: int = 0, template: str = ""):
        library = _library()
        how = library.CommonParams()
        how.model.path = _check(path)
        if adapter:
            how.lora_adapters = [library.CommonAdapterLoraInfo(_check(adapter), 1.0)]
            self.disable_adapter = True  # what the chat boxes look for: they show a switch
        _check_port(port)
        sources = [Path(file).resolve() for file in (path, adapter) if file]
        self.fingerprint = str([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in sources])
        how.port, how.n_ctx, how.n_parallel, how.cache_ram_mib, how.ui, how.verbosity = port, CONTEXT, 1, 0, False, -1
        how.cache_type_k = how.cache_type_v = library.ggml_type.GGML_TYPE_F32  # as exact as transformers'
        how.cpuparams.n_threads = how.cpuparams_batch.n_threads = machine.set_threads()
        if template:
            how.chat_template = template
        try:
            self._server = library.Server(how)
        except RuntimeError as e:
            cure = "mend the template" if template else "export it again, base and adapter together"
            raise ExportError(f"llama.cpp cannot serve {path}{f' with {adapter}' if adapter else ''}", cure) from e
        self.address, self.port = self._server.listening_address, int(self._server.listening_address.rpartition(":")[2])
        once = httpx.Limits(max_keepalive_connections=0)  # the server hangs up after a stream, at times too late to see
        self._client = httpx.Client(base_url=self.address, timeout=600, trust_env=False, limits=once)
        self.tokenizer, self.tokens, self.seconds = _Tokenizer(self), 0, 0.0
        self.device, self.config = torch.device("cpu"), SimpleNamespace(max_position_embeddings=CONTEXT)

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server and give its memory back."""
        self._client.close()
        self._server = None

    @property
    def speed(self) -> float:
        """Tokens a second while answering, the reading of the questions left out; 0 before the first answer."""
        return self.tokens / self.seconds if self.seconds else 0.0

    def ask(self, path: str, **body) -> dict:
        """What the server returns for a JSON ``body`` posted to ``path``; raises `ExportError` with its reason."""
        reply = self._client.post(path, json=body)
        if reply.is_error:
            raise ExportError(f"the server refused ({reply.text[:200]})", "shorten the question, or start it again")
        return reply.json()

    def served_pieces(
        self, messages: list[dict], *, strength: float = 1.0, max_new_tokens: int = 64,
        temperature: float | None = None, seed: int = 0, stop: threading.Event | None = None, fresh: bool = False,
    ) -> Iterator[str]:  # fmt: skip
        """Answer one conversation piece by piece; what `chat.generate` calls. ``fresh`` reads it all anew.

        ``strength`` is how much an adapter beside the model counts in this one request.
        """
        sent = [{"role": turn["role"], "content": turn["content"]} for turn in messages]
        body = {"messages": sent, "max_tokens": max_new_tokens, "temperature": temperature or 0.0, "stream": True}
        body |= {"seed": seed, "cache_prompt": not fresh, "timings_per_token": True}
        body |= {"top_p": 1.0, "top_k": 0, "min_p": 0.0} if temperature else {}
        body |= {"lora": [{"id": 0, "scale": strength}]} if hasattr(self, "disable_adapter") else {}
        timing = {}
        with self._client.stream("POST", "/v1/chat/completions", json=body) as reply:
            if reply.is_error:
                raise ExportError(f"the server refused ({reply.read().decode()[:200]})", "shorten the question")
            with contextlib.closing(reply.iter_lines()) as lines:
                for line in lines:
                    if stop and stop.is_set():
                        break
                    if line.startswith("data: {"):
                        told = json.loads(line[6:])
                        if "error" in told:
                            raise ExportError(f"the server broke off ({str(told['error'])[:200]})", "ask again")
                        timing = told.get("timings") or timing
                        if piece := (told["choices"][0]["delta"].get("content") if told.get("choices") else None):
                            yield piece
        self.tokens += timing.get("predicted_n", 0)
        self.seconds += timing.get("predicted_ms", 0.0) / 1000


class _Tokenizer:
    """The tokenizer and the chat template in the file, as the server uses them."""

    def __init__(self, served: Served):
        self.served = served

    def apply_chat_template(self, messages: list[dict], **_) -> str:
        """The text that the server makes of ``messages``."""
        return self.served.ask("/apply-template", messages=messages)["prompt"]

    def __call__(self, text: str, **_) -> dict[str, list[int]]:
        """The tokens of ``text``, special ones included where their names stand in it."""
        found = self.served.ask("/tokenize", content=text, add_special=False, parse_special=True)["tokens"]
        return {"input_ids": found}
