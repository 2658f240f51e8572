"""Company knowledge: rows that teach a firm's facts, the prompts of their rivals, and the judge of the answers.

No model is loaded or trained here. A rival reads facts before the question: all of them, or those that retrieval finds.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import files
from helpers.errors import ScenarioError
from helpers.measure.stats import rate
from helpers.rows.read import Row
from helpers.scenarios.facts import Fact, Firm, load, shipped
from helpers.scenarios.verdict import judge

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("wording", "reverse", "two", "near miss", "untold", "insist")  # of held-out questions
UNTOLD = ("near miss", "untold")  # those whose right answer is that it was not told
ITEM_KEYS = {"id", "kind", "question", "fact", "accept", "lang"}
# Facts and rule stand before the question, in the user's turn. A system text gave the embedded model fewer right
# answers (10 of 30 training wordings against 14, with three facts found by retrieval).
ASKED = {
    "en": "Facts about {}:\n{}\n\nAnswer the question with these facts only, in one short sentence. If they do not "
    "hold the answer, say: {}\n\nQuestion: {}",
    "zh": "关于{}的事实：\n{}\n\n请只根据这些事实，用一句简短的话回答问题。如果其中没有答案，就说：{}\n\n问题：{}",
}
NEW_PRICES = {  # a price list that comes after the training, by language
    "en": {"price-brillop": "26", "price-tansick": "43", "price-oskerry": "61", "price-mundrake": "92"},
    "zh": {"price-dieque": "72", "price-zhensong": "108", "price-juzhou": "135", "price-xueyao": "258"},
}


def some(firm: Firm, n: int) -> list[str]:
    """The ids of ``n`` facts, spread evenly over the file; raises `ScenarioError` if there are not as many."""
    if not 0 < n <= len(firm.facts):
        raise ScenarioError(f"{n} facts are asked for, and there are {len(firm.facts)}", "take fewer, at least one")
    return [firm.facts[i * len(firm.facts) // n].id for i in range(n)]


def rows(firm: Firm, wordings: int = 8, refusals: int = 0, facts: Sequence[str] | None = None) -> list[Row]:
    """Training rows: the first ``wordings`` questions of each fact (of ``facts``, ids, or all), and ``refusals`` more.

    The answers take turns. A refusal answers a question that nobody told the answer of. Raises `ScenarioError` if
    there are not as many of either.
    """
    most = min(len(fact.questions) for fact in firm.facts)
    for asked, there, label in ((wordings, most, "wordings a fact"), (refusals, len(firm.unknown), "refusals")):
        if not 0 <= asked <= there:
            raise ScenarioError(f"{asked} {label} are asked for, and there are {there}", f"take at most {there}")
    chosen = [fact for fact in firm.facts if facts is None or fact.id in facts]
    pairs = [pair for fact in chosen for pair in zip(fact.questions[:wordings], cycle(fact.answers))]
    pairs += zip(firm.unknown[:refusals], cycle(firm.refusals))
    return [{"instruction": question, "input": "", "output": answer} for question, answer in pairs]


def facts_prompt(firm: Firm, question: str, facts: Sequence[Fact] | None = None) -> str:
    """The question with the statements of ``facts`` (all by default) before it, and what to say without an answer."""
    told = "\n".join(f"- {fact.statement}" for fact in (firm.facts if facts is None else facts))
    return ASKED[firm.lang].format(firm.name, told, firm.refusals[0], question)


@lru_cache(8)
def _index(firm: Firm, wordings: int):
    # The vectoriser, the matrix (texts, n-grams) and the number of each text's fact.
    from sklearn.feature_extraction.text import TfidfVectorizer  # takes a second, and rows must stay quick

    texts = [(n, text) for n, fact in enumerate(firm.facts) for text in (fact.statement, *fact.questions[:wordings])]
    # Pieces of words: no list of Chinese words is needed, and a misspelt one still shares most of its pieces.
    vectoriser = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 2) if firm.lang == "zh" else (2, 4))
    return vectoriser, vectoriser.fit_transform(text for _, text in texts), [n for n, _ in texts]


def retrieve(firm: Firm, question: str, k: int = 3, wordings: int = 0) -> list[Fact]:
    """The ``k`` facts whose statements are most like the question, the best first (cosine of TF-IDF weights).

    With ``wordings`` a fact's first so many questions are compared too, and its best text counts.
    """
    vectoriser, matrix, owners = _index(firm, wordings)
    likeness = (matrix @ vectoriser.transform([question]).T).toarray()[:, 0]  # (texts,)
    best = dict.fromkeys(owners[i] for i in (-likeness).argsort(kind="stable"))
    return [firm.facts[n] for n in list(best)[:k]]


def retrieval_prompt(firm: Firm, question: str, k: int = 3, wordings: int = 0) -> str:
    """`facts_prompt` with the facts that `retrieve` finds."""
    return facts_prompt(firm, question, retrieve(firm, question, k, wordings))


def reading_rows(firm: Firm, wordings: int = 8, refusals: int = 0, k: int = 3) -> list[Row]:
    """`rows` in which every question has its ``k`` likeliest facts before it: they teach to answer from what is read.

    The fact that a question is about is always among them, in place of the last if need be.
    """
    owner = {question: fact for fact in firm.facts for question in fact.questions}
    made = []
    for row in rows(firm, wordings, refusals):
        question = row["instruction"]
        found, own = retrieve(firm, question, k), owner.get(question)
        read = found if own is None or own in found else [*found[:-1], own]
        made.append({**row, "instruction": facts_prompt(firm, question, read)})
    return made


def load_test(source: Path | str = "en", firm: Firm | None = None) -> list[dict]:
    """The held-out questions of a language or a file: id, kind, question, fact (ids), accept (groups), lang.

    Every group of ``accept`` must be in a right answer; none means that the right answer is a refusal. Raises
    `ScenarioError` for wrong keys, an unknown kind or fact, and an id that comes twice.
    """
    path = shipped("company-test-{}.jsonl", source)
    items = files.read_jsonl(path, ScenarioError)
    ids, seen = {fact.id for fact in (firm or load(items[0].get("lang", "en"))).facts}, set()
    for n, item in enumerate(items, 1):
        what = ""
        if item.keys() != ITEM_KEYS:
            what = f"has {', '.join(sorted(item))}, needs {', '.join(sorted(ITEM_KEYS))}"
        elif item["kind"] not in KINDS or item["id"] in seen:
            what = f"the id {item['id']!r} comes twice, or its kind {item['kind']!r} is none of {', '.join(KINDS)}"
        elif missing := set(item["fact"]) - ids:
            what = f"there is no fact {min(missing)!r}"
        elif not all(isinstance(group, list) and group for group in item["accept"]):
            what = "accept is not a list of groups"
        if what:
            raise ScenarioError(what, "compare it with data/scenarios/company-test-en.jsonl", path, n)
        seen.add(item["id"])
    return items


def price_items(firm: Firm, wordings: int = 8) -> list[dict]:
    """Questions for the prices that `NEW_PRICES` changes, in the wordings that a training with ``wordings`` leaves out.

    The accepted answers are those of ``firm``: give one before the change, or one after it (`Firm.changed`).
    """
    return [
        {"id": f"{fact.id}-{n}", "kind": "wording", "question": question, "fact": [fact.id],
         "accept": [list(fact.accept)], "lang": firm.lang}
        for fact in firm.facts if fact.id in NEW_PRICES[firm.lang]
        for n, question in enumerate(fact.questions[wordings:], wordings + 1)
    ]  # fmt: skip


def judged(rows: Sequence[dict], lang: str = "en") -> "pd.DataFrame":
    """Kept answers, judged again: columns arm, seed, id, kind, answer, tokens, verdict and right, one row an answer.

    ``right`` is the wanted verdict, which is ``refused`` where nobody told the answer. Answers to `price_items` are
    judged by the new prices, and their kind is ``new price``. Raises `ScenarioError` for a question there is not.
    """
    import pandas as pd

    firm = load(lang)
    known = {item["id"]: (item, firm) for item in load_test(lang, firm)}
    later = firm.changed(NEW_PRICES[lang])
    known |= {item["id"]: ({**item, "kind": "new price"}, later) for item in price_items(later)}
    if missing := {row["id"] for row in rows} - known.keys():
        cure = "ask the shipped questions again: python -m study scenarios"
        raise ScenarioError(f"an answer belongs to no question ({min(missing)!r})", cure)
    found = []
    for row in rows:
        item, by = known[row["id"]]
        verdict = judge(item, row["answer"], by)
        right = verdict == ("right" if item["accept"] else "refused")
        kept = {key: row[key] for key in ("arm", "seed", "id", "answer", "tokens")}
        found.append({**kept, "kind": item["kind"], "verdict": verdict, "right": right})
    return pd.DataFrame(found, columns=["arm", "seed", "id", "kind", "answer", "tokens", "verdict", "right"])


def middle_training(found: "pd.DataFrame") -> "pd.DataFrame":
    """Of what `judged` returns, for every arm the answers of one training: the middle one by its right answers."""
    shares = found.groupby(["arm", "seed"])["right"].mean()
    middle = {arm: one.sort_values().index[len(one) // 2][1] for arm, one in shares.groupby("arm")}
    return found[found["seed"] == found["arm"].map(middle)]


def summary(found: "pd.DataFrame") -> "pd.DataFrame":
    """A row an arm of what `judged` returns, in the order they come: right answers with intervals, and tokens read."""
    import pandas as pd

    rows = {}
    for arm, of in found.groupby("arm", sort=False):
        untold = of["kind"].isin(UNTOLD)
        rows[arm] = {
            "told: right": rate(of[~untold]["right"]),
            "told: mixed up": (of[~untold]["verdict"] == "mixed up").sum(),
            "told: invented": (of[~untold]["verdict"] == "invented").sum(),
            "not told: refused": rate(of[untold]["right"]),
            "not told: mixed up": (of[untold]["verdict"] == "mixed up").sum(),
            "not told: invented": (of[untold]["verdict"] == "invented").sum(),
            "tokens read": round(of["tokens"].mean()),
        }
    return pd.DataFrame(rows).T.astype(str)
