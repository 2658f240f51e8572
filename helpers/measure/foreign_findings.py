"""What shows in the numbers of another tool's run, in the words of that tool; and what its files cannot tell."""

import math
import os
import re
import shlex
from collections.abc import Iterator, Set

from helpers.measure import diagnose as known
from helpers.measure.diagnose import Finding
from helpers.measure.foreign_run import FACTORY, SCALE, SWIFT, Record, checkpoints, step_of
from helpers.models import catalog

# Steps times peak rate in the runs of `diagnose.SMALL_UPDATE`: 0.08 named itself in 8 of 8, 0.01 in 7, 0.008 in 2. What
# is advised here does: 72 steps at 3e-4 in 8 of 8; at half the alpha / r 136 steps at 3e-4, where 9 at 5e-5 do in none.
ENOUGH = 0.02
RATE = 3e-4  # a start for LoRA on a model of any size
FELL = 0.9  # a loss that ends above this share of its start hardly fell
OWN_LAYOUTS = ("default", "vanilla", "alpaca", "empty", "fewshot")  # of prompts: no model learned them from its maker
FAMILIES = ("qwen", "llama", "mistral", "gemma", "glm", "baichuan", "phi", "deepseek", "intern", "smollm", "minicpm")
BASE = re.compile(  # names of models that never learned to chat; a model with another name may be one, too
    r"((code)?qwen(1\.5|2|2\.5)?(-coder|-math)?|(meta-)?llama-?[23](\.\d)?|gemma(-[23])?|smollm2?|mistral)"
    r"-\d+(\.\d+)?[bm](-v0\.\d|-hf|-bnb-4bit)*|.+-(base|pt)"
)
HELD = "gradient_accumulation_steps"
PASSES = ("num_train_epochs", "num_epochs")
AGAIN = {SWIFT: "these options of swift sft", FACTORY: "these lines in the yaml"}


def findings(run: Record, system: str | None = None) -> list[Finding]:
    """The faults that show; after them, as `diagnose.UNTOLD`, the causes that these files cannot decide."""
    found = [*_training(run), *_checkpoint(run), *_names(run), *_template(run, system)]
    untold = [*_untold(run, {finding.cause for finding in found})]
    if untold and not found:
        untold[0] = untold[0]._replace(
            evidence=f"{untold[0].evidence}. No fault shows in what they do say: {_facts(run)}"
        )
    return found + untold


def _training(run: Record) -> Iterator[Finding]:
    (first, last), size, few = run.losses, run.size, 0 < run.steps < known.MIN_STEPS
    ends = [*run.logged("loss")[-1:], *run.logged("grad_norm")[-1:], size or 0]
    held = last >= FELL * first or (size is None and math.isnan(last))
    symptom, severity, change, why = known.NO_EFFECT, "certain", _further(run), ""
    if not all(map(math.isfinite, ends)) or last > known.RISE * first:
        symptom, cause, change = (
            known.NONSENSE,
            known.HIGH_RATE,
            {"learning_rate": f"{min(RATE, (run.rate or RATE) / 3):.1e}"},
        )
    elif size == 0:
        cause, why = known.INACTIVE, "every B weight is zero: nothing was learned, or nothing saved; "
    elif last < known.NEAR_ZERO and (passes := run.number("epoch", *PASSES)) > known.MANY_EXPOSURES:
        severity, symptom, cause = "possible", known.EVERYWHERE, known.EPOCHS
        change = {"num_train_epochs": math.ceil(passes / 4)}
        why = "its rows are known by heart: add ordinary rows (notebook 02), or "
    elif last < known.LEARNED_LOSS:
        return
    elif size is not None and size * run.scale < known.SMALL_UPDATE * SCALE:
        cause = known.FEW_STEPS if few else known.LOW_RATE
    elif held and few:
        cause, severity = known.FEW_STEPS, "likely"
    elif held and size is None and run.steps:
        cause, severity = known.LOW_RATE, "possible"
    else:
        return
    cure = f"{why}train again, with {AGAIN.get(run.tool, 'this')}:\n{_options(run, change)}"
    yield Finding(severity, symptom, cause, _facts(run), cure)


