"""The brand of notebook 06: the same held-out questions to the base model, to prompts, to adapters and to one for all.

`study.scenarios` runs it, arm by arm. Answers are kept with an ``id`` of the form ``product/question``; nothing here
judges them.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from datasets import Dataset

from helpers.chat import generate
from helpers.models.adapters import take_off
from helpers.models.load import spec_of
from helpers.rows import keep_rows, trainset
from helpers.scenarios import brand, voices
from helpers.scenarios.brand import Product
from helpers.training import recipes
from helpers.training.train import build_trainer, make_keep_rows, train_identity

BASE, PROMPT, EXAMPLES = "base model", "system prompt", "system prompt and ten rows"
ADAPTERS, ONE = "three adapters", "one adapter, product in the system text"
ALONE, IN_TURN, MIXED = "adapter, asked alone", "adapters, switched in turn", "adapters, in one batch"
# Asked question by question, a product after the other: the kinds in which a mix-up would show.
TURNS = ("name", "maker", "other product")
TOKENS, BATCH = 40, 64


def labels(lang: str) -> list[str]:
    """The arms that `run` takes; there are products in English only."""
    return [BASE, PROMPT, EXAMPLES, ADAPTERS, ONE] if lang == "en" else []


def trained(label: str) -> bool:
    """Whether the arm depends on a training, and so on its seed."""
    return label in (ADAPTERS, ONE)


def preset_of(model, seed: int) -> recipes.Preset:
    """The preset of the notebook: each row twice, and the first sentence of a dozen ordinary answers beside them.

    At a Qwen's smaller rate each row comes six times.
    """
    spec = spec_of(model)
    few = {"keep_questions": 12, "lookalike_questions": 0, "hard_questions": 0, "code_questions": 0}
    epochs = 6 if spec.model_name == "Qwen" else 2
    return replace(recipes.scenario_preset(spec), epochs=epochs, batch=4, first_sentence=True, seed=seed, **few)


def run(model, tokenizer, lang: str, seed: int, label: str, folder: Path) -> list[dict]:
    """Train what the arm ``label`` needs, ask it, and return ``arm, seed, id, answer, tokens`` for each answer.

    Three adapters are trained once and asked in three ways, which are arms of their own. The base model comes back
    without an adapter.
    """
    products = brand.load(lang)
    pairs = brand.asked(products, brand.questions(lang, products))
    base = brand.base_name(spec_of(model))
    try:
        if label == ADAPTERS:
            tuned = three_adapters(model, tokenizer, products, lang, seed, folder)
            return _asked_three_ways(tuned, tokenizer, pairs, seed)
        if label == ONE:
            model = one_adapter(model, tokenizer, products, lang, seed, folder)
        prompts = {one.key: brand.prompt(one, base) for one in products}
        systems = {
            BASE: dict.fromkeys([one.key for one in products]),
            PROMPT: prompts,
            EXAMPLES: prompts,
            ONE: {one.key: tag(one) for one in products},
        }[label]
        before = {one.key: examples(one, base) if label == EXAMPLES else [] for one in products}
        sent = [
            generate.as_messages([*before[product.key], *generate.as_messages(item["question"])], systems[product.key])
            for product, item in pairs
        ]
        return _rows(tokenizer, pairs, sent, answers_to(model, tokenizer, sent), label, seed if trained(label) else 0)
    finally:
        take_off(model)


def examples(product: Product, base: str) -> generate.Messages:
    """Ten of the product's rows, of every topic, as earlier turns of the talk."""
    rows = brand.rows(product, base)
    spread = [rows[n] for n in range(0, len(rows), len(rows) // 10)][:10]
    return [turn for row in spread for turn in _turns(row)]


def _turns(row: dict) -> generate.Messages:
    one = trainset.example(row)
    return [*one["prompt"], *one["completion"]]


def answers_to(model, tokenizer, sent: Sequence[generate.Messages]) -> list[str]:
    """Greedy answers of the arms' length."""
    return generate.answers(model, tokenizer, sent, max_new_tokens=TOKENS, batch=BATCH)


def _rows(tokenizer, pairs, sent, said: Sequence[str], arm: str, seed: int) -> list[dict]:
    read = [generate.count_tokens(tokenizer, generate.render(tokenizer, messages)) for messages in sent]
    return [
        {"arm": arm, "seed": seed, "id": f"{product.key}/{item['id']}", "answer": answer, "tokens": tokens}
        for (product, item), answer, tokens in zip(pairs, said, read, strict=True)
    ]


def keep_of(model, tokenizer, lang: str, preset: recipes.Preset, say: Callable[[str], None] = lambda line: None):
    """The keep rows of ``preset``, from the base model's own answers."""
    return make_keep_rows(
        model, tokenizer, keep_rows.questions_for(preset, lang), preset.first_sentence, say=say
    )  # fmt: skip


def three_adapters(model, tokenizer, products: Sequence[Product], lang: str, seed: int, folder: Path):
    """An adapter for each product, trained on its own rows and the same keep rows, all attached to ``model``."""
    preset, base = preset_of(model, seed), brand.base_name(spec_of(model))
    keep = keep_of(model, tokenizer, lang, preset)
    for product in products:
        rows = brand.rows(product, base)
        train_identity(model, tokenizer, rows, keep, Path(folder) / product.key, preset, disable_tqdm=True)
    return voices.attach(model, {one.key: Path(folder) / one.key for one in products}, products)


def _asked_three_ways(tuned, tokenizer, pairs, seed: int) -> list[dict]:
    sent = [generate.as_messages(item["question"]) for _, item in pairs]
    keys, how = [product.key for product, _ in pairs], {"max_new_tokens": TOKENS, "batch": BATCH}
    alone = voices.answers_as(tuned, tokenizer, sent, keys, mixed=False, **how)
    found = _rows(tokenizer, pairs, sent, alone, ALONE, seed)
    mixed_up = list(range(len(pairs)))
    random.Random(seed).shuffle(mixed_up)  # so that products stand side by side in a batch
    mixed = voices.answers_as(tuned, tokenizer, [sent[i] for i in mixed_up], [keys[i] for i in mixed_up], **how)
    said = dict(zip(mixed_up, mixed, strict=True))
    found += _rows(tokenizer, pairs, sent, [said[i] for i in range(len(pairs))], MIXED, seed)
    turns = [pair for pair in pairs if pair[1]["kind"] in TURNS]
    turns.sort(key=lambda pair: pair[1]["id"])  # the same question to the three products, one after the other
    sent, said = [generate.as_messages(item["question"]) for _, item in turns], []
    for (product, _), messages in zip(turns, sent, strict=True):
        with voices.speaking_as(tuned, product.key):
            said += answers_to(tuned, tokenizer, [messages])
    return found + _rows(tokenizer, turns, sent, said, IN_TURN, seed)


def tag(product: Product) -> str:
    """The system text that tells the one adapter which product it is."""
    return f"You are {product.name}."


def one_adapter(model, tokenizer, products: Sequence[Product], lang: str, seed: int, folder: Path):
    """The rival: one adapter on the rows of all products, each under its product's `tag`, the keep rows under each."""
    preset, base = preset_of(model, seed), brand.base_name(spec_of(model))
    keep = keep_of(model, tokenizer, lang, preset)
    examples = [trainset.example(row, tag(one)) for one in products for row in (*brand.rows(one, base), *keep)]
    trainer = build_trainer(
        take_off(model), tokenizer, Dataset.from_list(examples), Path(folder) / "one", preset, save_strategy="no"
    )  # fmt: skip
    trainer.train()
    return trainer.model.eval()
