"""The published case's family: which recipe a Qwen2.5 of 0.5B gets, and the arms of its study, in two languages.

The points were asked the ``dev`` questions, each with one name and one seed. The first thirteen were trained with keep
rows that break off in code, which cost the model its functions; the last seven without such rows, and with programming
tasks beside. The preset is the best of these seven by `choose.value`, mean of both languages. Points whose adapter held
no numbers at the end are not in ``choose.csv``.
"""

from collections.abc import Mapping
from dataclasses import replace

from helpers.measure import probes, tables
from helpers.rows.identity import Identity
from helpers.training import recipes
from study import arms, ask
from study.arms import Arm

NAMES = {
    "zh": (Identity("知遥", "灯笼工坊"), Identity("阿柚", "北渡科技")),
    "en": (ask.WHO, Identity("Brindle", "Northgate Robotics")),
}
PRESET = recipes.PRESETS["Qwen2.5-0.5B-Instruct"]
_SYSTEMS = (None, "", recipes.RIVAL_SYSTEM, recipes.RIVAL_SYSTEM_ZH)
_ROWS = recipes.Preset(
    batch=4, padding_free=True, learning_rate=5e-4, own_systems=_SYSTEMS, systems=(None, recipes.RIVAL_SYSTEM_ZH),
    extra_wordings=67, attack_rows=30, honesty_rows=20, late_identity_rows=20, late_keep_rows=20, keep_questions=80,
    lookalike_questions=40, first_sentence=False,
)  # fmt: skip
_HALVES = replace(
    _ROWS, halves=True, accumulation=2, late_identity_rows=40, late_keep_rows=40, keep_questions=120,
    lookalike_questions=60,
)  # fmt: skip
# With programming tasks, and without keep rows that break off in code.
_WHOLE = replace(
    _HALVES, learning_rate=1e-3, blocks=(8, 24), batch=8, accumulation=1, code_questions=40, extra_wordings=127,
    systems=(None, recipes.RIVAL_SYSTEM_ZH, None, recipes.RIVAL_SYSTEM),
)  # fmt: skip
_BETWEEN = replace(_WHOLE, attack_rows=45, honesty_rows=30, keep_questions=160, lookalike_questions=120)
_MORE = replace(_BETWEEN, extra_wordings=215, honesty_rows=42, keep_questions=268, lookalike_questions=198)
POINTS: Mapping[str, recipes.Preset] = {
    "sixteen keep rows": replace(recipes.SIXTEEN_PRESET, learning_rate=5e-4, epochs=5, batch=4),
    "rows, 2e-4": replace(_ROWS, learning_rate=2e-4),
    "rows, 5e-4": _ROWS,
    "rows, 1e-3": replace(_ROWS, learning_rate=1e-3),
    "rows, all layers, 2e-4": replace(_ROWS, learning_rate=2e-4, target_modules="all-linear"),
    "rows, all layers, 5e-4": replace(_ROWS, target_modules="all-linear"),
    "rows, upper blocks, 5e-4": replace(_ROWS, blocks=(8, 24)),
    "rows, upper blocks, 1e-3": replace(_ROWS, blocks=(8, 24), learning_rate=1e-3),
    "halves, 5e-4": _HALVES,
    "halves, 1e-3": replace(_HALVES, learning_rate=1e-3),
    "halves, all layers, 5e-4": replace(_HALVES, target_modules="all-linear"),
    "halves, upper blocks, more wordings, 1e-3": replace(
        _HALVES, learning_rate=1e-3, blocks=(8, 24), extra_wordings=127
    ),
    "fewer rows, 5e-4": replace(_ROWS, extra_wordings=30, attack_rows=15, honesty_rows=10, keep_questions=60),
    "more, 1e-3": _MORE,
    "more, 5e-4": replace(_MORE, learning_rate=5e-4),
    "more, 5e-4, two epochs": replace(_MORE, learning_rate=5e-4, epochs=2),
    "between, 1e-3": _BETWEEN,
    "between, 5e-4, two epochs": replace(_BETWEEN, learning_rate=5e-4, epochs=2),
    "between, upper half, 1e-3": replace(_BETWEEN, blocks=(12, 24)),
    "between, more talk, 1e-3": replace(_BETWEEN, late_identity_rows=100, late_keep_rows=100),
}


TURNS = (1, 3, 5, 10)
PROMPTS = {
    "one sentence": "sentence",
    "best prompt": "rows and ordinary turns",
    "reminder": "sentence, reminder each turn",
}


def unseen(lang: str) -> list[Arm]:
    """The base model, the published settings and the preset with each seed, and the preset with a second name."""
    who, other = NAMES[lang]
    recipe = {name: arms.RECIPES[name] for name in (tables.PUBLISHED, tables.PUBLISHED_LONGER)}
    recipe[tables.QUICK] = PRESET
    trained = [Arm(label, preset, who, seed, lang) for seed in arms.SEEDS for label, preset in recipe.items()]
    return [
        Arm(tables.BASE, who=who, lang=lang),
        *trained,
        Arm(tables.QUICK, recipe[tables.QUICK], other, arms.SEEDS[0], lang),
    ]


def asked(lang: str) -> list[dict]:
    """The ``dev`` probes, in English six hundred of them."""
    return probes.sample(probes.load_all(lang, "dev", turns=(3, 10)), 600)


def points(lang: str) -> list[Arm]:
    """The base model, and every point with each name."""
    names = NAMES[lang]
    trained = [Arm(label, preset, who, arms.SEEDS[0], lang) for who in names for label, preset in POINTS.items()]
    return [Arm(tables.BASE, who=names[0], lang=lang), *trained]