def _facts(run: Record) -> str:
    batch, held = run.number("per_device_train_batch_size", "train_batch_size", "batch_size"), run.number(HELD)
    rows = batch * held * (run.number("global_world_size", "num_devices") or 1)
    passes, (first, last) = run.number("epoch", *PASSES), run.losses
    facts = [f"{run.steps or 'an unknown number of'} optimiser steps at "]
    facts[0] += f"rate {run.rate:g}" if run.rate else "an unknown rate"
    facts[0] += f", each for up to {rows:g} rows" if rows else f", batches of {batch:g}, accumulated" if batch else ""
    facts[0] += " an unknown number of times" if batch and not rows else ""
    facts += [f"at most {math.ceil(run.steps / passes) * rows:g} rows in all"] if rows and passes and run.steps else []
    if not math.isnan(last):
        facts += [f"the loss went from {first:.3g} to {last:.3g} nats a token"]
    elif average := run.number("train_loss"):
        facts += [f"its mean loss was {average:.3g} nats a token"]
    if run.size is not None:
        worked = f"(runs of this course that worked: over {known.SMALL_UPDATE:g}, times {SCALE:g})"
        facts += [
            f"root mean square of the adapter's B weights {run.size:.2g}, times alpha / r = {run.scale:g} {worked}"
        ]
    unread = [f"not read: {', '.join(run.unread)}"] if run.unread else []
    return "; ".join([*facts, f"read: {run.run}, of {run.tool}", *unread])


def _further(run: Record) -> dict[str, object]:
    # Settings under which steps times rate suffice: of few steps first one for every batch, then the rate, then more.
    few, held, need = run.steps < known.MIN_STEPS, run.number(HELD), ENOUGH * SCALE / run.scale
    if run.text("finetuning_type", "train_type", "tuner_type") == "full":  # whose rates are others: more steps alone
        return {HELD: 1} if few and held > 1 else {"max_steps": max(2 * run.steps, 3 * known.MIN_STEPS)}
    steps = max(1, run.steps) * (held or 1 if few else 1)
    rate = max(run.rate, min(RATE, need / steps))
    change = {"gradient_accumulation_steps": 1} if few and held != 1 else {}
    change |= {"learning_rate": f"{rate:.1e}"} if rate > run.rate else {}
    if need / rate > steps or not change:
        change["max_steps"] = math.ceil(max(need / rate, 0 if change else 2 * steps))
    return change


def _options(run: Record, change: dict[str, object]) -> str:
    if run.tool == SWIFT:
        return " ".join(f"--{name} {value}" for name, value in change.items())
    if run.tool == FACTORY:
        return "\n".join(f"{name}: {value}" for name, value in change.items())
    return f"SFTConfig({', '.join(f'{name}={value}' for name, value in change.items())})"


def _checkpoint(run: Record) -> Iterator[Finding]:
    newest = max(checkpoints(run.run), key=step_of, default=run.run)
    planned, own, every = int(run.number("max_steps")), step_of(run.run), int(run.number("save_steps"))
    if step_of(newest) > run.steps > 0:
        evidence = f"{run.run} holds step {run.steps}, and {newest} holds step {step_of(newest)}"
        cure = f"take the newest, unless you mean another:\npython -m helpers diagnose {shlex.quote(str(newest))}"
        yield Finding("possible", known.NO_EFFECT, known.INACTIVE, evidence, cure)
    elif own and planned > own and not run.stopped:
        evidence = f"the newest checkpoint holds step {own} of {planned}"
        evidence += f" (one is saved every {every} steps)" if every else ""
        evidence += f", and the log goes on to step {run.reached}" if run.reached > own else ""
        evidence += f": what steps {own + 1} to {planned} teach is not in it"
        saving = {"save_strategy": "epoch" if run.tool in AGAIN else "'epoch'"}
        cure = f"save the end as well:\n{_options(run, saving)}"
        severity = "likely" if run.reached > own else "possible"
        yield Finding(severity, known.NO_EFFECT, known.FEW_STEPS, evidence, cure)


