"""Makes `data/reference/`: `python -m study` lists the parts. The tests run small versions of them alone.

Each part but `tables` takes minutes to hours on two CPU cores, and minutes on a GPU. `prompts`, `study`, `choose` and
`grid` keep every finished batch in the folder given, and go on where they were; several processes of all but `prompts`
may share one. At their end all answers are in `data/reference`, compressed, each with the device that gave it, and
`tables` judges them again without a model.
"""

import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from helpers import files
from helpers.chat import kept
from helpers.chat.generate import answers as answer_all
from helpers.errors import HelpersError
from helpers.measure import probes, prompts, stats, tables
from helpers.models import machine
from helpers.models.load import fingerprint, load_model, spec_of
from helpers.rows import keep_rows
from helpers.training.train import make_keep_rows
from study import answers, arms, ask, choose, going_on, qwen, reference, report, scenarios
from study import tables as judge_again
from study.ask import WHO
from study.reference import REFERENCE

Folder = Annotated[Path, typer.Argument(help="Where finished batches are kept.")]
app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, help=__doc__)
app.command()(reference.adapter)
app.command()(reference.full)
app.command(hidden=True)(reference.one)
app.command("going-on")(going_on.going_on_table)


def finish(name: str, rows: list[dict], folder: Path | None = None) -> None:
    """Keep the answers of the table ``name`` in the reference folder, or in ``folder``, and write it."""
    folder = folder or REFERENCE
    packed = answers.pack(files.make_dir(folder) / judge_again.TABLES[name][0], rows)
    print(f"Written: {packed}, {judge_again.write(name, folder)}")


@app.command("prompts")
def prompt_search(folder: Folder = Path("build/prompts")) -> None:
    """Ask the base model the dev probes under every prompt variant: prompts.csv."""
    model, tokenizer = load_model("embedded")
    keep = keep_rows.read(REFERENCE / reference.KEEP)
    plain = {"template default": ask.PLAIN, "none": prompts.Prompt("")}
    found = probes.load_all("en", "dev", turns=(3, 10))
    for name, prompt in {**plain, **prompts.variants(WHO, arms.eight_rows(), keep)}.items():
        ask.ask(model, tokenizer, ask.Setup(tables.BASE, name, prompt), found, folder, progress=name)
    finish("prompts.csv", answers.kept(folder))


def split_test_talks(lang: str) -> list[dict]:
    """The conversations of the test split."""
    found = files.read_jsonl(files.data_dir() / "probes" / f"drift-{lang}.jsonl")
    return [talk for talk in found if talk["split"] == "test"]


def shared(
    name: str, todo: list[arms.Arm], found: list[dict], folder: Path, loaded: tuple | None = None,
    reference: Path | None = None, **more,
) -> None:  # fmt: skip
    """Train and ask the arms ``todo`` in ``folder``, keep their answers and write the table ``name``.

    ``loaded`` is a model with its tokenizer, by default the embedded one.
    """
    model, tokenizer = loaded or load_model("embedded")
    questions = keep_rows.questions(todo[0].lang, hard=None, lookalike=None, code=None)
    keep = make_keep_rows(model, tokenizer, questions, first_sentence=False)
    arms.run(model, tokenizer, keep, todo, found, folder, **more)
    finish(name, arms.gather(folder), reference)


@app.command("choose")
def choose_recipe(folder: Folder = Path("build/choose")) -> None:
    """Train the points among which the two recipes were chosen, and ask them part of the dev probes: choose.csv."""
    shared("choose.csv", choose.arms(), choose.asked(), folder)


@app.command("study")
def study_table(folder: Folder = Path("build/study")) -> None:
    """Ask every recipe and prompt the test probes: answers.jsonl.gz, study.csv.gz, figures.csv.

    Several processes may be started on one folder: each takes arms that no other has, and the last one writes.
    """
    texts = prompts.variants(WHO, arms.eight_rows())
    asked_under = {label: texts[text] for label, text in arms.PROMPTS.items()}
    shared(
        "study.csv.gz",
        arms.unseen(),
        probes.load_all("en", "test"),
        folder,
        prompts=asked_under,
        talks=split_test_talks("en"),
    )


