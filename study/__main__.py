"""Makes `data/reference/`: `python -m study adapter|full|prompts|study|curves|mine`. No test runs it.

Each part takes minutes to hours on two CPU cores, and minutes on a GPU. `prompts`, `study` and `curves` keep every
finished batch in the folder given, and go on where they were; several processes of `study` or `curves` may share one.
The device stands in the files, so nobody has to trust a table without knowing where it was measured; `point` repeats
one point of the curves wherever you are.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from trl import SFTTrainer

from helpers import files, runs
from helpers.chat import generate
from helpers.measure import judge, probes, prompts, stats, tables
from helpers.models import catalog, machine
from helpers.models.adapters import save_adapter, take_off
from helpers.models.load import load_model
from helpers.rows import identity, keep_rows, trainset
from helpers.training import memory, recipes
from helpers.training.keep import make_keep_rows
from helpers.training.train import run_facts, train_identity
from study import ask, sweep

WHO = identity.Identity("Tavi", "Lantern Workshop", ("TAVI",))
REFERENCE = runs.reference_run()
TABLES = ("full_tuning.csv", "curves.csv", "prompts.csv", "study.csv", "several_gpus.csv", "gpu.csv")
BEST_PROMPT = "all rows, Q and A"  # of `prompts.variants`, by `tables.merit` on dev
SEEDS = (42, 1, 2)
RECIPES = {tables.DEFAULT: recipes.DEFAULT_PRESET, tables.THOROUGH: recipes.THOROUGH_PRESET,
           tables.ROWS_ONLY: recipes.ROWS_ONLY_PRESET}  # fmt: skip


def eight_rows():
    """The shipped rows, filled."""
    return identity.read_rows(identity.shipped_rows("en"), WHO)


def adapter() -> None:
    """Train the default recipe, round the adapter to bfloat16, and seal the folder."""
    model, tokenizer = load_model("embedded")
    preset = recipes.preset_for(catalog.EMBEDDED)
    questions = keep_rows.questions("en", preset.keep_questions, preset.hard_questions)
    keep = make_keep_rows(model, tokenizer, questions, preset.first_sentence)
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch)
        tuned = train_identity(model, tokenizer, eight_rows(), keep, run, preset, identity=WHO)
        REFERENCE.mkdir(parents=True, exist_ok=True)
        for name in ("identity.json", "metrics.json", "memory.csv"):
            shutil.copy(run / name, REFERENCE / name)
        files.write_jsonl(REFERENCE / f"keep-{catalog.EMBEDDED.key}.jsonl", keep)
        save_adapter(tuned, REFERENCE / "adapter", dtype=torch.bfloat16)
        facts = run_facts(tuned, preset, WHO, tokenizer)
    texts = {name: (REFERENCE / name).read_text() for name in TABLES if (REFERENCE / name).exists()}
    for name in texts:  # measured apart from the run, so not part of what its manifest seals
        (REFERENCE / name).unlink()
    runs.seal(REFERENCE, {**facts, "command": "python -m study adapter"})
    for name, text in texts.items():
        files.write_atomic(REFERENCE / name, text)


def full() -> None:
    """Measure full fine-tuning against LoRA, each in a process of its own: seconds and peak memory."""
    measured = [
        json.loads(subprocess.check_output([sys.executable, __file__, "one", kind]).splitlines()[-1])
        for kind in ("full", "lora")
    ]
    table = pd.DataFrame(measured).assign(device=machine.machine().name, command="python -m study full")
    files.write_atomic(REFERENCE / "full_tuning.csv", table.to_csv(index=False))
    print(table)


def one(kind: str) -> None:
    """One epoch over 24 rows with all weights or with the adapter trained; prints a line of JSON."""
    model, tokenizer = load_model("embedded")
    rows = eight_rows()
    keep = keep_rows.read(REFERENCE / f"keep-{catalog.EMBEDDED.key}.jsonl")[:8]
    preset = recipes.Preset(extra_wordings=0, attack_rows=0, late_identity_rows=0, late_keep_rows=0)
    data, sampler = trainset.to_dataset(rows, keep, preset), memory.MemoryCallback()
    with tempfile.TemporaryDirectory() as scratch:
        config = recipes.sft_config(preset, scratch, num_train_epochs=1, save_strategy="no")
        lora = recipes.lora_config(preset) if kind == "lora" else None
        trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer, peft_config=lora,
                             callbacks=[sampler])  # fmt: skip
        trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        began = time.perf_counter()
        with sampler:
            trainer.train()
    result = {"method": {"full": "all weights", "lora": "LoRA"}[kind], "trained weights": trained}
    print(
        json.dumps(
            {**result, "seconds": round(time.perf_counter() - began, 1), "peak MiB": round(sampler.peak / 2**20)}
        )
    )


def prompt_search(folder: str = "build/prompts") -> None:
    """Every prompt variant on the ``dev`` probes, ranked by `tables.merit`, into ``prompts.csv``."""
    model, tokenizer = load_model("embedded")
    keep = keep_rows.read(REFERENCE / f"keep-{catalog.EMBEDDED.key}.jsonl")
    found, plain = (
        probes.load_all("en", "dev", turns=(3, 10)),
        {"template default": ask.PLAIN, "none": prompts.Prompt("")},
    )
    for name, prompt in {**plain, **prompts.variants(WHO, eight_rows(), keep)}.items():
        ask.ask(model, tokenizer, ask.Arm(tables.BASE, name, prompt), found, Path(folder), progress=name)
    judged = tables.with_facts(tables.judge_answers(ask.kept(Path(folder)), found, WHO), found)
    table = tables.summary(judged).pivot_table(index="system", columns="measure", values="share", sort=False).round(4)
    ability = float(table.loc["template default", "ability"])
    table.insert(0, "merit", [round(tables.merit(row, ability), 4) for _, row in table.iterrows()])
    table = table.assign(device=machine.machine().name).rename_axis("prompt").sort_values("merit", ascending=False)
    files.write_atomic(REFERENCE / "prompts.csv", table.to_csv())


def whole_answers(model, tokenizer, folder: Path) -> list[identity.Row]:
    """The base model's whole answers to every shipped question, made once for ``folder``."""
    path = folder / "keep" / "whole.jsonl"  # a folder of its own: what lies beside the notes are answers of arms
    if not path.exists():
        files.write_jsonl(
            path, make_keep_rows(model, tokenizer, keep_rows.questions("en", hard=None), first_sentence=False)
        )
    return keep_rows.read(path)


