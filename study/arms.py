"""What is trained and asked together: an arm is a recipe, a name and a seed; several processes share a list of arms.

`unseen` are the questions that nobody had looked at, asked once, when the two recipes were frozen. `grid` is the eight
rows alone at several rates and numbers of steps, asked the ``dev`` questions.
"""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from peft import PeftModel

from helpers import files
from helpers.errors import RunError
from helpers.measure import probes
from helpers.measure.tables import BASE, PUBLISHED, PUBLISHED_LONGER, QUICK, ROWS_ONLY, THOROUGH
from helpers.models import machine
from helpers.models.adapters import take_off
from helpers.rows import identity, keep_rows
from helpers.rows.identity import Identity, Row
from helpers.training import recipes
from helpers.training.train import train_identity
from study import answers, ask

SEEDS = (42, 1, 2)
NAMES = (  # that no recipe was tried with
    Identity("Orrin", "Copperfield Labs"),
    Identity("Selka", "Juniper Works"),
    Identity("Dovetail", "Hearthside AI"),
)
CHOSEN = {QUICK: recipes.QUICK_PRESET, THOROUGH: recipes.THOROUGH_PRESET}
RECIPES = {
    PUBLISHED: recipes.PUBLISHED_PRESET,
    PUBLISHED_LONGER: replace(recipes.PUBLISHED_PRESET, accumulation=1),
    ROWS_ONLY: recipes.ROWS_ONLY_PRESET,
    **CHOSEN,
}
PROMPTS = {"one sentence": "sentence", "best prompt": "all rows, Q and A", "reminder": "sentence, reminder each turn"}
RATES, STEPS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3), (8, 16, 40, 80, 160)  # of the grid


@dataclass(frozen=True)
class Arm:
    """What is trained (``preset`` None: nothing) and asked: a label, whose name, which seed."""

    label: str
    preset: recipes.Preset | None = None
    who: Identity = ask.WHO
    seed: int = 0
    lang: str = "en"

    @property
    def key(self) -> str:
        """A file name, with the folder of the arm's name."""
        return f"{self.who.name}/{re.sub(r'[^A-Za-z0-9]+', '-', self.label)}-{self.seed}"


def unseen() -> list[Arm]:
    """The base model, every recipe with each seed, and the chosen two once with each new name."""
    trained = [Arm(label, preset, seed=seed) for seed in SEEDS for label, preset in RECIPES.items()]
    named = [Arm(label, preset, who, SEEDS[0]) for who in NAMES for label, preset in CHOSEN.items()]
    return [Arm(BASE), *trained, *named]


def grid() -> list[Arm]:
    """The eight rows alone, one row a step: every rate with every number of steps."""
    alone = replace(recipes.PUBLISHED_PRESET, accumulation=1)
    cells = ((rate, steps) for rate in RATES for steps in STEPS)
    return [
        Arm(f"{rate:g}, {steps} steps", replace(alone, learning_rate=rate, epochs=steps // 8), seed=SEEDS[0])
        for rate, steps in cells
    ]


def eight_rows(who: Identity = ask.WHO, lang: str = "en") -> list[Row]:
    """The shipped identity rows, filled."""
    return identity.read_rows(identity.shipped_rows(lang), who)


def train(
    model, tokenizer, keep: Sequence[Row], preset: recipes.Preset, who: Identity = ask.WHO, lang: str = "en"
) -> PeftModel:
    """``model`` with an adapter trained by ``preset`` on the shipped rows; no run folder is left.

    The base model's whole answers in ``keep`` become keep rows: those to the preset's questions, cut as it says.
    """
    wanted = set(keep_rows.questions_for(preset, lang))
    kept = keep_rows.cut([row for row in keep if row["instruction"] in wanted], preset.first_sentence)
    quiet = {"save_strategy": "no", "logging_strategy": "no"}
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        return train_identity(model, tokenizer, eight_rows(who, lang), kept, run, preset, identity=who, **quiet)


def run(
    model, tokenizer, keep: Sequence[Row], todo: Sequence[Arm], found: Sequence[dict], folder: Path,
    prompts: dict | None = None, talks: Sequence[dict] = (),
) -> None:  # fmt: skip
    """Train and ask every arm that ``folder`` does not hold. Several processes may share it; all but the last to end
    raise `RunError`.

    The base model is asked under each of ``prompts`` too (label -> `Prompt`). With ``talks`` questions about identity
    are also sampled five times, and the talks are gone through with the arm's own answers.
    """
    notes = [folder / f"{arm.key}.json" for arm in todo]
    for arm, note in zip(todo, notes, strict=True):
        files.make_dir(note.parent)
        with answers.claimed(note) as ours:
            if not ours:
                continue
            if arm.preset:
                model = train(model, tokenizer, keep, replace(arm.preset, seed=arm.seed), who=arm.who, lang=arm.lang)
            setups = [ask.Setup(arm.label, seed=arm.seed)]
            setups += [ask.Setup(BASE, label, text) for label, text in (prompts or {}).items() if arm.label == BASE]
            for setup in setups:
                _ask(model, tokenizer, setup, found, talks, note.parent)
            model = take_off(model)
            files.write_json(note, {"weights": arm.label, "seed": arm.seed, "device": machine.machine().name})
    if missing := [note.stem for note in notes if not note.exists()]:
        raise RunError(f"other processes still work on {', '.join(missing)}", "start this again when they have ended")


def _ask(model, tokenizer, setup: ask.Setup, found: Sequence[dict], talks: Sequence[dict], folder: Path) -> None:
    ask.ask(model, tokenizer, setup, found, folder, batch=128, progress=setup.key)
    if talks:
        about = [p for p in found if probes.AXIS_OF[p["category"]] == "identity"]
        ask.ask(model, tokenizer, setup, about, folder, samples=5, batch=128)
        ask.in_own_words(model, tokenizer, setup, talks, folder)


def gather(folder: Path) -> list[dict]:
    """Every answer of the finished arms in ``folder``, each with the ``name`` that its model was given."""
    found = sorted(Path(folder).glob("*/*.jsonl"))
    return [{"name": path.parent.name, **row} for path in found for row in files.read_jsonl(path)]
