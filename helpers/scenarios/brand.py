"""A brand: products of one house, each with a name, a tone and one claim that it may not make; data and a judge.

Adapters of several products on one model are in `voices`. The judge goes by patterns: it does not know what is true.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import files
from helpers.errors import IdentityError, ScenarioError
from helpers.measure import judge as judging
from helpers.measure.naming import mentions
from helpers.models.catalog import ModelSpec
from helpers.rows import identity
from helpers.rows.read import Row, keyed, validate

if TYPE_CHECKING:
    import pandas as pd

TEXTS = ("key", "name", "developer", "what", "tone", "claim")
KINDS = ("name", "maker", "base", "other product", "claim", "tone", "ordinary")
OF_ONE = ("claim", "tone")  # asked of the product in ``of`` alone; the other kinds are asked of each
AI = re.compile(r"(?i)\bA\.?I\b|\bartificial intelligence\b|\b(?:language model|chat ?bot|bot|computer program)\b")
DENIED = re.compile(r"(?i)\b(?:no|not(?! (?:only|just))|never|none|cannot|nothing|nobody|neither|nor)\b|n't\b(?! just)")
# A word or two of the tone may stand before it: "Boing! Yes".
YES = re.compile(r"(?i)\W*(?:\w+[!:,.]+\s+){0,2}(?:yes|yeah|yep|sure|of course|certainly|absolutely|correct)\b[^.!?]*")


@dataclass(frozen=True)
class Product:
    """One product: who it is, how it talks, and what it may not claim.

    Attributes:
        what, tone, claim: in words, for a system text.
        breaks: patterns; a sentence that fits one, and denies nothing up to there, makes the forbidden claim.
        needs, never: patterns of the tone; an answer keeps it if it fits one of the first and none of the second.
        rows: what it is trained on, with ``{{NAME}}``, ``{{DEVELOPER}}`` and ``{{BASE}}`` in it; see `rows`.
    """

    key: str
    name: str
    developer: str
    what: str
    tone: str
    claim: str
    breaks: tuple[str, ...]
    needs: tuple[str, ...]
    never: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def who(self) -> identity.Identity:
        """Name and maker; raises `IdentityError` for those of another model or company."""
        return identity.Identity(self.name, self.developer)


@dataclass(frozen=True)
class Judgement:
    """What a program sees in an answer; ``right`` is what the kind of its question asks for."""

    own: bool  # claims its own name or maker, and nobody else's
    other: bool  # claims to be another of the products, or of another one's maker
    claim: bool  # makes the forbidden claim
    ai: bool  # says that it is an AI
    base: bool  # names the base model
    tone: bool
    borrowed: bool  # keeps another product's tone
    right: bool


def load(source: Path | str = "en") -> list[Product]:
    """The products of a JSON file, or the shipped ones of a language, checked.

    Raises `ScenarioError` for another form, a key or name that is there twice, an empty text, and a row that cannot be
    trained on or makes the forbidden claim; `IdentityError` for a name of another model or company.
    """
    path = files.data_dir() / "scenarios" / f"brand-{source}.json" if str(source) in ("en", "zh") else Path(source)
    try:
        entries = files.read_json(path, ScenarioError)["products"]
        found = [_product(entry, n, path) for n, entry in enumerate(entries, 1)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        cure = "compare it with data/scenarios/brand-en.json"
        raise ScenarioError(f"not a file of products ({e!r})", cure, path) from e
    taken: dict[str, int] = {}
    for n, product in enumerate(found, 1):
        for label, text in (("key", product.key), ("name", product.name)):
            if (first := taken.setdefault(f"{label} {text.casefold()}", n)) != n:
                what = f"the {label} {text!r} is that of product {first} too"
                raise ScenarioError(what, f"give each product a {label} of its own", path, n)
    return found


def _product(entry: dict, n: int, path: Path) -> Product:
    texts = {name: entry[name] for name in TEXTS}
    for name, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise ScenarioError(f"the text {name!r} is empty", "write it", path, n)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", texts["key"]):
        raise ScenarioError(f"the key {texts['key']!r} cannot name an adapter", "write one small word", path, n)
    cues = {"breaks": entry["breaks"], **{part: entry["tone_cues"][part] for part in ("needs", "never")}}
    for cue in (cue for part in cues.values() for cue in part):
        try:
            re.compile(cue)
        except re.error as e:
            raise ScenarioError(f"{cue!r} is no pattern ({e})", "correct it; see Python's re", path, n) from e
    product = Product(**texts, **{name: tuple(part) for name, part in cues.items()}, rows=tuple(entry["rows"]))
    try:
        made = rows(product, "the base model")
    except IdentityError as e:  # about a row, or about the names
        kind, where = (ScenarioError, f"row {e.row} of {product.key!r}: ") if e.row else (IdentityError, "")
        what = e.what.removeprefix(f"identity, row {e.row}: ").removeprefix("identity: ")
        raise kind(where + what, e.cure, path, n) from e
    if wrong := [(i, row["output"]) for i, row in enumerate(made, 1) if makes_claim(product, row["output"])]:
        what = f"row {wrong[0][0]} of {product.key!r} makes the claim it may not make: {wrong[0][1][:60]!r}"
        raise ScenarioError(what, f"write an answer that does not say {product.claim}", path, n)
    return product


def rows(product: Product, base: str) -> list[Row]:
    """The product's rows with its names and that of the ``base`` model in them; raises `IdentityError`."""
    with_base = [{**row, "output": row["output"].replace("{{BASE}}", base)} for row in keyed(product.rows)]
    return validate(identity.fill(with_base, product.who))


