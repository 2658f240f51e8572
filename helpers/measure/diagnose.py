"""Why a tuned model does not do what it was tuned for: the causes that a run folder, or the model in use, gives away.

Each finding has numbers of this very run as its evidence, and something to type. Nothing is trained, changed or scored
here: a run in which nothing is found may still fail the probes (notebook 04).
"""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict

from helpers.chat.generate import answers, as_messages, render
from helpers.measure.finished_run import Record, read
from helpers.measure.judge import RIVALS, mentions
from helpers.models.load import fingerprint
from helpers.rows.read import UNFINISHED, question_of
from helpers.training.train import template_hash

NO_EFFECT = "it had no effect"
EVERYWHERE = "it answers everything with its name"
NOT_HERE = "it knows its name in one place and not in another"
BRACES = "it says a placeholder where its name belongs"
NONSENSE = "its answers turned into nonsense"

INACTIVE, PLACEHOLDER, TEMPLATE = "adapter not active", "placeholder left", "template differs between training and use"
FEW_STEPS, LOW_RATE, HIGH_RATE = "too few steps", "learning rate too low", "learning rate too high"
RIVAL, EPOCHS = "rival identity in the system text", "too many epochs"
NO_KEEP, FEW_KEEP = "no keep rows", "too few keep rows"
CAUSES = (INACTIVE, PLACEHOLDER, HIGH_RATE, FEW_STEPS, LOW_RATE, TEMPLATE, RIVAL, NO_KEEP, FEW_KEEP, EPOCHS)
SEVERITIES = ("certain", "likely", "possible")

# Root mean square of the adapter's B weights. They start at 0 and Adam moves each by at most about the rate in a step,
# so it hardly depends on the model. Measured, eight rows, greedy answers to the trained questions: 0.0067 (80 steps at
# 1e-3) names itself in 8 of 8; 0.0035 (10 steps at 1e-3) in 7; 0.0015 (80 at 1e-4) in 2; 0.0005 (10 at 1e-4) in none.
SMALL_UPDATE = 0.0025
LEARNED_LOSS = 0.5  # nats a token: below it even a small update has learned its rows (the failures ended at 1.2, 3.5)
MIN_STEPS = 30  # by then the loss has fallen by half in runs that succeed: a longer run that learned little lacks rate
RISE = 1.2  # the last loss over the first: rows differ, so it wanders, but it does not climb
# Keep rows for each identity example. In curves.csv 0.4 (32 keep questions) left the name in 16 of 100 ordinary
# answers, and more than 1 (128 keep questions) in 4.
KEEP_SHARE = 0.5
MANY_EXPOSURES = 8  # of each row of your own: ten are enough to know it by heart. With enough keep rows no fault.
NEAR_ZERO = 0.05  # nats a token: the eight rows alone end at 0.002, a recipe with keep rows at 0.5
ROUNDING = {"rtol": 1e-2, "atol": 1e-6}  # of weights: an adapter kept in bfloat16 is rounded by up to 0.4%
ASKED = 8  # trained questions asked of a live model


@dataclass(frozen=True)
class Finding:
    """A cause: how sure it is (`SEVERITIES`), the complaint it explains, its name, the evidence, what to type."""

    severity: str
    symptom: str
    cause: str
    evidence: str
    cure: str


def diagnose(run: Path | str, model=None, tokenizer=None, system: str | None = None) -> list[Finding]:
    """Look for the known causes of a training that failed; the surest findings come first.

    Args:
        run: a finished run folder.
        model: the model in use, from `adapters.load_adapter` (or `load.load_model`); None reads the files alone.
        tokenizer: the one in use; with a model too, a few of the trained questions are asked.
        system: the system text in use; None is the template's default.

    Raises:
        RunError: the run is missing, unfinished or damaged.
    """
    record, said, found = read(run), [], list[Finding]()
    if tokenizer is not None:
        found += _template(record, tokenizer)
        tokenizer = tokenizer if tokenizer.chat_template else None
    if model is not None and tokenizer is not None:
        questions = [question_of(row) for row in record.rows[:ASKED]]
        said = answers(model, tokenizer, questions, system=system, max_new_tokens=40)
    found += [*_training(record), *_rows(record, said), *_system(record, tokenizer, system)]
    found += _adapter(record, model, said) if model is not None else []
    return sorted(found, key=lambda f: (SEVERITIES.index(f.severity), CAUSES.index(f.cause)))


