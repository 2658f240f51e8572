"""Why a tuned model does not do what it was tuned for: the causes that a run folder, or the model in use, gives away.

Nothing is trained, changed or scored here: a run in which nothing is found may still fail the probes (notebook 04).
"""

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from peft import PeftModel, get_peft_model_state_dict

from helpers.chat.generate import answers, as_messages, render
from helpers.measure.finished_run import Record, read
from helpers.measure.judge import RIVALS, mentions
from helpers.models.load import same_base
from helpers.rows.read import UNFINISHED, question_of
from helpers.training import begun
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
UNTOLD = "cannot tell"  # the files of another tool do not decide it
SEVERITIES = ("certain", "likely", "possible", UNTOLD)

# Root mean square of the adapter's B weights. They start at 0 and Adam moves each by at most about the rate in a step,
# so it hardly depends on the model. Measured, eight rows, greedy answers to the trained questions: 0.0067 (80 steps at
# 1e-3) names itself in 8 of 8; 0.0035 (10 steps at 1e-3) in 7; 0.0015 (80 at 1e-4) in 2; 0.0005 (10 at 1e-4) in none.
SMALL_UPDATE = 0.0025
LEARNED_LOSS = 0.5  # nats a token: below it even a small update has learned its rows (the failures ended at 1.2, 3.5)
MIN_STEPS = 30  # by then the loss has fallen by half in runs that succeed: a longer run that learned little lacks rate
RISE = 1.2  # the last loss over the first: rows differ, so it wanders, but it does not climb
KEEP_SHARE = 0.5  # keep rows for each identity example: at 0.4 the name leaked into 16% of answers
MANY_EXPOSURES = 8  # of each row of your own: ten are enough to know it by heart. With enough keep rows no fault.
NEAR_ZERO = 0.05  # nats a token: the eight rows alone end at 0.002, a recipe with keep rows at 0.5


class Finding(NamedTuple):
    """A cause: how sure it is (`SEVERITIES`), the complaint it explains, its name, the evidence, what to type."""

    severity: str
    symptom: str
    cause: str
    evidence: str
    cure: str


def diagnose(run: Path | str, model=None, tokenizer=None, system: str | None = None) -> list[Finding]:
    """Look for the known causes of a failed training in a finished run folder; the surest findings come first.

    With the ``model`` in use its adapter is looked at, with its ``tokenizer`` the chat template; with both, a few
    trained questions are asked. ``system`` is the system text in use, None the template's default. Raises `RunError`.
    Of another tool's run its numbers are read, and the ``model``.
    """
    from helpers.measure import foreign_findings, foreign_run  # which are written in the terms of this module

    if foreign_run.is_one(run):
        other = foreign_run.read(run)
        comparable = model is not None and other.weights and all("lora_" in name for name in other.weights)
        live = _adapter(other, model, []) if comparable else []
        return _sorted([*foreign_findings.findings(other, system), *live])
    record, said, found = read(run), [], list[Finding]()
    if tokenizer is not None:
        found += _template(record, tokenizer)
        tokenizer = tokenizer if tokenizer.chat_template else None
    if model is not None and tokenizer is not None:
        said = answers(model, tokenizer, list(map(question_of, record.rows[:8])), system=system, max_new_tokens=40)
    found += [*_training(record), *_rows(record, said), *_system(record, tokenizer, system)]
    found += _adapter(record, model, said) if model is not None else []
    return _sorted(found)


def _sorted(found: Iterable[Finding]) -> list[Finding]:
    return sorted(found, key=lambda f: (SEVERITIES.index(f.severity), CAUSES.index(f.cause)))


