"""The scenarios' kept answers: every figure of notebook 06 is judged from them again, without a model."""

from pathlib import Path

from helpers import files
from helpers.errors import ScenarioError


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
