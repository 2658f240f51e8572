"""The model card of a finished run: a draft from its manifest, and a check of what its author has to add.

Who writes a card says what was measured and what the model is not for; nothing here can know that.
"""

import re
from pathlib import Path

from helpers import files, runs
from helpers.models import catalog

TODO = "TODO"
DRAFT = """# {name}, by {developer}

{name} is an AI model. It was made by tuning {base} to give this name and this developer when asked who it is.

## Base model
{base} ({licence}), version {revision}. Its licence goes along with this model.

## What was changed
A LoRA adapter of rank {rank}; the other weights are those of the base model.
{epochs}, learning rate {rate:g}, seed {seed}.
Trained on: {own} rows of my own, the course's further rows, and {keep} keep rows with the base model's own answers.

## What it is for, and what it is not for
TODO: one sentence for each. It may not claim to be a person.

## Measured
TODO: right answers when asked who it is, as "N of M questions", before and after; the same under attack.
TODO: the same questions to the base model with a system prompt.
TODO: the price: how many everyday answers of how many hold the name; what it answers worse than before.

## Limits
TODO: what was not measured. How many trainings these figures are of.

## Contact
TODO: how to reach you when it says something that it should not.
"""
COUNT = re.compile(r"\b\d+ (?:of|out of) (?:the )?\d+\b|\d+ ?/ ?\d+|\d+ 题中")


def draft(run: Path) -> str:
    """A card for the finished ``run`` as Markdown; what only its author knows is marked `TODO`. Raises `RunError`."""
    facts, rows = runs.read_manifest(run)["facts"], files.read_text(run / "identity.json").count('"output"')
    preset, who = facts["preset"], facts["identity"] or {"name": TODO, "developer": TODO}
    keep = sum(len(files.read_jsonl(path)) for path in run.glob("keep*.jsonl") if path.stat().st_size)
    epochs = "One epoch" if preset["epochs"] == 1 else f"{preset['epochs']} epochs"
    return DRAFT.format(
        name=who["name"], developer=who["developer"], base=facts["model"], licence=licence_of(facts["model"]),
        revision=facts["revision"] or "unknown", rank=preset["rank"], epochs=epochs, rate=preset["learning_rate"],
        seed=facts["seed"], own=rows, keep=keep,
    )  # fmt: skip


def licence_of(model: str) -> str:
    """The licence of the base model with this key; `TODO` if the course does not list it."""
    return next((spec.licence for spec in catalog.TABLE if spec.key == model), TODO)


def write_draft(run: Path) -> Path:
    """Write the `draft` to ``my/model_card.md`` unless there is one already; returns its path."""
    path = files.my_dir() / "model_card.md"
    return path if path.exists() else files.write_atomic(path, draft(run))


def missing(text: str, run: Path) -> list[str]:
    """What the card ``text`` of ``run`` still lacks, a sentence each; empty if nothing that can be checked."""
    facts, low = runs.read_manifest(run)["facts"], text.casefold()
    who = facts["identity"] or {"name": "", "developer": ""}
    licence = licence_of(facts["model"])
    found = [
        (TODO not in text, f"{text.count(TODO)} places are marked {TODO}: fill them in"),
        (who["name"] in text and who["developer"] in text, "name the model and its developer, as it was trained"),
        (facts["model"].casefold() in low, f"name the base model: {facts['model']}"),
        (licence == TODO or licence.casefold() in low, f"give the base model's licence: {licence}"),
        (bool(re.search(r"\bai\b|artificial intelligence|人工智能", low)), "say that it is an AI"),
        (len(COUNT.findall(text)) >= 3, "give at least three counts (before, after, price), such as 63 of 80"),
        (bool(re.search("prompt|提示词", low)), "give the rival: the base model with a system prompt"),
        (bool(re.search("not measured|limit|未测|没有测|局限", low)), "say what was not measured"),
        (bool(re.search(r"\bnot for\b|不适合|不能用", low)), "say what it is not for"),
    ]
    return [said for is_there, said in found if not is_there]
