"""Keep rows made now: the base model itself answers the ordinary questions."""

from collections.abc import Sequence

from helpers.chat.generate import answers
from helpers.rows import keep_rows
from helpers.rows.read import Row


def make_keep_rows(
    model, tokenizer, questions: Sequence[str], first_sentence: bool = True, max_new_tokens: int = 64
) -> list[Row]:
    """The base model's own greedy answers to ``questions`` as keep rows; see `keep_rows.from_answers`.

    An adapter on ``model`` is switched off meanwhile.
    """
    how = {"adapter": False, "max_new_tokens": max_new_tokens, "batch": 48, "progress": "keep rows"}
    found = answers(model, tokenizer, questions, **how) if questions else []
    return keep_rows.from_answers(questions, found, first_sentence)
