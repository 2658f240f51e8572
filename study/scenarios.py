"""The scenarios of notebook 06: every arm of a part trained and asked, and the answers kept in `data/reference`.

Which arms there are stands in `study.scenarios_company`, `study.scenarios_teacher` and `study.scenarios_brand`. Several
processes may share a folder: each takes arms that no other has. Nothing here judges an answer.
"""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from helpers import files
from helpers.errors import RunError
from helpers.models import machine
from helpers.models.load import spec_of
from helpers.scenarios import kept
from study import answers, scenarios_brand, scenarios_company, scenarios_teacher

PARTS = {"company": scenarios_company, "teacher": scenarios_teacher, "brand": scenarios_brand}
SEEDS = (42, 1, 2)


def todo(part: str, lang: str, labels: Sequence[str] = (), seeds: Sequence[int] = SEEDS) -> list[tuple[str, int]]:
    """(label, seed) of every arm of ``part`` in ``lang``, or of those in ``labels``: the untrained once, seed 0."""
    found = PARTS[part]
    wanted = [label for label in found.labels(lang) if not labels or label in labels]
    return [(label, seed) for label in wanted for seed in (seeds if found.trained(label) else (0,))]


def run(model, tokenizer, part: str, lang: str, arms: Sequence[tuple[str, int]], folder: Path) -> Path:
    """Train and ask the ``arms`` that ``folder`` does not hold, and return the folder of their answers.

    Raises `RunError` while other processes still work on some.
    """
    here = files.make_dir(Path(folder) / f"{part}-{spec_of(model).key}-{lang}")
    notes = [here / f"{re.sub(r'[^a-z0-9]+', '-', label)}.{seed}.jsonl" for label, seed in arms]
    for (label, seed), note in zip(arms, notes, strict=True):
        with answers.claimed(note) as ours, tempfile.TemporaryDirectory() as scratch:
            if ours:
                rows = PARTS[part].run(model, tokenizer, lang, seed, label, Path(scratch) / "run")
                device = machine.machine().name
                files.write_jsonl(note, [{**row, "device": device} for row in rows])
    if missing := [note.stem for note in notes if not note.exists()]:
        raise RunError(f"other processes still work on {', '.join(missing)}", "start this again when they have ended")
    return here


def keep(part: str, model_key: str, lang: str, here: Path) -> Path:
    """Pack the answers in the folder ``here`` into the file that `kept.load` reads."""
    return answers.pack(kept.path(part, model_key, lang), answers.kept(here))
