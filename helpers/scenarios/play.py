"""Conversations of a test, played: the pupil's turns are given, the answers between them are the model's own.

With written answers in between, a model would see the manner in its own past and go on with it.
"""

from collections.abc import Iterator, Sequence
from itertools import count

from helpers.chat import generate

LONGEST = 72  # new tokens of an answer


def play(
    model, tokenizer, lines: Sequence[dict], before: generate.Messages = (), *, longest: int = LONGEST, batch: int = 64,
    progress: str = "", **how,
) -> Iterator[dict]:  # fmt: skip
    """Answer each line's conversation turn by turn, greedily: ``id``, ``turn`` (from 1), ``answer`` and ``tokens``.

    ``tokens`` is what the model reads for that answer. Only the last turn's answers come back, but all of "ten turns".
    ``before`` are turns put first, such as a system text; ``how`` goes to `generate.answers`.
    """
    talks = {line["id"]: list(before) for line in lines}
    for turn in count(1):
        now = [line for line in lines if len(line["messages"]) >= turn]
        if not now:
            return
        for line in now:
            talks[line["id"]].append(line["messages"][turn - 1])
        asked = [talks[line["id"]] for line in now]
        how |= {"max_new_tokens": longest, "batch": batch, "progress": progress and f"{progress}, turn {turn}"}
        told = generate.answers(model, tokenizer, asked, **how)
        for line, answer in zip(now, told, strict=True):
            read = generate.count_tokens(tokenizer, generate.render(tokenizer, talks[line["id"]]))
            talks[line["id"]].append({"role": "assistant", "content": answer})
            if line["kind"] == "ten turns" or turn == len(line["messages"]):
                yield {"id": line["id"], "turn": turn, "answer": answer, "tokens": read}