def as_text(findings: Sequence[Finding]) -> str:
    """The findings to be read on a screen, a paragraph each."""
    paragraphs = []
    for n, found in enumerate(findings, 1):
        text, *commands = found.cure.split("\n")  # a command stays on one line, to be copied
        paragraphs.append(f'{n}. {found.cause} ({found.severity}): "{found.symptom}"')
        for line in (f"   {'evidence':11} {found.evidence}", f"   {'What to do':11} {text}"):
            indent = {"subsequent_indent": " " * 15, "break_long_words": False, "break_on_hyphens": False}
            paragraphs[-1] += "\n" + textwrap.fill(line, 110, **indent)
        paragraphs[-1] += "".join("\n" + " " * 15 + command for command in commands)
    none = "nothing found: none of the known causes shows in this run. Score it: notebook 04."
    return "\n\n".join(paragraphs) or none


def _training(record: Record) -> Iterator[Finding]:
    rate, size = record.preset.learning_rate, f"root mean square of the adapter's B weights {record.size:.2g}"
    facts = f"{record.steps} optimiser steps at rate {rate:g}; {record.loss_said}; {size}"
    climbed = len(record.losses) > 1 and not record.last_loss <= RISE * record.losses[0]  # `not`: NaN counts
    if climbed or not math.isfinite(record.size):
        cure = f"a third of the rate, replace(preset, learning_rate={rate / 3:.1g}); or the course's recipe:"
        yield Finding("certain", NONSENSE, HIGH_RATE, facts, f"{cure}\n{record.again}")
    elif record.size == 0:
        evidence = f"every B weight in {record.run / 'adapter'} is zero: nothing was learned, or nothing saved"
        yield Finding("certain", NO_EFFECT, INACTIVE, evidence, f"train again:\n{record.again}")
    elif record.size < SMALL_UPDATE and not (record.losses and record.last_loss < LEARNED_LOSS):
        facts += f" (runs that worked have {SMALL_UPDATE:g} and more)"
        cause, way = LOW_RATE, f"ten times the rate, replace(preset, learning_rate={rate * 10:.1g}), or more epochs"
        if record.steps < MIN_STEPS:
            cause, way = FEW_STEPS, "a step for every row, replace(preset, accumulation=1), or more epochs or rows"
            facts += f"; one step for up to {record.preset.batch * record.preset.accumulation} rows"
        cure = f"{way} (steps and rate are one budget: notebook 03); or the course's recipe:\n{record.again}"
        yield Finding("certain", NO_EFFECT, cause, facts, cure)


def _rows(record: Record, said: Sequence[str]) -> Iterator[Finding]:
    texts = [(f"identity.json, row {n}", text) for n, row in enumerate(record.rows, 1) for text in row.values()]
    texts += [("asked, the model says", text) for text in said]
    if left := [(where, text) for where, text in texts if UNFINISHED.search(text)]:
        evidence = f"{left[0][0]}: {left[0][1][:100]!r}" + (f", and {len(left) - 1} more" if left[1:] else "")
        cure = "write {{NAME}} and {{DEVELOPER}} with two braces on each side, or the names themselves"
        yield Finding("certain", BRACES, PLACEHOLDER, evidence, f"{cure}; then train again:\n{record.again}")
    keep = len(record.keep)
    if keep >= KEEP_SHARE * record.examples:
        return
    few = f"{keep} keep rows beside {record.examples} identity examples, fewer than {KEEP_SHARE:g} for each"
    cure = f"train with keep rows (notebook 02); without --keep the command makes them:\n{record.again}"
    yield Finding("likely", EVERYWHERE, FEW_KEEP if keep else NO_KEEP, few, cure)
    if record.exposures >= MANY_EXPOSURES and record.losses and record.last_loss < NEAR_ZERO:
        seen = f"each row of your own was seen {record.exposures} times, and {record.loss_said}: known by heart"
        cure = f"fewer epochs, and more rows that differ from each other, as in the course's recipe:\n{record.again}"
        yield Finding("likely", EVERYWHERE, EPOCHS, seen, cure)