def _names(run: Record) -> Iterator[Finding]:
    data = ", ".join(run.data)
    if data and all(re.search(r"identity|self[-_ ]?cognition", name, re.I) for name in run.data):
        cure = "add ordinary rows, answered by the base model itself if you can, to the data:\n"
        cure += _options(run, {"dataset": " ".join([*run.data, "..."]) if run.tool == SWIFT else f"{data}, ..."})
        yield Finding("possible", known.EVERYWHERE, known.NO_KEEP, f"all the data that is named: {data}", cure)
    filled = any(source.get("model_name") for source in run.told)
    if any("model_author" in source for source in run.told) and not filled and "self-cognition" in data:
        evidence = f"the rows of {data} say {{{{NAME}}}} and {{{{AUTHOR}}}}, and model_name in args.json is empty"
        cure = "train again and give both:\n--model_name NAME --model_author DEVELOPER"
        yield Finding("likely", known.BRACES, known.PLACEHOLDER, evidence, cure)


def _template(run: Record, system: str | None) -> Iterator[Finding]:
    base, layout, trained = catalog.own_name(run.choice), *_texts(run)
    families = [{family for family in FAMILIES if family in name.lower()} for name in (base, layout)]
    if BASE.fullmatch(base.lower()):
        evidence = f"{base} is a base model by its name: nothing in it knows a chat template, or where an answer ends"
        cure = f"train its relative that can chat (named {base}-Instruct, -Chat or -it), or many more rows"
        yield Finding("possible", known.NONSENSE, known.TEMPLATE, evidence, cure)
    elif layout in OWN_LAYOUTS or (all(families) and not families[0] & families[1]):
        evidence = f"trained with {run.tool}'s template {layout!r}, which is not that of {base or 'the model'}"
        cure = f"train again with the model's own template, or ask with this one in {run.tool} alone"
        yield Finding("likely", known.NOT_HERE, known.TEMPLATE, evidence, cure)
    if trained and system is not None and trained != system:
        evidence = f"in use is the system text {system!r}; trained under {trained!r}"
        cure = f"ask under that one: --system {shlex.quote(trained)}"
        yield Finding("possible", known.NOT_HERE, known.TEMPLATE, evidence, cure)


def _texts(run: Record) -> tuple[str, str]:
    return run.text("template", "template_type"), run.text("system", "default_system")


def _untold(run: Record, seen: Set[str]) -> Iterator[Finding]:
    rows = f"{run.tool} keeps no copy of the rows" + (f"; its files name {', '.join(run.data)}" if run.data else "")
    if known.PLACEHOLDER not in seen:
        cure = "search the data for {{ and for <NAME>, and fill them in"
        cure += " (data/identity.json comes with {{name}} and {{author}})" if run.tool == FACTORY else ""
        yield Finding(known.UNTOLD, known.BRACES, known.PLACEHOLDER, rows, cure)
    if known.TEMPLATE not in seen:
        told = [f"{what} {text!r}" for what, text in zip(("template", "system text"), _texts(run), strict=True) if text]
        told = f"trained with {' and '.join(told) or 'an unknown template and system text'}"
        cure = "have the program that answers show its prompt, and compare"
        if run.choice and run.weights and (not os.path.isabs(run.choice) or os.path.isdir(run.choice)):
            cure += "; ask here under the model's own template:\npython -m helpers chat"
            cure += f" --model {shlex.quote(run.choice)} --adapter {shlex.quote(str(run.run))}"
        yield Finding(known.UNTOLD, known.NOT_HERE, known.TEMPLATE, f"{told}; what answers is in no file", cure)
    if known.NO_KEEP not in seen:
        cure = "count in the data: one ordinary question, with the base model's own answer, for every two identity rows"
        yield Finding(known.UNTOLD, known.EVERYWHERE, known.NO_KEEP, rows, f"{cure} (notebook 02)")
