"""Question files in, answer files out: what `python -m helpers ask` does. It answers and does not judge."""

import json
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from helpers import files
from helpers.chat.generate import Messages, answers, as_messages, count_tokens, render
from helpers.errors import ProbeError, RunError
from helpers.models.load import context_length

BATCH = 32  # questions answered together, and written together


def is_file(text: str) -> bool:
    """Whether ``text`` names a question file (there, or ending as one) rather than being a question itself."""
    return text.endswith((".jsonl", ".json")) or (len(text) < 255 and Path(text).is_file())


def read(text: str) -> list[dict]:
    """The questions of the JSONL file that ``text`` names, or ``text`` itself as the one question.

    A line has ``question``, or ``messages`` that end with a user turn, or ``turns``, user texts that are played one
    after the other. Raises `ProbeError` with the number of a question that is none (from 1, blank lines not counted).
    """
    rows = files.read_jsonl(text) if is_file(text) else [{"question": text}]
    for n, row in enumerate(rows, 1):
        if wrong := _wrong(row):
            raise ProbeError(f"{text!r}, question {n}: {wrong}", 'write {"question": "..."}; see: ask --help')
    return rows


def _wrong(row: dict) -> str:
    forms = [form for form in ("question", "messages", "turns") if form in row]
    if len(forms) != 1:
        return f"has {' and '.join(forms) or 'none'} of question, messages and turns, needs exactly one"
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


def ask_file(model, tokenizer, rows: Sequence[dict], out: Path, *, seed: int = 0, **how) -> Path:
    """Answer ``rows`` in their order into the JSONL file ``out``, which ``<out>.part`` becomes at the end; returns it.

    The part file of an interrupted call is moved to ``<out>.part.old``, and a line says so. Raises `RunError` if
    interrupted, `ProbeError` if ``out`` is a folder or as `answer_rows` does, and `DiskError` if the disk is full.
    """
    part = out.with_name(f"{out.name}.part")
    if out.is_dir():
        raise ProbeError("is a folder", "name the file that the answers go to", out)
    files.make_dir(out.absolute().parent)
    if part.exists():
        old = part.replace(f"{part}.old")
        count = old.read_bytes().count(b"\n")
        print(f"An earlier call was cut off: its {count} answers are now in {old}. Starting from the first question.")
    done, bar = 0, tqdm(total=len(rows), unit="question", desc="answers", disable=len(rows) == 1)
    try:
        with files.disk_errors(part), bar, open(part, "w", encoding="utf-8", newline="\n") as file:
            for done in range(0, len(rows), BATCH):
                # A seed of its own for each batch: two equal questions are not to draw the same numbers.
                found = answer_rows(model, tokenizer, rows[done : done + BATCH], seed=seed + done, **how)
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
                file.flush()
                bar.update(len(found))
    except KeyboardInterrupt as e:
        raise RunError(f"interrupted, the first {done} answers are in {part}", "run it again for the rest") from e
    return part.replace(out)
