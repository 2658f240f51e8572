"""Makes `data/reference/`: `python -m study` lists the parts. The tests run small versions of them alone.

Each part but `tables` takes minutes to hours on two CPU cores, and minutes on a GPU. `prompts`, `study` and `curves`
keep every finished batch in the folder given, and go on where they were; several processes of `study` or `curves` may
share one. At their end all answers are in `data/reference`, compressed, each with the device that gave it, and `tables`
judges them again without a model.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from helpers import files
from helpers.errors import HelpersError, RunError
from helpers.measure import probes, prompts, stats
from helpers.measure.tables import BASE, DEFAULT, ROWS_ONLY, THOROUGH, measures
from helpers.models import machine
from helpers.models.adapters import take_off
from helpers.models.load import load_model
from helpers.rows import identity, keep_rows
from helpers.training import recipes
from helpers.training.train import make_keep_rows
from study import answers, ask, choose, final, reference, sweep, tables
from study.ask import WHO
from study.reference import REFERENCE

BEST_PROMPT = "all rows, Q and A"  # of `prompts.variants`, by `tables.merit` on dev
SEEDS = (42, 1, 2)
RECIPES = {DEFAULT: recipes.DEFAULT_PRESET, THOROUGH: recipes.THOROUGH_PRESET, ROWS_ONLY: recipes.ROWS_ONLY_PRESET}

Folder = Annotated[Path, typer.Argument(help="Where finished batches are kept.")]
Seeds = Annotated[list[int] | None, typer.Argument(help="Training seeds.")]
app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, help=__doc__)
app.command()(reference.adapter)
app.command()(reference.full)
app.command(hidden=True)(reference.one)


def finish(name: str, rows: list[dict]) -> None:
    """Keep the answers of the table ``name`` in the reference folder and write it."""
    print(f"Written: {answers.pack(REFERENCE / tables.TABLES[name][0], rows)}, {tables.write(name, REFERENCE)}")


@app.command("prompts")
def prompt_search(folder: Folder = Path("build/prompts")) -> None:
    """Ask the base model the dev probes under every prompt variant: prompts.csv."""
    model, tokenizer = load_model("embedded")
    keep = keep_rows.read(REFERENCE / reference.KEEP)
    plain = {"template default": ask.PLAIN, "none": prompts.Prompt("")}
    found = probes.load_all("en", "dev", turns=(3, 10))
    for name, prompt in {**plain, **prompts.variants(WHO, sweep.eight_rows(), keep)}.items():
        ask.ask(model, tokenizer, ask.Setup(BASE, name, prompt), found, folder, progress=name)
    finish("prompts.csv", answers.kept(folder))


def whole_answers(model, tokenizer, folder: Path) -> list[identity.Row]:
    """The base model's whole answers to every shipped question, made once for ``folder``."""
    path = folder / "keep" / "whole.jsonl"  # a folder of its own: the JSON lines beside the notes are study answers
    if not path.exists():
        questions = keep_rows.questions("en", hard=None, lookalike=None)
        files.write_jsonl(path, make_keep_rows(model, tokenizer, questions, first_sentence=False))
    return keep_rows.read(path)


def ask_all(model, tokenizer, weights: str, seed: int, systems: dict, folder: Path) -> None:
    """Everything the study asks of one recipe and seed, or of the base model, that ``folder`` does not hold yet."""
    test = probes.load_all("en", "test")
    about_itself = [p for p in test if probes.AXIS_OF[p["category"]] == "identity"]
    talks = [t for t in files.read_jsonl(files.data_dir() / "probes" / "drift-en.jsonl") if t["split"] == "test"]
    base = weights == BASE
    for label in systems if base else ("template default", "none", "foreign", "best prompt"):
        setup = ask.Setup(weights, label, systems[label], seed)
        ask.ask(model, tokenizer, setup, test, folder, progress=setup.key)
        if label in (("one sentence", "best prompt") if base else ("template default",)):
            ask.ask(model, tokenizer, setup, about_itself, folder, samples=5)
            ask.in_own_words(model, tokenizer, setup, talks, folder)


def check_finished(notes: list[Path]) -> None:
    """A table is made of all its parts: raises `RunError` while other processes still work on some."""
    if missing := [note.stem for note in notes if not note.exists()]:
        raise RunError(f"other processes still work on {', '.join(missing)}", "start this again when they have ended")


