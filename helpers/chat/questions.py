"""Question files in, answer files out: what `python -m helpers ask` does. It answers and does not judge."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from helpers import files
from helpers.chat.generate import Messages, answers, as_messages, count_tokens, render
from helpers.errors import DiskError, ProbeError, RunError
from helpers.models.load import base_of, context_length, fingerprint

BATCH = 32  # questions answered together, and written together


def file_named(text: str) -> Path | None:
    """The question file that ``text`` names, or None for a question.

    A file's name ends in .jsonl or .json, and either holds no space or is there; nothing else is taken for one.
    """
    ends = text.lower().endswith((".jsonl", ".json"))
    return Path(text) if ends and (not re.search(r"\s", text) or os.path.exists(text)) else None


def read(source: Path | str) -> list[dict]:
    """The questions of a JSONL file (a path), or a text as the one question.

    A line has ``question``, or ``messages`` that end with a user turn, or ``turns``, user texts that are played one
    after the other. Raises `ProbeError` with the number of a question that is none (from 1, blank lines not counted).
    """
    if isinstance(source, Path) and not os.path.exists(source):
        cure = "check the name; a question that ends like a file's name needs a question mark"
        raise ProbeError("there is no such file", cure, source)
    rows = files.read_jsonl(source) if isinstance(source, Path) else [{"question": source}]
    for n, row in enumerate(rows, 1):
        if wrong := _wrong(row):
            if not isinstance(source, Path):
                raise ProbeError(wrong, "type a question, or name a file of questions")
            cure = 'write {"question": "..."}; more forms: python -m helpers ask --help'
            raise ProbeError(wrong, cure, source, n)
    return rows


def _wrong(row: dict) -> str:
    forms = [form for form in ("question", "messages", "turns") if form in row]
    if len(forms) != 1:
        return f"has {' and '.join(forms) or 'none'}, and needs exactly one of question, messages and turns"
    texts = [row["question"]] if forms == ["question"] else row[forms[0]]
    if not isinstance(texts, list) or not texts:
        return f"{forms[0]} is not a list, or an empty one"
    if forms == ["messages"]:
        roles = [turn.get("role") if isinstance(turn, dict) else None for turn in texts]
        if "system" in roles[1:] or any(role not in ("system", "user", "assistant") for role in roles):
            return "messages need a role: system (only first), user or assistant"
        if roles[-1] != "user":
            return "messages do not end with a user turn"
        texts = [turn.get("content") for turn in texts]
    whole = all(isinstance(text, str) and text.strip() for text in texts)
    return "" if whole else f"the {forms[0].removesuffix('s')} is empty or not text"


def answer_rows(model, tokenizer, rows: Sequence[dict], *, system: str | None = None, **how) -> list[dict]:
    """Each row with its ``answer``, or with ``answers`` where it has ``turns``; ``how`` goes to `generate.answers`.

    Raises `ProbeError` if a conversation does not fit into the model's context.
    """
    turns = [row.get("turns") or [row.get("messages") or row["question"]] for row in rows]
    conversations: list[Messages] = [[] for _ in rows]
    said: list[list[str]] = [[] for _ in rows]
    context, new = context_length(model), how.get("max_new_tokens", 64)
    for n in range(max(map(len, turns), default=0)):
        asked = [i for i, texts in enumerate(turns) if n < len(texts)]
        for i in asked:
            conversations[i] += as_messages(turns[i][n])
        ready = [as_messages(conversations[i], system) for i in asked]
        for messages in ready:
            tokens = count_tokens(tokenizer, render(tokenizer, messages))
            if tokens + new > context:
                what = f"{messages[-1]['content'][:40]!r}: {tokens} tokens and {new} to come, but only {context} fit"
                raise ProbeError(what, "shorten the conversation, or lower --max-new-tokens")
        for i, text in zip(asked, answers(model, tokenizer, ready, batch=BATCH, **how), strict=True):
            said[i].append(text)
            conversations[i].append({"role": "assistant", "content": text})
    return [row | ({"answers": t} if "turns" in row else {"answer": t[0]}) for row, t in zip(rows, said, strict=True)]


def ask_file(
    load: Callable[[], tuple], rows: Sequence[dict], out: Path, *, inputs: Sequence[Path | str | None] = (),
    seed: int = 0, **how,
) -> Path:  # fmt: skip
    """Answer ``rows`` in their order into the JSONL file ``out``; returns it. ``load`` returns model and tokenizer.

    Until all are there, the answers are in ``<out>.part``. If a call was cut off, the same call goes on from there, and
    its answers are those of one that was not. Another call's part file is renamed, and a line says so.

    Raises `DiskError` (see `files.check_output`; ``inputs`` are what is read) or `BusyError` before the model is
    loaded, `RunError` if interrupted, `ProbeError` as `answer_rows` does, and `DiskError` if the disk is full.
    """
    part = files.check_output(out, *inputs).with_name(f"{out.name}.part")
    _check_answers(out)
    files.check_output(part, *inputs)
    with files.locked(out, "writing its answers there"):
        model, tokenizer = load()
        call = _call(model, rows, seed=seed, **how)
        lines = _answered(part, call, len(rows))
        files.write_atomic(part, "".join(f"{line}\n" for line in (call, *lines)))
        done, one = len(lines), len(rows) == 1
        bar = tqdm(total=len(rows), initial=done, unit="question", desc="answers", disable=one)
        try:
            with files.disk_errors(part), bar, open(part, "a", encoding="utf-8", newline="\n") as file:
                for done in range(len(lines), len(rows), BATCH):
                    # A seed of its own for each batch: two equal questions are not to draw the same numbers.
                    drawn = (seed + done) % 2**32
                    found = answer_rows(model, tokenizer, rows[done : done + BATCH], seed=drawn, **how)
                    lines += [json.dumps(row, ensure_ascii=False) for row in found]
                    file.writelines(f"{line}\n" for line in lines[done:])
                    file.flush()
                    bar.update(len(found))
        except KeyboardInterrupt as e:
            what = f"interrupted, the first {done} answers are in {part}"
            raise RunError(what, "type the same command again, which goes on from there") from e
        files.write_atomic(out, "".join(f"{line}\n" for line in lines))
        part.unlink()
    return out


def _check_answers(out: Path) -> None:
    # Answers may be written over by others; anything else, such as a run's manifest, is what somebody did not mean.
    try:
        first = files.read_jsonl(out)[0] if out.exists() and out.stat().st_size else {"answer": ""}
    except ProbeError:
        first = {}
    if not {"answer", "answers"} & first.keys():
        raise DiskError(f"{out}: holds something else than answers, and would be lost", "choose the name of a new file")


def _call(model, rows: Sequence[dict], **how) -> str:
    # The first line of a part file: a hash of all that the answers depend on.
    served, base = hasattr(model, "served_pieces"), base_of(model)
    weights = hashlib.sha256((model.fingerprint if served else fingerprint(model)).encode())
    for name, weight in () if served else sorted(model.state_dict().items()):
        if "lora_" in name:
            weights.update(weight.float().cpu().numpy().tobytes())
    where = [str(base.device), "" if served else str(base.dtype), torch.__version__]
    told = [list(rows), how, BATCH, weights.hexdigest(), where]
    return json.dumps({"call": hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()})


def _answered(part: Path, call: str, total: int) -> list[str]:
    # What an earlier run of the same ``call`` wrote: whole batches, since the others would draw other numbers.
    if not part.exists():
        return []
    first, *lines = part.read_bytes().decode("utf-8", "replace").split("\n")[:-1] or [""]  # a last one may be torn
    if first == call:
        kept = lines if len(lines) == total else lines[: len(lines) // BATCH * BATCH]
        print(f"An earlier call was cut off: going on after its first {len(kept)} answers.")
        return kept
    old = part.replace(files.free(Path(f"{part}.old")))
    print(f"{part} holds answers of another call: it is now {old}. Starting from the first question.")
    return []