def ask_arm(model, tokenizer, weights: str, seed: int, systems: dict, folder: Path) -> None:
    """Everything the study asks of one recipe and seed, or of the base model, that ``folder`` does not hold yet."""
    test = probes.load_all("en", "test")
    alone = [p for p in test if probes.AXIS_OF[p["category"]] == "identity"]
    talks = [t for t in files.read_jsonl(files.data_dir() / "probes" / "drift-en.jsonl") if t["split"] == "test"]
    base = weights == tables.BASE
    for label in systems if base else ("template default", "none", "foreign", "best prompt"):
        arm = ask.Arm(weights, label, systems[label], seed)
        ask.ask(model, tokenizer, arm, test, folder, progress=arm.name)
        if label in (("one sentence", "best prompt") if base else ("template default",)):
            ask.ask(model, tokenizer, arm, alone, folder, samples=5)
            ask.in_own_words(model, tokenizer, arm, talks, folder)


def end_unless_whole(notes: list[Path]) -> None:
    """A table is made of all its parts: end with a word if other processes are still at some."""
    if missing := [note.stem for note in notes if not note.exists()]:
        sys.exit(f"Others are still at {', '.join(missing)}: start this once more when they have ended.")


def study_table(folder: str = "build/study") -> None:
    """Ask every arm of the study that ``folder`` does not hold yet, judge all answers, and write ``study.csv``.

    Several processes may be started on one folder: each takes arms that no other has, and the last one writes.
    """
    model, tokenizer = load_model("embedded")
    place, notes = Path(folder), []
    keep, rows = whole_answers(model, tokenizer, place), eight_rows()
    systems = ask.systems(WHO, prompts.variants(WHO, rows)[BEST_PROMPT])
    for weights, seed in [(tables.BASE, 0), *((w, s) for w in RECIPES for s in SEEDS)]:
        notes.append(note := place / f"{weights.replace(' ', '-')}-{seed}.json")
        with files.claimed(note) as ours, tempfile.TemporaryDirectory() as scratch:
            if ours and not note.exists():
                if weights != tables.BASE:
                    preset = recipes.with_seed(RECIPES[weights], seed)
                    model = train_identity(
                        model, tokenizer, rows, sweep.kept(keep, preset), Path(scratch) / "run", preset, identity=WHO,
                        save_strategy="no",
                    )  # fmt: skip
                ask_arm(model, tokenizer, weights, seed, systems, place)
                model = take_off(model)
                files.write_json(note, {"device": machine.machine().name})
    end_unless_whole(notes)
    table = tables.judge_answers(ask.kept(place), probes.load_all("en", "test"), WHO)
    files.write_atomic(REFERENCE / "study.csv", table.assign(device=machine.machine().name).to_csv(index=False))