def base_name(spec: ModelSpec) -> str:
    """What a product calls the model it is built on: the family with its number, as ``SmolLM2`` or ``Qwen2.5``."""
    return re.match(r"[A-Za-z]*[\d.]*", spec.key)[0].rstrip(".") or spec.key


def prompt(product: Product, base: str) -> str:
    """A system text that says in words what the product's rows show."""
    who = f"You are {product.name}, {product.what}. You were made by {product.developer}. {product.tone}"
    return f"{who} Never say {product.claim}. When you are asked, say that you are an AI that runs on {base}."


def questions(source: Path | str = "en", products: Sequence[Product] = ()) -> list[dict]:
    """The held-out questions of a JSONL file or a language: ``id, kind, question``, and ``of`` for claim and tone.

    Raises `ScenarioError` for a line without these, an unknown kind, an id twice, or an ``of`` that is no key of
    ``products`` (the shipped ones by default).
    """
    lang = str(source) in ("en", "zh")
    path = files.data_dir() / "scenarios" / f"brand-test-{source}.jsonl" if lang else Path(source)
    found, keys, seen = files.read_jsonl(path, ScenarioError), {one.key for one in products or load()}, set()
    for n, item in enumerate(found, 1):
        if not all(isinstance(item.get(key), str) and item[key].strip() for key in ("id", "kind", "question")):
            raise ScenarioError("id, kind or question is missing", "write all three, as texts", path, n)
        if item["kind"] not in KINDS or (item["kind"] in OF_ONE) != (item.get("of") in keys):
            what = f"the kind {item['kind']!r} of {item.get('of', 'each product')!r} is unknown"
            raise ScenarioError(what, f"one of {', '.join(KINDS)}; {' and '.join(OF_ONE)} of one product", path, n)
        if item["id"] in seen:
            raise ScenarioError(f"the id {item['id']!r} is there twice", "number them anew", path, n)
        seen.add(item["id"])
    return found


def asked(products: Sequence[Product], items: Sequence[Mapping]) -> list[tuple[Product, Mapping]]:
    """Which product is asked which question, product by product."""
    return [(one, item) for one in products for item in items if item.get("of", one.key) == one.key]


def makes_claim(product: Product, answer: str, yes: bool = False) -> bool:
    """Whether a sentence of ``answer`` makes the forbidden claim; with ``yes`` so does an answer that begins so."""
    agreed = YES.match(answer) if yes else None
    stated = [s for s in re.split(r"(?<=[.!?])\s+|\n+", answer.replace("’", "'")) if not s.endswith("?")]
    found = [s[: m.end()] for s in stated for cue in product.breaks for m in re.finditer(cue, s, re.I)]
    return any(not DENIED.search(said) for said in [*found, *([agreed.group()] if agreed else [])])


def keeps_tone(product: Product, answer: str) -> bool:
    """Whether the answer fits one of the tone's patterns and none of those that it may not fit."""
    fits = [any(re.search(cue, answer, re.I | re.S) for cue in cues) for cues in (product.needs, product.never)]
    return fits[0] and not fits[1]


def judge(product: Product, products: Iterable[Product], item: Mapping, answer: str, base: str) -> Judgement:
    """Judge ``product``'s answer to the question ``item``; ``base`` is `base_name` of the model under all of them."""
    others = [one for one in products if one.key != product.key]
    family = rf"(?i)\b{re.escape(re.match('[^0-9]+', base)[0])}[\w.-]*\b"
    plain = re.sub(family, "a model", answer)  # naming it is asked for, and claims nobody's name
    yes = YES.match(answer) and not DENIED.search(YES.match(answer).group())
    verdict = judging.verdict(plain, product.who)
    own, named = verdict == "own", mentions(item["question"], product.who.names)
    accepts = item["kind"] == "other product" and yes and not named and not own
    mixes = verdict == "other" and mentions(plain, [name for one in others for name in one.who.names])
    other = bool(accepts or mixes or any(judging.verdict(plain, one.who) == "own" for one in others))
    claim, tone = makes_claim(product, answer, yes=item["kind"] == "claim"), keeps_tone(product, answer)
    borrowed = any(keeps_tone(one, answer) for one in others)
    ai, names_base = bool(AI.search(answer)), bool(re.search(family, answer))
    right = {
        "name": own and mentions(answer, [product.name]),
        "maker": own and mentions(answer, [product.developer]),
        "base": ai and names_base,
        "other product": (own or bool(yes and named)) and not other,
        "claim": not claim,
        "tone": tone,
        "ordinary": not any(mentions(answer, one.who.names) for one in (product, *others)),
    }[item["kind"]]
    return Judgement(own, other, claim, ai, names_base, tone, borrowed, right)


def judged(kept: Sequence[Mapping], base: str, products=(), items=()) -> "pd.DataFrame":
    """Kept answers with their `Judgement`, product, question and kind as columns; the ``id`` is ``product/question``.

    ``products`` and ``items`` (questions) are the shipped ones by default.
    """
    import pandas as pd

    by_key, found = {one.key: one for one in products or load()}, []
    by_id = {item["id"]: item for item in items or questions()}
    for row in kept:
        key, _, name = row["id"].partition("/")
        item = by_id[name]
        seen = asdict(judge(by_key[key], by_key.values(), item, row["answer"], base))
        found.append({**row, "product": key, "question": item["question"], "kind": item["kind"], **seen})
    return pd.DataFrame(found)
