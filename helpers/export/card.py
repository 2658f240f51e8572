"""The model card of a finished run: a draft from its manifest, and a check of what its author has to add.

Who writes a card says what was measured and what the model is not for; nothing here can know that.
"""

import re
from pathlib import Path

from helpers import files, runs
from helpers.measure import finished_run
from helpers.models import catalog

TODO = "TODO"
DRAFT = """# {name}, by {developer}

{name} is an AI model. It was made by tuning {base} to give this name and this developer when asked who it is.

## Base model
{base} ({licence}), version {revision}. Its licence goes along with this model.

## What was changed
A LoRA adapter of rank {rank}; the other weights are those of the base model.
{epochs}, learning rate {rate:g}, seed {seed}; run {run}.
Trained on: {own} rows of my own, {further} further rows of the course, and {keep} keep rows (ordinary questions).

## What it is for, and what it is not for
TODO: one sentence for each. It may not claim to be a person.

## Measured
{measured}

## Limits
TODO: what was not measured. How many trainings these figures are of.

## Contact
TODO: how to reach you when it says something that it should not.
"""
MEASURED = """TODO: right answers when asked who it is, as "N of M questions", before and after; the same under attack.
TODO: the same questions to the base model with a system prompt.
TODO: the price: how many everyday answers of how many hold the name; what it answers worse than before."""
COUNT = re.compile(r"\b\d+ (?:of|out of) (?:the )?\d+\b|(?<![\d/])\d+ ?/ ?\d+(?![\d/])|\d+\s*题中")


def draft(run: Path, measured: str = "") -> str:
    """A card for the finished ``run`` as Markdown; what only its author knows is marked `TODO`. Raises `RunError`.

    ``measured`` is put before what is still to be measured.
    """
    record = finished_run.read(run)
    facts = record.facts
    who = facts["identity"] or {"name": TODO, "developer": TODO}
    epochs = "One epoch" if record.preset.epochs == 1 else f"{record.preset.epochs} epochs"
    return DRAFT.format(
        name=who["name"], developer=who["developer"], base=facts["model"], licence=licence_of(facts["model"]),
        revision=facts.get("revision") or "unknown", rank=facts["preset"].get("rank", TODO), epochs=epochs,
        rate=record.preset.learning_rate, seed=facts.get("seed", TODO), own=len(record.rows), keep=record.keep,
        further=record.further, run=run.name, measured=f"{measured}\n{MEASURED}".strip(),
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
    written = "\n".join(line for line in low.split("\n") if not line.startswith("#"))  # headings claim nothing
    who = facts["identity"] or {"name": "", "developer": ""}
    licence = licence_of(facts["model"])
    found = [
        (run.name in text, f"this card tells of another run than {run.name}: delete it, and write a new draft"),
        (TODO not in text, f"{text.count(TODO)} places are marked {TODO}: fill them in"),
        (who["name"] in text and who["developer"] in text, "name the model and its developer, as it was trained"),
        (facts["model"].casefold() in low, f"name the base model: {facts['model']}"),
        (licence == TODO or licence.casefold() in low, f"give the base model's licence: {licence}"),
        (bool(re.search(r"\bai\b|artificial intelligence|人工智能", low)), "say that it is an AI"),
        (len(COUNT.findall(text)) >= 3, "give at least three counts (before, after, price), such as 63 of 80"),
        (bool(re.search("prompt|提示词", written)), "give the rival: the base model with a system prompt"),
        (bool(re.search("not measured|limit|未测|没有测|局限", written)), "say what was not measured"),
        (bool(re.search(r"\bnot for\b|不适合|不能用", written)), "say what it is not for"),
    ]
    return [said for is_there, said in found if not is_there]
