"""Question files in, answer files out: what `python -m helpers ask` does. It answers and does not judge.

A line has ``question``, or ``messages`` that end with a user turn, or ``turns``, user texts that are played one after
the other. Every other field is carried through to the answer.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from helpers import files
from helpers.chat.conversation import plain
from helpers.chat.generate import answers, as_messages, count_tokens, render
from helpers.errors import ProbeError, RunError
from helpers.models.load import context_length

BATCH = 32  # questions answered together, and written together


def is_file(text: str) -> bool:
    """Whether ``text`` names a question file (there, or ending as one) rather than being a question itself."""
    return text.endswith((".jsonl", ".json")) or (len(text) < 255 and Path(text).is_file())


def read(text: str) -> list[dict]:
    """The questions of the JSONL file that ``text`` names, or ``text`` itself as the one question.

    Raises `ProbeError` that names the question (from 1, blank lines not counted) if one cannot be asked.
    """
    if not is_file(text):
        if not text.strip():
            raise ProbeError("the question is empty", 'ask something, for example: ask "Who are you?"')
        return [{"question": text}]
    rows = files.read_jsonl(text)
    for n, row in enumerate(rows, 1):
        if wrong := _wrong(row):
            raise ProbeError(f"{text}, question {n}: {wrong}", 'write {"question": "..."}; see: ask --help')
    return rows


def _wrong(row: dict) -> str:
    forms = [form for form in ("question", "messages", "turns") if form in row]
    if len(forms) != 1:
        return f"has {' and '.join(forms) or 'none'} of question, messages and turns, needs exactly one"
    value = row[forms[0]]
    if forms[0] == "question":
        return "" if _is_text(value) else "question is empty or not text"
    if not isinstance(value, list) or not value:
        return f"{forms[0]} is not a list, or an empty one"
    if forms[0] == "turns":
        return "" if all(_is_text(turn) for turn in value) else "a turn is empty or not text"
    roles = [turn.get("role") if isinstance(turn, dict) and _is_text(turn.get("content")) else None for turn in value]
    if not set(roles) <= {"system", "user", "assistant"} or "system" in roles[1:]:
        return "messages need a role (system first, user, assistant) and a content that is text"
    return "" if roles[-1] == "user" else "messages do not end with a user turn"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def answer_rows(model, tokenizer, rows: Sequence[dict], *, system: str | None = None, **how) -> list[dict]:
    """Each row with its ``answer``, or with ``answers`` where it has ``turns``.

    ``how`` goes to `generate.answers`. Raises `ProbeError` if a conversation does not fit into the model's context.
    """
    conversations = [as_messages(row.get("messages") or row.get("question") or row["turns"][0]) for row in rows]
    context, new = context_length(model), how.get("max_new_tokens", 64)
    said: list[list[str]] = [[] for _ in rows]
    asked = list(range(len(rows)))
    while asked:
        ready = [as_messages(conversations[i], system) for i in asked]
        for messages in ready:
            tokens = count_tokens(tokenizer, render(tokenizer, messages))
            if tokens + new > context:
                what = f"{tokens} tokens and {new} for the answer, but only {context} fit"
                cure = "shorten the conversation, or lower --max-new-tokens"
                raise ProbeError(f"{messages[-1]['content'][:40]!r}: {what}", cure)
        for i, text in zip(asked, answers(model, tokenizer, ready, batch=BATCH, **how), strict=True):
            said[i].append(text)
        asked = [i for i in asked if len(said[i]) < len(rows[i].get("turns", [""]))]
        for i in asked:
            conversations[i].append({"role": "assistant", "content": said[i][-1]})
            conversations[i] += as_messages(rows[i]["turns"][len(said[i])])
    return [row | ({"answers": t} if "turns" in row else {"answer": t[0]}) for row, t in zip(rows, said, strict=True)]


def ask_file(
    model, tokenizer, rows: Sequence[dict], out: Path, say: Callable[[str], None] = print, seed: int = 0, **how
) -> Path:
    """Answer ``rows`` in their order into the JSONL file ``out``; returns it.

    Answers are written as they come, to ``<out>.part``, which takes the place of ``out`` at the end. An interrupted
    call leaves the part file; the next one says so and moves it to ``<out>.part.old``.

    Raises:
        RunError: interrupted. ProbeError: ``out`` is a folder, and see `answer_rows`. DiskError: the disk is full.
    """
    part, old = out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.part.old")
    if out.is_dir():
        raise ProbeError("is a folder", "name the file that the answers go to", out)
    files.make_dir(out.absolute().parent)
    if part.exists():
        os.replace(part, old)
        count = old.read_bytes().count(b"\n")
        say(f"An earlier call was cut off: its {count} answers are now in {old}. Starting from the first question.")
    done = 0
    with files.disk_errors(part), tqdm(total=len(rows), unit="question", desc="answers", disable=len(rows) == 1) as bar:
        try:
            with open(part, "w", encoding="utf-8", newline="\n") as file:
                for done in range(0, len(rows), BATCH):
                    # A seed of its own for each batch: two equal questions are not to draw the same numbers.
                    found = answer_rows(model, tokenizer, rows[done : done + BATCH], seed=seed + done, **how)
                    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
                    file.flush()
                    bar.update(len(found))
        except KeyboardInterrupt as e:
            raise RunError(f"interrupted, the first {done} answers are in {part}", "run it again for the rest") from e
        os.replace(part, out)
    return out


def on_screen(model, tokenizer, rows: Sequence[dict], **how) -> str:
    """The answer to the first of ``rows``, fit for a terminal; see `answer_rows`."""
    return plain(answer_rows(model, tokenizer, rows[:1], **how)[0]["answer"])