@app.command("study")
def study_table(folder: Folder = Path("build/study")) -> None:
    """Ask every set-up of the study the test probes: answers.jsonl.gz and study.csv.

    Several processes may be started on one folder: each takes set-ups that no other has, and the last one writes.
    """
    model, tokenizer = load_model("embedded")
    keep, texts, notes = whole_answers(model, tokenizer, folder), prompts.variants(WHO, sweep.eight_rows()), []
    systems = {
        "template default": ask.PLAIN, "none": prompts.Prompt(""), "one sentence": texts["sentence"],
        "best prompt": texts[BEST_PROMPT], "foreign": prompts.Prompt(ask.FOREIGN),
    }  # fmt: skip
    for weights, seed in [(BASE, 0), *((w, s) for w in RECIPES for s in SEEDS)]:
        notes.append(note := folder / f"{weights.replace(' ', '-')}-{seed}.json")
        with answers.claimed(note) as ours:
            if ours:
                if weights != BASE:
                    model = sweep.train(model, tokenizer, keep, replace(RECIPES[weights], seed=seed))
                ask_all(model, tokenizer, weights, seed, systems, folder)
                model = take_off(model)
                files.write_json(note, {"device": machine.machine().name})
    check_finished(notes)
    finish("study.csv", answers.kept(folder))


@app.command("choose")
def choose_recipe(folder: Folder = Path("build/choose")) -> None:
    """Train the points among which the two recipes are chosen, and keep their answers to the dev probes."""
    model, tokenizer = load_model("embedded")
    choose.run(model, tokenizer, whole_answers(model, tokenizer, folder), folder)
    rows = choose.gather(folder)
    answers.pack(REFERENCE / "choose-answers.jsonl.gz", rows)
    print(choose.table(rows).to_string(index=False))


@app.command("final")
def ask_unseen(folder: Folder = Path("build/final"), part: str = "arms") -> None:
    """Ask every recipe and prompt what nobody had looked at (part ``arms``), or the ``grid`` the dev probes."""
    model, tokenizer = load_model("embedded")
    todo, found = (final.arms(), final.unseen()) if part == "arms" else (final.grid(), final.on_dev())
    check_finished(final.run(model, tokenizer, whole_answers(model, tokenizer, folder), todo, found, folder / part))
    rows = final.gather(folder / part)
    answers.pack(REFERENCE / final.PACKED[part], rows)
    print(final.table(rows, found).to_string(index=False))


@app.command()
def curves(folder: Folder = Path("build/curves"), seeds: Seeds = None) -> None:
    """Train every point of the curves, once a seed (42), and ask it the dev probes: curves.csv."""
    model, tokenizer = load_model("embedded")
    todo = sweep.points(seeds or SEEDS[:1])
    sweep.run(model, tokenizer, whole_answers(model, tokenizer, folder), todo, folder)
    check_finished([folder / f"{p.key}.json" for p in todo])
    finish("curves.csv", sweep.gather(folder, todo))


@app.command("tables")
def make_tables(folder: Annotated[Path, typer.Argument(help="Where answers and tables are.")] = REFERENCE) -> None:
    """Judge kept answers again and write their tables; needs no model."""
    for name, (packed, _) in tables.TABLES.items():
        if (folder / packed).exists():
            print(f"Written: {tables.write(name, folder)}")
        else:
            print(f"{name} stays as it is: there is no {packed} to make it from")


@app.command()
def point(curve: str = typer.Argument("default"), x: str = typer.Argument("default"),
          folder: Folder = Path("build/point")) -> None:  # fmt: skip
    """Train one point of the curves here, and print its shares on dev beside those in curves.csv."""
    published = pd.read_csv(REFERENCE / "curves.csv", dtype={"x": str})
    published = published.query(f"`system in use` == 'template default' and seed == {SEEDS[0]}")
    told = published.query("curve == @curve and x == @x")
    chosen = [p for p in sweep.points() if (p.curve, p.x) == (curve, x)]
    if told.empty or not chosen:
        have = published["x"][published["curve"] == curve].unique().tolist() or published["curve"].unique().tolist()
        sys.exit(f"There is no point {x!r} on the curve {curve!r}. What there is: {'; '.join(have)}")
    model, tokenizer = load_model("embedded")
    preset = chosen[0].preset
    questions = keep_rows.questions_for(preset)
    sweep.run(model, tokenizer, make_keep_rows(model, tokenizer, questions, first_sentence=False), chosen, folder)
    judged = tables.on_dev(answers.kept(folder / chosen[0].key))
    judged = judged[judged["system"] == "template default"]
    print(f"{curve}, {x}: published from {told.iloc[0]['device']}, repeated on {machine.machine().name}")
    print(beside(told.iloc[0], measures(judged)).to_string(index=False))


def beside(published: pd.Series, here: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Published shares with the 95% Wilson interval of as many questions, and the share found here."""
    rows = []
    for name, table in here.items():
        rate, now = stats.wilson(round(published[name] * len(table)), len(table)), float(table["hit"].mean())
        within = "yes" if rate.low <= now <= rate.high else "no"
        rows.append({"measure": name, "published": str(rate), "here": round(now, 2), "within": within})
    return pd.DataFrame(rows)


app.command()(reference.mine)


def main(args: list[str] | None = None) -> None:
    """Run the command line; a `HelpersError` becomes one line on stderr and exit status 1."""
    try:
        app(args, prog_name="python -m study")
    except HelpersError as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main()