def curves(folder: str = "build/curves", *seeds: str) -> None:
    """Every point of the curves that ``folder`` does not hold yet, for each seed, judged into ``curves.csv``."""
    model, tokenizer = load_model("embedded")
    todo = sweep.points(sweep.Point("default", "default"), [int(s) for s in seeds] or [42])
    sweep.run(model, tokenizer, WHO, whole_answers(model, tokenizer, Path(folder)), todo, Path(folder))
    end_unless_whole([Path(folder) / f"{p.key}.json" for p in todo])
    files.write_atomic(REFERENCE / "curves.csv", sweep.table(Path(folder), todo, WHO).to_csv(index=False))


def point(curve: str = "default", x: str = "default", folder: str = "build/point") -> None:
    """Train one point of the published curves here, and print its shares on `dev` beside those in ``curves.csv``."""
    published = pd.read_csv(REFERENCE / "curves.csv", dtype={"x": str})
    published = published[(published["system in use"] == "template default") & (published["seed"] == SEEDS[0])]
    chosen = [p for p in sweep.points(sweep.Point("default", "default")) if (p.curve, p.x) == (curve, x)]
    told = published[(published["curve"] == curve) & (published["x"] == x)]
    if told.empty or not chosen:
        have = published["x"][published["curve"] == curve].unique().tolist() or published["curve"].unique().tolist()
        sys.exit(f"There is no point {x!r} on the curve {curve!r}. What there is: {'; '.join(have)}")
    model, tokenizer = load_model("embedded")
    preset, found = chosen[0].preset, probes.load_all("en", "dev", turns=(3, 10))
    keep = make_keep_rows(
        model, tokenizer, keep_rows.questions("en", preset.keep_questions, preset.hard_questions), first_sentence=False
    )
    sweep.run(model, tokenizer, WHO, keep, chosen, Path(folder))
    judged = tables.judge_answers(ask.kept(Path(folder) / chosen[0].key), found, WHO)
    judged = judged[judged["system"] == "template default"]
    print(f"{curve}, {x}: published from {told.iloc[0]['device']}, repeated on {machine.machine().name}")
    print(beside(told.iloc[0], tables.measures(tables.with_facts(judged, found))).to_string(index=False))


def beside(published: pd.Series, here: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Published shares with the 95% Wilson interval of as many questions, and the share found here."""
    rows = []
    for name, table in here.items():
        rate, now = stats.wilson(round(published[name] * len(table)), len(table)), float(table["hit"].mean())
        within = "yes" if rate.low <= now <= rate.high else "no"
        rows.append({"measure": name, "published": str(rate), "here": round(now, 2), "within": within})
    return pd.DataFrame(rows)


def mine(*seeds: str) -> None:
    """Find the questions of the pool that tuned models take for questions about themselves: ``keep/hard-en.jsonl``.

    One model a seed, trained with four rows a step and no hard questions; sorted by how many models leaked.
    """
    model, tokenizer = load_model("embedded")
    pool = [row["question"] for row in files.read_jsonl(files.data_dir() / "keep" / "pool-en.jsonl")]
    fit = {row["instruction"] for row in make_keep_rows(model, tokenizer, pool)}
    preset, hits = replace(sweep.FOUR_A_STEP, hard_questions=0), Counter()
    keep = make_keep_rows(model, tokenizer, keep_rows.questions("en", preset.keep_questions))
    for seed in [int(s) for s in seeds] or range(12):
        with tempfile.TemporaryDirectory() as scratch:
            tuned = train_identity(
                model, tokenizer, eight_rows(), keep, Path(scratch) / "run", recipes.with_seed(preset, seed),
                identity=WHO, save_strategy="no",
            )  # fmt: skip
        said = generate.answers(tuned, tokenizer, pool, max_new_tokens=24, batch=64, progress=f"seed {seed}")
        hits.update(q for q, a in zip(pool, said, strict=True) if judge.leaked(a, WHO) == "leaked")
        model = take_off(tuned)
    hard = [{"question": q, "hits": n} for q, n in hits.most_common() if q in fit]
    files.write_jsonl(files.data_dir() / "keep" / "hard-en.jsonl", hard)


PARTS = {
    "adapter": adapter, "full": full, "one": one, "prompts": prompt_search, "study": study_table, "curves": curves,
    "mine": mine, "point": point,
}  # fmt: skip

if __name__ == "__main__":
    PARTS[sys.argv[1]](*sys.argv[2:])
