"""The base model's greedy answers that are shipped: the same for everybody, so that nobody has to wait for them.

They belong to one set of weights, known by its fingerprint, and to one question and length. `python -m study base`
made them (float32, two CPU cores). Whoever uses them asks a few again and says how many came out the same.
"""

import hashlib
from collections.abc import Sequence
from functools import cache

from helpers import files
from helpers.chat import generate
from helpers.models.load import same_base, spec_of

AGAIN = 5  # how many shipped answers are asked again


def key(tokenizer, question: str | generate.Messages, max_new_tokens: int) -> str:
    """What an answer belongs to: a hash of the text that the model reads, and the length."""
    text = generate.render(tokenizer, generate.as_messages(question))
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}-{max_new_tokens}"


def path_for(name: str):
    """The file of shipped answers of the model ``name`` (`ModelSpec.key`)."""
    return files.data_dir() / "base_answers" / f"{name}.jsonl"


@cache
def _shipped(name: str) -> tuple[str, dict[str, str]]:
    # The fingerprint of the weights that gave the answers, and the answers by `key`.
    path = path_for(name)
    first, *rows = files.read_jsonl(path) if path.exists() else [{"fingerprint": ""}]
    return first["fingerprint"], {row["key"]: row["answer"] for row in rows}


def base_answers(
    model, tokenizer, questions: Sequence[str | generate.Messages], max_new_tokens: int = 64, **how
) -> tuple[list[str], str]:
    """The base model's greedy answers, shipped where they are, else made now; and a line that says which.

    Of the shipped ones `AGAIN`, spread evenly, are asked again. If most of them come out otherwise here, all are made
    now. ``how`` goes to `generate.answers`.
    """
    how = {**how, "adapter": False, "max_new_tokens": max_new_tokens}
    made_by, shipped = _shipped(spec_of(model).key)
    keys = [key(tokenizer, question, max_new_tokens) for question in questions]
    known = [i for i, one in enumerate(keys) if one in shipped] if made_by and same_base(model, made_by) else []
    again = [known[(2 * n + 1) * len(known) // (2 * AGAIN)] for n in range(AGAIN)] if len(known) > AGAIN else []
    now = generate.answers(model, tokenizer, [questions[i] for i in again], **how)
    same = sum(answer == shipped[keys[i]] for i, answer in zip(again, now, strict=True))
    known = set(known) if 2 * same > len(again) else set()
    missing = [i for i in range(len(keys)) if i not in known]
    made = dict(zip(missing, generate.answers(model, tokenizer, [questions[i] for i in missing], **how), strict=True))
    told = [made[i] if i in made else shipped[one] for i, one in enumerate(keys)]
    said = f"{len(known)} of {len(keys)} answers of the base model are the shipped ones, {len(made)} were made now"
    return told, f"{said}; {len(again)} shipped ones asked again: {same} the same" if again else said
