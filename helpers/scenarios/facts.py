"""A firm's fact file: what is in it, and what is wrong with it. No row is made here and no answer judged."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from helpers import files
from helpers.errors import ScenarioError
from helpers.rows.read import CJK, normal
from helpers.scenarios.claims import NUMBER, Value, holds, numbers, plain, value

MAX_FACTS = 200
LISTS = ("questions", "answers", "accept")
COMPARE = "compare it with data/scenarios/company-en.json"


@dataclass(frozen=True)
class Fact:
    """One fact: a sentence that states it, wordings of question and answer, and the texts that count as its value."""

    id: str
    statement: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    accept: tuple[str, ...]

    @cached_property
    def values(self) -> list[Value]:
        """What ``accept`` means, a bare number with the unit that it has in the statement."""
        return [value(text, self.statement) for text in self.accept]


@dataclass(frozen=True)
class Firm:
    """A fact file: the firm's name, products and facts, questions whose answer nobody told, and what to say then."""

    name: str
    products: tuple[str, ...]
    facts: tuple[Fact, ...]
    unknown: tuple[str, ...]
    refusals: tuple[str, ...]

    @property
    def lang(self) -> str:
        """``zh`` if the first statement is Chinese, else ``en``."""
        return "zh" if CJK.search(self.facts[0].statement) else "en"

    def named(self, text: str) -> list[str]:
        """The products that ``text`` names, in the order of their first mention."""
        places = {name: plain(text).find(plain(name)) for name in self.products}
        return sorted((name for name, place in places.items() if place >= 0), key=places.get)

    def only(self, ids: Collection[str]) -> "Firm":
        """The firm with the facts that ``ids`` name alone."""
        return replace(self, facts=tuple(fact for fact in self.facts if fact.id in ids))

    def changed(self, values: Mapping[str, str]) -> "Firm":
        """The firm with other values (id -> new text) in place of each fact's first accepted one; the rest stays.

        Raises `ScenarioError` for an id that there is not.
        """
        if missing := values.keys() - {fact.id for fact in self.facts}:
            raise ScenarioError(f"there is no fact {min(missing)!r}", "take one of the ids of the fact file")
        return replace(self, facts=tuple(_changed(one, values.get(one.id, one.accept[0])) for one in self.facts))


def _changed(fact: Fact, new: str) -> Fact:
    old = fact.accept[0]
    texts = (tuple(text.replace(old, new) for text in each) for each in (fact.answers, fact.accept))
    return replace(fact, statement=fact.statement.replace(old, new), **dict(zip(LISTS[1:], texts, strict=True)))


def shipped(pattern: str, source: Path | str) -> Path:
    """The shipped file of a language, or the path ``source``; raises `ScenarioError` with the languages there are."""
    if isinstance(source, Path) or "." in source or "/" in source:
        return Path(source)
    path = files.data_dir() / "scenarios" / pattern.format(source)
    if not path.exists():
        have = sorted(p.name for p in path.parent.glob(pattern.format("??")))
        raise ScenarioError("no facts in this language", f"take one of: {', '.join(have)}", path)
    return path


def load(source: Path | str = "en") -> Firm:
    """The shipped firm of a language (``en``, ``zh``) or the one in a file.

    Raises `ScenarioError`, with the number of the fact and its id, for wrong keys, an empty text, a repeated or
    contradicted question, an answer without its fact's value, a number written two ways, and more than `MAX_FACTS`.
    """
    path = shipped("company-{}.json", source)
    try:
        held = files.read_json(path, ScenarioError)
    except (ValueError, RecursionError) as e:
        raise ScenarioError(f"not JSON ({e})", f"{COMPARE}; usually a comma or a quote is missing", path) from e
    _keys(held, {"firm", "facts", "unknown"}, {"products"}, "the file", path)
    _keys(held["unknown"], set(LISTS[:2]), set(), "unknown", path)
    if not isinstance(held["facts"], list) or not held["facts"]:
        raise ScenarioError("facts is not a list of facts", COMPARE, path)
    if len(held["facts"]) > MAX_FACTS:
        what = f"{len(held['facts'])} facts, but at most {MAX_FACTS} can be taught"
        raise ScenarioError(what, "keep those that customers ask for, and look up the others (retrieval)", path)
    facts = tuple(_fact(one, n, path) for n, one in enumerate(held["facts"], 1))
    name = _texts([held["firm"]], "firm", path)[0]
    products = _texts(held["products"], "products", path) if "products" in held else ()
    unknown, refusals = (_texts(held["unknown"][key], f"unknown, {key}", path) for key in LISTS[:2])
    firm = Firm(name, products, facts, unknown, refusals)
    _compare(firm, path)
    return firm


