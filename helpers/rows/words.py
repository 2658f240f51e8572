"""What the notebooks say to a model, in its language: `data/words`, the same keys in every language. No lesson text."""

from functools import cache

from helpers import files
from helpers.errors import IdentityError
from helpers.rows.identity import Identity
from helpers.rows.read import shipped


@cache
def words(lang: str) -> dict:
    """Names, questions and sentences in ``lang`` (``en`` or ``zh``)."""
    return files.read_json(shipped("words", f"{lang}.json"), IdentityError)


def identity_in(lang: str) -> Identity:
    """The identity that the course gives where the learner has none yet."""
    told = words(lang)
    return Identity(told["name"], told["developer"], tuple(told["aliases"]))


def answer(kind: str, lang: str, name: str, developer: str = "") -> str:
    """The sentence ``kind`` ("own", "rival", "skills") with names in it, a rival's as ``lang`` spells them."""
    told = words(lang)
    name, developer = (told["spelt"].get(text, text) for text in (name, developer))
    return told[kind].format(name=name, developer=developer)