def _named(system: str | None) -> str:
    return "the template's default" if system is None else repr(system)


def _system(record: Record, tokenizer, system: str | None) -> Iterator[Finding]:
    def reads(text: str | None) -> str | None:  # what the model reads; without a tokenizer the text itself
        return text if tokenizer is None else render(tokenizer, as_messages("?", text))

    text = reads(system)
    if text in map(reads, record.systems):
        return
    if text is None:
        text = f"{record.spec.model_name}, {record.spec.maker}" if record.spec else ""
    rivals = [name for name in RIVALS if mentions(text, [name])]
    trained = ", ".join(map(_named, dict.fromkeys(record.systems)))
    evidence = f"in use is {_named(system)}; trained under: {trained}"
    evidence += f". It names {', '.join(rivals)}" if rivals else ""
    option = "no --system" if None in record.systems else f"--system {record.systems[0]!r}"
    cure = f"ask under a text that it was trained under ({option}); "
    cure += f"or train under this one too: replace(preset, own_systems=(*preset.own_systems, {system!r}))"
    # No more than possible: the eight rows alone held their name under a foreign text that was new to them (study.csv).
    yield Finding("possible", NOT_HERE, RIVAL if rivals else TEMPLATE, evidence, cure)


def _template(record: Record, tokenizer) -> Iterator[Finding]:
    then, now = record.facts.get("template"), template_hash(tokenizer)
    evidence = f"the chat template's hash was {str(then)[:12]} in training and is {now[:12]} now"
    if not tokenizer.chat_template:
        evidence = "this tokenizer has no chat template at all"
    elif then in (None, now):  # runs made before the hash was recorded cannot be compared
        return
    cure = f"take the tokenizer that belongs to the model: model, tokenizer = load_model({record.choice!r})"
    yield Finding("likely", NOT_HERE, TEMPLATE, evidence, f"{cure}; or train again with this template")


def _adapter(record: Record, model, said: Sequence[str]) -> Iterator[Finding]:
    learned = sum(a == row["output"] for a, row in zip(said, record.rows, strict=False))
    if found := _why_inactive(record, model, merged=2 * learned > len(said)):
        why, cure = found
        if said:
            asked = f"asked {question_of(record.rows[0])!r}, it says {said[0]!r}"
            why += f". {learned} of {len(said)} trained answers come back; {asked}"
        yield Finding("certain", NO_EFFECT, INACTIVE, why, cure)


def _why_inactive(record: Record, model, merged: bool) -> tuple[str, str] | None:
    load, folder = f"load_adapter(model, {str(record.run)!r})", record.run / "adapter"
    if record.facts.get("fingerprint", print_ := fingerprint(model)) != print_:
        cure = f"model, tokenizer = load_model({record.choice!r}), then model = {load}"
        return f"the base model is not the {record.facts['model']} that it was trained on", cure
    if not isinstance(model, PeftModel):
        return None if merged else ("the model carries no adapter layer", f"model = {load}")
    if model.get_model_status().enabled is not True:
        return "the adapter is switched off", "leave the block of disable_adapter(), or model.enable_adapter_layers()"
    if not (names := model.active_adapters):
        return "the model carries an adapter, but none is chosen", "model.set_adapter('default')"
    live = [get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False) for name in names]
    if not any(weight.any() for weights in live for key, weight in weights.items() if "lora_B" in key):
        return f"every B weight of the live adapter {names} is zero: it is untrained", f"model = {load}"
    if not any(_same(weights, record.weights) for weights in live):
        return f"the live adapter {names} has other weights than {folder}", f"model = {load}"
    return None


def _same(live: dict[str, torch.Tensor], kept: dict[str, torch.Tensor]) -> bool:
    return live.keys() == kept.keys() and all(
        live[key].shape == kept[key].shape and torch.allclose(live[key].float().cpu(), kept[key].float(), **ROUNDING)
        for key in kept
    )
