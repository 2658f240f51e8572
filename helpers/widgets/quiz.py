"""A notebook's questions of understanding: one click an answer, which then says why it is right or wrong.

The questions are in ``data/quiz``. Nothing is stored: a quiz is for the reader alone.
"""

import json
from dataclasses import dataclass
from functools import partial

import ipywidgets as widgets

from helpers import files
from helpers.errors import HelpersError
from helpers.widgets.shell import Box, button, reach_a_busy_kernel
from helpers.widgets.transcript import escaped


@dataclass(frozen=True)
class Question:
    """A question, its answers, which of them (counted from 0) is right, and for each why it is or is not."""

    text: str
    answers: tuple[str, ...]
    right: int
    why: tuple[str, ...]


def read(name: str) -> list[Question]:
    """The questions of the notebook that begins with ``name`` ("03"); raises `HelpersError` for a broken file."""
    path, found = files.data_dir() / "quiz" / f"{name}.json", []
    if not path.exists():
        have = ", ".join(sorted(other.stem for other in path.parent.glob("*.json")))
        raise HelpersError(f"there is no quiz {name!r}", f"choose from: {have}")
    try:
        for line in json.loads(files.read_text(path)):
            texts, why = zip(*((answer["text"], answer["why"]) for answer in line["answers"]), strict=True)
            [right] = [i for i, answer in enumerate(line["answers"]) if answer["right"]]
            found.append(Question(line["question"], texts, right, why))
    except (ValueError, KeyError, TypeError) as e:
        cure = "give each question answers with text, right and why, and mark one of them as right"
        raise HelpersError(f"{path}: not a quiz ({e})", cure) from e
    return found


class QuizBox(Box):
    """Questions with a button for each answer; ``first`` keeps whether each one's first answer was right."""

    def __init__(self, questions: list[Question]):
        self.questions, self.first = questions, {}
        self.said = [widgets.HTML() for _ in questions]
        self.score = widgets.HTML()
        self.buttons = [
            [button(text, text, partial(self.answer, n, i)).add_class("idt-answer") for i, text in enumerate(q.answers)]
            for n, q in enumerate(questions)
        ]
        parts = zip(questions, self.buttons, self.said, strict=True)
        blocks = [
            widgets.VBox([widgets.HTML(f"<b>{n}. {escaped(q.text)}</b>"), *choices, said])
            for n, (q, choices, said) in enumerate(parts, 1)
        ]
        super().__init__([*blocks, self.score])
        reach_a_busy_kernel(self)

    def answer(self, number: int, choice: int) -> None:
        """Answer question ``number`` with its answer ``choice``, both counted from 0; another try is free."""
        question = self.questions[number]
        is_right = choice == question.right
        self.first.setdefault(number, is_right)
        for i, one in enumerate(self.buttons[number]):
            one.button_style = "" if i != choice else "success" if is_right else "warning"
        verdict = "Right." if is_right else "Not this one."
        self.said[number].value = f'<div role="status">{verdict} {escaped(question.why[choice])}</div>'
        if len(self.first) == len(self.questions):
            count = sum(self.first.values())
            self.score.value = f"<b>{count} of {len(self.questions)} were right at the first try.</b>"


def as_html(questions: list[Question]) -> str:
    """The questions without a kernel, or on paper; the answers are folded away at the end of each."""
    out = []
    for n, question in enumerate(questions, 1):
        choices = "".join(f"<li>{escaped(text)}</li>" for text in question.answers)
        told = "".join(
            f"<li>{'<b>Right.</b>' if i == question.right else 'No.'} {escaped(why)}</li>"
            for i, why in enumerate(question.why)
        )
        lists = (f'<ol type="a">{choices}</ol>', f'<ol type="a">{told}</ol>')
        out.append(f"<p><b>{n}. {escaped(question.text)}</b></p>{lists[0]}<details><summary>Answers</summary>")
        out.append(f"{lists[1]}</details>")
    return "".join(out)
