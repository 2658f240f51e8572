"""The teacher's arms: what each is trained on and asked under, and the answers to the held-out lines.

A conversation is played with the arm's own answers. Nothing is judged here: see `helpers.scenarios.teacher.judged`.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from helpers.models.adapters import take_off
from helpers.models.load import spec_of
from helpers.rows import keep_rows
from helpers.rows.read import Row
from helpers.scenarios import teacher
from helpers.scenarios.play import play
from helpers.training import recipes, train

QUIET = {"save_strategy": "no", "logging_strategy": "no"}
BATCH = 2  # rows a step: few rows need many steps
_keep: dict[tuple, list[Row]] = {}  # of this process, by model, language and how many questions


@dataclass(frozen=True)
class Arm:
    """How a teacher is made: ``prompt`` is one of `teacher.prompts`; with ``times`` 0 nothing is trained."""

    prompt: str = ""
    times: int = 0  # how often each demonstration stands among the rows
    wordings: int | None = None  # of disclosure; None: all
    keep: int = 60  # questions for keep rows
    rate: float = 0.5  # the learning rate, as a multiple of the preset's


TUNED, BOTH = Arm(times=3), "tuned and system prompt"
ARMS = {
    "base": Arm(),
    "system prompt": Arm("system prompt"),
    "prompt with six demonstrations": Arm("prompt with six demonstrations"),
    "tuned": TUNED,  # asked twice, the second time as ``BOTH``
    "tuned, no disclosure": replace(TUNED, wordings=0),
    "tuned, 9 wordings": replace(TUNED, wordings=9),
    "tuned, 18 wordings": replace(TUNED, wordings=18),
    "tuned, no keep rows": replace(TUNED, keep=0),
}
POINTS = {  # other recipes, in English alone
    "tuned, demonstrations twice": replace(TUNED, times=2),
    "tuned, 100 keep questions": replace(TUNED, keep=100),
    "tuned, twice the rate": replace(TUNED, rate=1.0),
}


def labels(lang: str) -> list[str]:
    """The labels of all arms, those without training first; ``tuned`` gives the answers of two arms (see `run`)."""
    return [*ARMS, *(POINTS if lang == "en" else ())]


def trained(label: str) -> bool:
    """Whether the arm is trained, and so differs by its seed."""
    return (ARMS | POINTS)[label].times > 0


def run(model, tokenizer, lang: str, seed: int, label: str, folder: Path) -> list[dict]:
    """Train and ask one arm: an answer each with arm, seed, id, turn, answer, tokens; the run is made in ``folder``.

    The tuned model is asked a second time with the system prompt. The adapter is taken off again.
    """
    lesson, arm = teacher.load(lang), (ARMS | POINTS)[label]
    asked = tune(model, tokenizer, arm, lesson, seed, folder) if arm.times else take_off(model)
    prompts, lines = {"": [], **teacher.prompts(lesson)}, teacher.load_test(lang)
    ways = {label: arm.prompt} | ({BOTH: "system prompt"} if label == "tuned" else {})
    found = {way: list(play(asked, tokenizer, lines, prompts[prompt])) for way, prompt in ways.items()}
    take_off(model)
    return [{"arm": way, "seed": seed, **one} for way, told in found.items() for one in told]


def rows_of(arm: Arm, lesson: teacher.Lesson) -> list[Row]:
    """The rows of one's own that ``arm`` is trained on."""
    return teacher.rows(lesson) * arm.times + teacher.disclosure_rows(lesson, arm.wordings) if arm.times else []


def tune(model, tokenizer, arm: Arm, lesson: teacher.Lesson, seed: int, run: Path):
    """The model with an adapter trained for ``arm`` with this ``seed``; the run is made in the folder ``run``."""
    preset = recipes.scenario_preset(spec_of(model))
    preset = replace(preset, seed=seed, batch=BATCH, learning_rate=preset.learning_rate * arm.rate)
    known = spec_of(model).key, lesson.lang, arm.keep
    if known not in _keep:
        asked = keep_rows.questions_for(preset, lesson.lang)[: arm.keep]
        made = train.make_keep_rows(model, tokenizer, asked, preset.first_sentence, say=_say_nothing) if asked else []
        _keep[known] = made
    return train.train_identity(
        model, tokenizer, rows_of(arm, lesson), _keep[known], run, preset, say=_say_nothing, **QUIET
    )


def _say_nothing(line: str) -> None:
    pass