def as_text(findings: Sequence[Finding]) -> str:
    """The findings to be read on a screen, a paragraph each."""
    paragraphs, indent = [], " " * 15
    fill = partial(textwrap.fill, width=110, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    for n, found in enumerate(findings, 1):
        text, *commands = found.cure.split("\n")  # a command stays on one line, to be copied
        head = f'{n}. {found.cause} ({found.severity}): "{found.symptom}"'
        parts = [fill(f"   {'evidence':11} {found.evidence}"), fill(f"   {'What to do':11} {text}")]
        paragraphs.append("\n".join([head, *parts, *(indent + command for command in commands)]))
    return "\n\n".join(paragraphs) or "nothing found: no known cause shows in this run. Score it: notebook 04."


def _training(record: Record) -> Iterator[Finding]:
    rate, rows = record.preset.learning_rate, record.preset.batch * record.preset.accumulation
    facts = f"{record.steps} optimiser steps at rate {rate:g}, each for up to {rows} rows; {record.loss_said}; "
    facts += f"root mean square of the adapter's B weights {record.size:.2g} (runs that worked: over {SMALL_UPDATE:g})"
    symptom = NO_EFFECT
    if not math.isfinite(record.size) or (record.losses and not record.last_loss <= RISE * record.losses[0]):  # or NaN
        symptom, cause, way = NONSENSE, HIGH_RATE, f"a third of the rate, replace(preset, learning_rate={rate / 3:.1g})"
    elif record.size == 0:
        cause, way = INACTIVE, "train again, for every B weight is zero: nothing was learned, or nothing saved"
    elif record.size >= SMALL_UPDATE or record.last_loss < LEARNED_LOSS:
        return
    elif record.steps < MIN_STEPS:
        cause, way = FEW_STEPS, "a step for every row, replace(preset, accumulation=1), or more epochs or rows"
    else:
        cause, way = LOW_RATE, f"ten times the rate, replace(preset, learning_rate={rate * 10:.1g}), or more epochs"
    yield Finding("certain", symptom, cause, facts, f"{way} (notebook 03); or the course's recipe:\n{record.again}")


def _rows(record: Record, said: Sequence[str]) -> Iterator[Finding]:
    texts = [f"identity.json, row {n}: {text!r}" for n, row in enumerate(record.rows, 1) for text in row.values()]
    texts += [f"asked, the model says: {text!r}" for text in said]
    if left := list(filter(UNFINISHED.search, texts)):
        evidence = f"{len(left)} found, the first: {left[0][:140]}"
        cure = "write {{NAME}} and {{DEVELOPER}} with two braces on each side, or the names themselves"
        yield Finding("certain", BRACES, PLACEHOLDER, evidence, f"{cure}; then train again:\n{record.again}")
    if record.keep >= KEEP_SHARE * record.plan.about:
        return
    few = f"{record.keep} keep rows beside {record.plan.about} identity examples, fewer than {KEEP_SHARE:g} for each"
    cure = f"train with keep rows (notebook 02); without --keep the command makes them:\n{record.again}"
    yield Finding("likely", EVERYWHERE, FEW_KEEP if record.keep else NO_KEEP, few, cure)
    if record.plan.exposures >= MANY_EXPOSURES and record.last_loss < NEAR_ZERO:
        seen = f"each row of your own was seen {record.plan.exposures} times, and {record.loss_said}: known by heart"
        cure = f"fewer epochs, and more rows that differ from each other, as in the course's recipe:\n{record.again}"
        yield Finding("likely", EVERYWHERE, EPOCHS, seen, cure)


def _system(record: Record, tokenizer, system: str | None) -> Iterator[Finding]:
    named = {text: "the template's default" if text is None else repr(text) for text in (system, *record.systems)}
    # What the model reads; without a tokenizer the text itself.
    read = {s: s if tokenizer is None else render(tokenizer, as_messages("?", s)) for s in named}
    if read[system] in [read[s] for s in record.systems]:
        return
    evidence = f"in use is {named.pop(system)}; trained under: {', '.join(named.values())}"
    default = f"{record.spec.model_name}, {record.spec.maker}" if record.spec else ""
    if rivals := [name for name in RIVALS if mentions(default if read[system] is None else read[system], [name])]:
        evidence += f". It names {', '.join(rivals)}"
    option = [] if None in record.systems else ["--system", record.systems[0]]
    cure = "ask under a text that it was trained under; or train under this one too:"
    cure += "\n" + begun.shell("chat", "--adapter", record.run, "--model", record.choice, *option)
    cure += f"\npreset = replace(preset, own_systems=(*preset.own_systems, {system!r}))"
    # No more than possible: the eight rows alone held their name under a foreign text that was new to them.
    yield Finding("possible", NOT_HERE, RIVAL if rivals else TEMPLATE, evidence, cure)


def _template(record: Record, tokenizer) -> Iterator[Finding]:
    then, now = record.facts.get("template"), template_hash(tokenizer)
    if tokenizer.chat_template and then in (None, now):  # runs made before the hash was recorded cannot be compared
        return
    now = now[:12] if tokenizer.chat_template else "missing: this tokenizer has no chat template at all"
    evidence = f"the chat template's hash was {str(then)[:12]} in training; now it is {now}"
    cure = "take the tokenizer that belongs to the model, or train again with this template:"
    yield Finding("likely", NOT_HERE, TEMPLATE, evidence, f"{cure}\nmodel, tokenizer = load_model({record.choice!r})")


def _adapter(record: Record, model, said: Sequence[str]) -> Iterator[Finding]:
    learned = sum(a == row["output"] for a, row in zip(said, record.rows, strict=False))
    cure, kept = f"put it on:\nmodel = load_adapter(model, {str(record.run)!r})", record.weights
    names = model.active_adapters if isinstance(model, PeftModel) else []
    live = [get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False) for name in names]
    if not isinstance(model, PeftModel) and 2 * learned > len(said):  # the adapter was merged into the weights
        return
    if (trained_on := record.facts.get("fingerprint")) and not same_base(model, trained_on):
        why = f"the base model is not the {record.facts['model']} that it was trained on"
        cure = cure.replace("\n", f"\nmodel, tokenizer = load_model({record.choice!r})\n")
    elif not isinstance(model, PeftModel):
        why = "the model carries no adapter layer"
    elif model.get_model_status().enabled is not True:
        why, cure = "the adapter is switched off", "leave the disable_adapter() block, or model.enable_adapter_layers()"
    elif not any(weight.any() for weights in live for key, weight in weights.items() if "lora_B" in key):
        why = f"no B weight of the live adapter {names} is other than zero: it is untrained"
    elif any(now.keys() == kept.keys() and all(_close(now[key], kept[key]) for key in kept) for now in live):
        return
    else:
        why = f"the live adapter {names} has other weights than the one in {record.run}"
    if said:
        why += f". {learned} of {len(said)} trained answers come back: {question_of(record.rows[0])!r} gets {said[0]!r}"
    yield Finding("certain", NO_EFFECT, INACTIVE, why, cure)


def _close(live: torch.Tensor, kept: torch.Tensor) -> bool:  # bfloat16 rounds what is kept
    return live.shape == kept.shape and torch.allclose(live.float().cpu(), kept.float(), rtol=1e-2, atol=1e-6)
