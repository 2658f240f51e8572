"""Which tokens of a row are trained, as pieces of text: the prompt is read, the answer and its end are learned."""

from helpers import generate
from helpers.rows import Row, question_of


def pieces(row: Row, tokenizer) -> list[tuple[str, bool]]:
    """(text, whether it is trained) for every token of the row as the model reads it, template and all.

    As with TRL's prompt and completion columns: the loss falls on the answer and its end token alone.
    """
    prompt = generate.render(tokenizer, generate.as_messages(question_of(row)))
    both = [*generate.as_messages(question_of(row)), {"role": "assistant", "content": row["output"]}]
    whole = tokenizer.apply_chat_template(both, tokenize=False)
    read = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    every = tokenizer(whole, add_special_tokens=False)["input_ids"]
    return [(tokenizer.decode([token]), i >= len(read)) for i, token in enumerate(every)]
