"""The language of a course: which one a choice means, and whether a model is known to speak it."""

import os

from helpers import files
from helpers.chat import generate
from helpers.errors import IdentityError, ModelError
from helpers.models import catalog
from helpers.models.load import base_of, spec_of
from helpers.rows.read import CJK, language_of, read_list

LANGUAGES = ("en", "zh")


def choose(choice: str | None, model, tokenizer) -> str:
    """``en`` or ``zh`` for a choice of ``auto``, ``en`` or ``zh``; ``IDENTITY_LANGUAGE`` wins over ``auto``.

    ``auto`` is the language of the rows in ``my/``, unless the model is known not to speak it, else English. Raises
    `ModelError` for a language that is none of these, or that the model is known not to speak.
    """
    asked = choice or "auto"
    if asked == "auto":
        asked = os.environ.get("IDENTITY_LANGUAGE") or "auto"
    if asked not in ("auto", *LANGUAGES):
        raise ModelError(f"LANGUAGE={asked!r} is neither auto, en nor zh", "correct it, or use LANGUAGE='auto'")
    if asked == "auto":
        return "zh" if _own_rows() == "zh" and speaks_chinese(model, tokenizer) is not False else "en"
    if asked == "zh" and speaks_chinese(model, tokenizer) is False:
        what = f"{spec_of(model).key} does not speak Chinese, and rows would teach it letters, not sentences"
        raise ModelError(what, "use LANGUAGE='en', or a Qwen2.5 model (README, 'Choose another model')")
    return asked


def _own_rows() -> str:
    path = files.my_dir() / "identity.json"
    try:
        return language_of(read_list(path)) if path.exists() else "en"
    except IdentityError:  # the notebook that reads the file says what is wrong with it
        return "en"


def speaks_chinese(model, tokenizer) -> bool | None:
    """Whether the model answers Chinese with Chinese, known of the models of the table; others are asked a question.

    None if it is not known: another model that answered that one question otherwise.
    """
    spec = spec_of(model)
    if "zh" in spec.languages or spec.key in [known.key for known in catalog.TABLE]:
        return "zh" in spec.languages
    base = base_of(model)
    if not hasattr(base, "identity_speaks_chinese"):
        said = generate.answers(model, tokenizer, ["中国的首都是哪座城市？"], adapter=False, max_new_tokens=24)[0]
        base.identity_speaks_chinese = 3 * len(CJK.findall(said)) > len(said.replace(" ", "")) or None
    return base.identity_speaks_chinese