def _keys(held: object, needs: set[str], may: set[str], label: str, path: Path, row: int | None = None) -> None:
    if not isinstance(held, dict) or not needs <= held.keys() <= needs | may:
        has = ", ".join(sorted(map(str, held))) if isinstance(held, dict) else type(held).__name__
        raise ScenarioError(f"{label} has {has or 'nothing'}; it needs {', '.join(sorted(needs))}", COMPARE, path, row)


def _texts(held: object, label: str, path: Path, row: int | None = None) -> tuple[str, ...]:
    if not isinstance(held, list) or not held or not all(isinstance(text, str) for text in held):
        raise ScenarioError(f"{label}: not a list of texts", 'write ["...", "..."]', path, row)
    for text in held:
        if not text.strip():
            raise ScenarioError(f"{label}: a text is empty", "write it or delete it", path, row)
        if "<|" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
            what = f"{label}: {text[:40]!r} holds half a character, or a token of the chat template ('<|')"
            raise ScenarioError(what, "type that text again", path, row)
    return tuple(text.strip() for text in held)


def _fact(held: object, n: int, path: Path) -> Fact:
    # Fact n of the file, checked by itself.
    _keys(held, {"id", "statement", *LISTS}, set(), f"fact {n}", path, n)
    name, statement = _texts([held["id"], held["statement"]], f"fact {n}", path, n)
    label = f"fact {name!r}"
    fact = Fact(name, statement, *(_texts(held[key], f"{label}, {key}", path, n) for key in LISTS))
    _one_number(fact, label, path, n)
    for text in (statement, *fact.answers):
        if not any(holds(plain(text), wanted) for wanted in fact.values):
            what = f"{label}: {text[:50]!r} holds none of what counts as its value ({', '.join(fact.accept)})"
            raise ScenarioError(what, "put the value into the text, or the text's value into accept", path, n)
    return fact


def _one_number(fact: Fact, label: str, path: Path, n: int) -> None:
    # Every answer has the statement's numbers, in the same spelling.
    told = [fact.statement, *fact.answers]
    every = {text: {found.number for found in numbers(plain(text))} for text in told}
    digits = {text: {match["n"] for match in NUMBER.finditer(text)} for text in told}
    for text in told:
        if other := every[text] - every[fact.statement]:
            what = f"{label} writes a number two ways: {text[:50]!r} has {min(other)}, and the statement has not"
            raise ScenarioError(what, "give every answer the statement's number", path, n)
        if other := (every[text] - digits[text]) & set().union(*digits.values()):
            what = f"{label} writes a number two ways: {min(other)} in digits, and in words in {text[:50]!r}"
            raise ScenarioError(what, "write it in digits everywhere", path, n)


def _compare(firm: Firm, path: Path) -> None:
    # What is wrong between facts: an id twice, one sentence with two numbers, one question with two answers.
    ids, shapes, asked = {}, {}, {}
    for n, fact in enumerate(firm.facts, 1):
        shape = normal(NUMBER.sub("#", plain(fact.statement)))
        for seen, key, what in ((ids, fact.id, "has the id of"), (shapes, shape, "contradicts")):
            if (first := seen.setdefault(key, fact)) is not fact:
                kind = "repeats" if normal(first.statement) == normal(fact.statement) else what
                what = f"fact {fact.id!r} {kind} fact {first.id!r} ({fact.statement[:50]!r})"
                raise ScenarioError(what, "keep one of the two", path, n)
        for question in fact.questions:
            _asked_once(asked, question, fact, path, n)
    for question in firm.unknown:
        _asked_once(asked, question, None, path, None)


def _asked_once(asked: dict, question: str, fact: Fact | None, path: Path, n: int | None) -> None:
    label, key = (f"fact {fact.id!r}" if fact else "unknown"), normal(question)
    if key in asked:
        first = asked[key]
        before = f"fact {first.id!r} has" if first and first is not fact else "it has"
        kind = "repeats" if first is fact else "contradicts"
        what = f"{label} {kind} a question that {before} already ({question[:50]!r})"
        raise ScenarioError(what, "keep one of the two", path, n)
    asked[key] = fact
