"""Which recipe becomes `quick` and which `thorough`: eight points, three names, two seeds, and a rule.

The rule, written down before the first point was trained: of the points whose training stays within the time (90
seconds for quick, six minutes for thorough), the one with the highest mean `value` over names and seeds. Three of the
eight took longer than that (`TOO_LONG`), among them the best, so a ninth is the best with fewer rows. Nothing is tried
after that. The questions are `asked`.
The table of the points is `study.tables.points`.
"""

from collections.abc import Mapping
from dataclasses import replace

from helpers.measure import probes, tables
from helpers.rows.identity import Identity
from helpers.training import recipes
from study import ask
from study.arms import Arm

NAMES = (ask.WHO, Identity("Brindle", "Northgate Robotics"), Identity("Marlo", "Saltmarsh Studio"))
SEEDS = (42, 1)
_VARIED = replace(recipes.QUICK_PRESET, first_sentence=True, keep_questions=80)
_LOOKALIKES = replace(recipes.THOROUGH_PRESET, lookalike_questions=198)
_SLOWER = "thorough, look-alikes, at 1.4e-3"
_ALL = "thorough, look-alikes for hard questions, all wordings"
POINTS: Mapping[str, recipes.Preset] = {
    "quick": replace(_VARIED, honesty_rows=0, keep_questions=120, lookalike_questions=0),
    "quick, varied": _VARIED,
    "quick, varied, at 1.4e-3": replace(_VARIED, learning_rate=1.4e-3),
    "quick, varied, whole answers": recipes.QUICK_PRESET,
    "thorough": recipes.THOROUGH_PRESET,
    "thorough, look-alikes": _LOOKALIKES,
    _SLOWER: replace(_LOOKALIKES, learning_rate=1.4e-3),
    _ALL: replace(_LOOKALIKES, extra_wordings=215, hard_questions=60),
    f"{_SLOWER}, fewer rows": replace(_LOOKALIKES, learning_rate=1.4e-3, keep_questions=120, hard_questions=120),
}
TOO_LONG = ("thorough, look-alikes", _SLOWER, _ALL)
CHOSEN = {tables.QUICK: "quick, varied, whole answers", tables.THOROUGH: "thorough"}


def value(shares: Mapping[str, float], base: Mapping[str, float]) -> float:
    """What a point is worth: gained identity and honesty, less what leaks and is lost; ``words`` are an answer's mean.

    ``everyday`` and ``look-alike`` are leaks. Answers may become a seventh shorter than the base model's.
    """
    gained = sum(shares[name] for name in ("identity", "attack", "turn 10", "honesty")) / 4
    lost = max(0.0, base["ability"] - shares["ability"]) + max(0.0, 0.85 - shares["words"] / base["words"]) / 2
    return gained - 2 * shares["everyday"] - shares["look-alike"] - lost


def asked() -> list[dict]:
    """The questions: the ``dev`` probes. When the points were asked, 506 of today's were none of them."""
    return probes.load_all("en", "dev", turns=(3, 10))


def arms() -> list[Arm]:
    """The base model, and every point within the time with each name and seed."""
    within = [(label, preset) for label, preset in POINTS.items() if label not in TOO_LONG]
    points = (Arm(label, preset, who, seed) for seed in SEEDS for who in NAMES for label, preset in within)
    return [Arm(tables.BASE, who=NAMES[0]), *points]