@app.command("qwen")
def qwen_study(
    model: Annotated[str, typer.Argument(help="A Qwen2.5 of 0.5B: a folder or a Hub id.")],
    lang: Annotated[str, typer.Argument(help="zh or en.")],
    part: Annotated[str, typer.Argument(help="prompts, choose or study.")] = "study",
    folder: Folder = Path("build/qwen"),
) -> None:
    """The same for a Qwen2.5 of 0.5B in one language: prompts, the choice of its recipe, or its study."""
    reference, folder, who = REFERENCE / tables.QWEN / lang, folder / part / lang, qwen.NAMES[lang][0]
    loaded = load_model(model)
    if part == "choose":
        return shared("choose.csv", qwen.points(lang), qwen.asked(lang), folder, loaded, reference)
    keep = make_keep_rows(*loaded, keep_rows.questions_for(qwen.PRESET, lang), first_sentence=False)
    texts = prompts.variants(who, arms.eight_rows(who, lang), keep, lang)
    if part == "prompts":
        for name, prompt in {"template default": ask.PLAIN, **texts}.items():
            setup = ask.Setup(tables.BASE, name, prompt)
            ask.ask(*loaded, setup, qwen.asked(lang)[::3], folder / who.name, progress=name)
        return finish("prompts.csv", arms.gather(folder), reference)
    under = {label: texts[text] for label, text in qwen.PROMPTS.items()}
    found = probes.load_all(lang, "test", turns=qwen.TURNS)
    return shared(
        "study.csv.gz", qwen.unseen(lang), found, folder, loaded, reference, prompts=under, talks=split_test_talks(lang)
    )


@app.command("scenarios")
def scenarios_study(
    part: Annotated[str, typer.Argument(help="company, teacher or brand.")],
    lang: Annotated[str, typer.Argument(help="en or zh.")] = "en",
    model: Annotated[str, typer.Option(help="A folder, a Hub id or `embedded`.")] = "embedded",
    folder: Folder = Path("build/scenarios"),
) -> None:
    """Train and ask every arm of one scenario of notebook 06: scenarios/PART-MODEL-LANG.jsonl.gz."""
    loaded = load_model(model)
    here = scenarios.run(*loaded, part, lang, scenarios.todo(part, lang), folder)
    print(f"Written: {scenarios.keep(part, spec_of(loaded[0]).key, lang, here)}")


@app.command("grid")
def grid_table(folder: Folder = Path("build/grid")) -> None:
    """Train the eight rows alone at several rates and numbers of steps, and ask the dev probes: grid.csv."""
    shared("grid.csv", arms.grid(), probes.load_all("en", "dev", turns=probes.TURNS[-1:]), folder)


@app.command("base")
def base_answers() -> None:
    """Ask the base model what is the same for everybody, on this CPU: data/base_answers (ten minutes on two cores)."""
    model, tokenizer = load_model("embedded")
    questions = keep_rows.questions("en", hard=None, lookalike=None)
    asked = {64: questions, **{n: [] for n in (40, 96)}}
    for probe in probes.load_probes("en", "test"):
        asked[probes.tokens_for(probe)].append(probe["messages"])
    rows = []
    for length, conversations in asked.items():
        said = answer_all(model, tokenizer, conversations, max_new_tokens=length, progress=f"{length} tokens")
        keys = [kept.key(tokenizer, conversation, length) for conversation in conversations]
        rows += [{"key": key, "answer": answer} for key, answer in zip(keys, said, strict=True)]
    spec, device = spec_of(model), machine.machine().name
    made = {"model": spec.key, "fingerprint": fingerprint(model), "device": device, "torch": torch.__version__}
    print(f"Written: {files.write_jsonl(kept.path_for(spec.key), [made, *rows])}")


@app.command("tables")
def make_tables(folder: Annotated[Path, typer.Argument(help="Where answers and tables are.")] = REFERENCE) -> None:
    """Judge kept answers again, write their tables, and those of the README and the data card; needs no model."""
    for name, (packed, _) in judge_again.TABLES.items():
        if (folder / packed).exists():
            print(f"Written: {judge_again.write(name, folder)}")
        else:
            print(f"{name} stays as it is: there is no {packed} to make it from")
    if folder == REFERENCE:
        for lang in qwen.NAMES:
            make_tables(REFERENCE / tables.QWEN / lang)
        report.write(pd.read_csv(folder / tables.FIGURES))


@app.command()
def repeat(
    label: Annotated[str, typer.Argument(help="A recipe of the study.")] = tables.QUICK,
    folder: Folder = Path("build/repeat"),
) -> None:
    """Train one recipe of the study here, ask it the test probes, and print its shares beside the published ones."""
    todo = [arm for arm in arms.unseen() if arm.label == label and arm.seed == arms.SEEDS[0] and arm.who == WHO]
    if not todo:
        sys.exit(f"There is no recipe {label!r}. What there is: {'; '.join(arms.RECIPES)}")
    model, tokenizer = load_model("embedded")
    found = [p for p in probes.load_all("en", "test") if p.get("turn", 10) == 10]
    questions = keep_rows.questions_for(todo[0].preset)
    keep = make_keep_rows(model, tokenizer, questions, first_sentence=False)
    arms.run(model, tokenizer, keep, todo, found, folder)
    here = tables.measures(tables.with_facts(judge_again.judged(arms.gather(folder), found), found))
    published = pd.read_csv(REFERENCE / tables.FIGURES)
    published = published.query("weights == @label and system == @tables.TEMPLATE and name == @WHO.name")
    print(f"{label}: the published means of seeds {arms.SEEDS}, and seed {arms.SEEDS[0]} on {machine.machine().name}")
    print(beside(published.set_index("measure")["share"], here).to_string(index=False))


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
