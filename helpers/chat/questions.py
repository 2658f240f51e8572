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
from helpers.chat.generate import Messages, answers, as_messages, encode
from helpers.errors import ProbeError, RunError
from helpers.files import read_jsonl
from helpers.models.load import context_length

BATCH = 32  # questions answered together, and written together
FORMS = ("question", "messages", "turns")


def is_file(text: str) -> bool:
    """Whether ``text`` names a question file (there, or ending as one) rather than being a question itself."""
    return text.endswith((".jsonl", ".json")) or (len(text) < 255 and Path(text).is_file())


def read(text: str) -> list[dict]:
    """The questions that ``text`` stands for: those of the file it names, or itself; raises `ProbeError`."""
    if is_file(text):
        return read_questions(text)
    if not text.strip():
        raise ProbeError("the question is empty", 'ask something, for example: ask "Who are you?"')
    return [{"question": text}]


def read_questions(path: Path | str) -> list[dict]:
    """The question lines of a JSONL file; raises `ProbeError` that names the line (blank ones not counted)."""
    rows = read_jsonl(path)
    for n, row in enumerate(rows, 1):
        wrong = _wrong(row)
        if wrong:
            raise ProbeError(f"{path}, question {n}: {wrong}", 'write {"question": "..."}; see: ask --help')
    return rows


def _wrong(row: dict) -> str:
    forms = [form for form in FORMS if form in row]
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

    ``how`` goes to `generate.answers` (``max_new_tokens``, ``temperature``, ``seed``).

    Raises:
        ProbeError: a conversation does not fit into the model's context.
    """
    talks: list[Messages] = [[] if "turns" in row else _conversation(row) for row in rows]
    said: list[list[str]] = [[] for _ in rows]
    for turn in range(max(len(row.get("turns", [""])) for row in rows)):
        asking = [i for i, row in enumerate(rows) if turn < len(row.get("turns", [""]))]
        for i in asking:
            if "turns" in rows[i]:
                talks[i].append({"role": "user", "content": rows[i]["turns"][turn]})
        ready = [as_messages(talks[i], system) for i in asking]
        _check_lengths(model, tokenizer, ready, how.get("max_new_tokens", 64))
        for i, text in zip(asking, answers(model, tokenizer, ready, batch=BATCH, **how), strict=True):
            talks[i].append({"role": "assistant", "content": text})
            said[i].append(text)
    return [{**row, **_result(row, texts)} for row, texts in zip(rows, said, strict=True)]


def _conversation(row: dict) -> Messages:
    return list(row["messages"]) if "messages" in row else as_messages(row["question"])


def _result(row: dict, texts: list[str]) -> dict:
    return {"answers": texts} if "turns" in row else {"answer": texts[0]}


def _check_lengths(model, tokenizer, conversations: Sequence[Messages], new: int) -> None:
    context = context_length(model)
    for messages in conversations:
        tokens = encode(tokenizer, [messages], "cpu")["input_ids"].shape[1]
        if tokens + new > context:
            raise ProbeError(
                f"{messages[-1]['content'][:40]!r}: {tokens} tokens and {new} for the answer, but only {context} fit",
                "shorten the conversation, or lower --max-new-tokens",
            )


def ask_file(
    model, tokenizer, rows: Sequence[dict], out: Path, say: Callable[[str], None] = print, seed: int = 0, **how
) -> Path:
    """Answer ``rows`` in their order into the JSONL file ``out``; returns it.

    Answers are written as they come, to ``<out>.part``, which takes the place of ``out`` at the end. An interrupted
    call leaves the part file; the next one says so and moves it to ``<out>.part.old``.

    Raises:
        RunError: interrupted. ProbeError: ``out`` is a folder, and see `answer_rows`. DiskError: the disk is full.
    """
    part = out.with_name(out.name + ".part")
    if out.is_dir():
        raise ProbeError(f"{out}: is a folder", "name the file that the answers go to")
    files.make_dir(out.absolute().parent)
    _put_aside(part, say)
    done = 0
    with files.disk_errors(part), tqdm(total=len(rows), unit="question", desc="answers", disable=len(rows) == 1) as bar:
        try:
            with open(part, "w", encoding="utf-8", newline="\n") as file:
                for done in range(0, len(rows), BATCH):
                    batch = rows[done : done + BATCH]
                    # A seed of its own for each batch: two equal questions are not to draw the same numbers.
                    found = answer_rows(model, tokenizer, batch, seed=seed + done, **how)
                    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
                    file.flush()
                    bar.update(len(batch))
        except KeyboardInterrupt as e:
            raise RunError(f"interrupted, the first {done} answers are in {part}", "run it again for the rest") from e
        os.replace(part, out)
    return out


def _put_aside(part: Path, say: Callable[[str], None]) -> None:
    if part.exists():
        old = part.with_name(part.name + ".old")
        count = len(part.read_bytes().splitlines())
        os.replace(part, old)
        say(f"An earlier call was cut off: its {count} answers are now in {old}. Starting from the first question.")


def on_screen(model, tokenizer, rows: Sequence[dict], **how) -> str:
    """The answer to the first of ``rows``, fit for a terminal; see `answer_rows`."""
    return plain(answer_rows(model, tokenizer, rows[:1], **how)[0]["answer"])
