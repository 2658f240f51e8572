"""The scenarios' kept answers: every figure of notebook 06 is judged from them again, without a model."""

from pathlib import Path
from typing import NamedTuple

from helpers import files
from helpers.errors import ScenarioError
from helpers.measure.tables import QWEN, whose
from helpers.models.catalog import EMBEDDED, ModelSpec


class Kept(NamedTuple):
    """Kept answers, the model and the language they are of, and a line that says so."""

    rows: list[dict]
    model: str
    lang: str
    whose: str


def path(part: str, model: str, lang: str) -> Path:
    """Where the answers of ``part`` (company, teacher, brand) by the model with this key are."""
    return files.data_dir() / "reference" / "scenarios" / f"{part}-{model}-{lang}.jsonl.gz"


def load(part: str, model: str, lang: str) -> list[dict]:
    """The kept answers: ``arm, seed, id, answer, tokens`` (read for the question) and ``device`` each.

    Raises `ScenarioError` if this model was not asked, or the file is not whole.
    """
    file = path(part, model, lang)
    if not file.exists():
        have = ", ".join(sorted(p.name.removesuffix(".jsonl.gz") for p in file.parent.glob(f"{part}-*.gz")))
        raise ScenarioError("no answers of this model are kept", f"take one of: {have or 'nothing yet'}", file)
    return files.read_packed(file, ScenarioError)


def of_model(part: str, spec: ModelSpec, lang: str = "en") -> Kept:
    """The answers that fit a model best: its own; for another Qwen those of `QWEN`; else the embedded model's."""
    relatives = [(QWEN, lang), (QWEN, "en")] if spec.model_name == "Qwen" else []
    places = [(spec.key, lang), *relatives, (EMBEDDED.key, "en")]
    model, spoken = next((place for place in places if path(part, *place).exists()), places[-1])
    return Kept(load(part, model, spoken), model, spoken, whose(model, spoken, spec))
