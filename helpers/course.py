"""Runs the notebooks without a browser: executed copies and one HTML page; nbval tests what their cells print."""

import logging
import os
import re
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import nbformat
import psutil
from bleach import ALLOWED_TAGS, Cleaner
from bleach.css_sanitizer import CSSSanitizer
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ClearMetadataPreprocessor, ClearOutputPreprocessor, CoalesceStreamsPreprocessor
from nbformat.v4 import new_markdown_cell, new_notebook, new_output
from tqdm import tqdm
from traitlets.config import Config

from helpers import files
from helpers.errors import DiskError, HelpersError

PROGRESS = re.compile(r"\r(?!\n)|\d+%\|")  # a bar redraws its line, and its first drawing has no carriage return
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
}
# What the page shows of an output, best first: no script, and no widget, which is dead without its kernel.
SHOWN = ["text/html", "text/markdown", "image/svg+xml", "text/latex", "image/png", "image/jpeg", "text/plain"]
# On a screen lines of text stay short; on paper nothing is cut off, a notebook begins on a new sheet, folds are closed.
PAPER = """.jp-RenderedHTMLCommon > * { max-width: 52em } .jp-RenderedHTMLCommon > table { max-width: none }
    @media print { pre { white-space: pre-wrap } h1 { break-before: page } img, table { break-inside: avoid } }"""
SHEETS = """html { scroll-snap-type: y proximity } .jp-InputPrompt, .jp-OutputPrompt, .anchor-link { display: none }
    section { min-height: calc(100vh / 1.4); box-sizing: border-box; padding: 5vh 7vw; zoom: 1.4;
      scroll-snap-align: start; border-bottom: 1px solid #8884; break-after: page; break-inside: avoid }
    @media print { @page { size: A4 landscape; margin: 1cm } section { border: 0; min-height: 0; padding: 0 } }"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"
TAGS = """h1 h2 h3 h4 h5 h6 p br hr div section span pre img details summary main sub sup del mark small kbd progress
    table thead tbody tfoot tr th td caption dl dt dd figure figcaption"""
ATTRIBUTES = "class id style align colspan rowspan scope data-mime-type href title src open alt width height value max"
PROTOCOLS = {"http", "https", "mailto", "data"}
CLEANER = Cleaner(ALLOWED_TAGS | set(TAGS.split()), ATTRIBUTES.split(), PROTOCOLS, True, css_sanitizer=CSSSanitizer())


def select(only: str, folder: Path) -> list[Path]:
    """The notebooks ``0*.ipynb`` in order, or those whose names begin with one of ``only`` ("01,03"); at least one.

    Those in ``extra`` come only by name.
    """
    found = [*sorted(folder.glob("0*.ipynb")), *sorted(folder.glob("extra/*.ipynb"))]
    wanted = tuple(word.strip() for word in only.split(",") if word.strip()) or ("0",)
    have = ", ".join(path.stem for path in found) or "nothing, get the whole project again"
    for word in wanted:
        if not any(path.name.startswith(word) for path in found):
            raise HelpersError(f"{folder}: no notebook begins with {word!r}", f"choose from: {have}")
    return [path for path in found if path.name.startswith(wanted)]


@contextmanager
def claimed(out: Path | None, paths: Sequence[Path], folder: Path) -> Iterator[None]:
    """Hold ``out`` for the copies of ``paths``, which lie in ``folder``; or ``folder`` itself, without ``out``.

    Raises `DiskError` if ``out`` is where the notebooks themselves are, or a file in it may not be replaced, and
    `BusyError` if another process is at it.
    """
    if out and files.real(out).is_relative_to(files.real(folder)):
        raise DiskError(f"{out}: the notebooks themselves are in {folder}", "choose a folder outside it with --out")
    for name in (*(path.name for path in paths), "course.html") if out else ():
        files.check_output(out / name, *paths)
    with files.locked(out or folder, "executing notebooks there"):
        yield


def run_all(paths: Sequence[Path], out: Path | None = None) -> tuple[list[Path], str, HelpersError | None]:
    """Execute notebooks one after the other and save each executed copy in ``out``; stop at the first that fails.

    A failed or interrupted notebook is saved as far as it came. Without ``out`` each is saved over itself, and one that
    fails is left as it was. Returns what was saved, a table of seconds and peak memory (MiB) as text, and the error.
    """
    books = [nbformat.read(path, 4) for path in paths]
    for path in paths:
        files.make_dir(out or path.parent)  # one that cannot be written is told before the notebooks run
    width = max(len(path.stem) for path in paths)
    saved, lines, error = [], [f"{'notebook':{width}}  seconds  peak MiB  result"], None
    with tqdm(total=sum(len(book.cells) for book in books), unit="cell", dynamic_ncols=True) as bar:
        for path, book in zip(paths, books, strict=True):
            bar.set_description(path.stem)
            began = time.perf_counter()
            peak, error = _run_one(path, book, bar, out)
            seconds, end = time.perf_counter() - began, "failed" if error else "done"
            lines.append(f"{path.stem:{width}}  {seconds:7.1f}  {peak / 2**20:8.0f}  {end}")
            if out or not error:
                saved.append(files.write_atomic((out or path.parent) / path.name, nbformat.writes(tidy(book)) + "\n"))
            if error:
                break
    return saved, "\n".join(lines), error


def _run_one(path: Path, book: nbformat.NotebookNode, bar: tqdm, out: Path | None) -> tuple[int, HelpersError | None]:
    again = f"python -m helpers run --only {shlex.quote(path.stem.split('_')[0])}"
    again += f" --out {shlex.quote(str(out))}" if out else " --in-place"
    peak, number, failure = [0], 0, None
    ClearOutputPreprocessor().preprocess(book, {})
    # No folder to search: this Python, whatever kernel is installed. Encrypted: others on the machine cannot listen.
    specs = KernelSpecManager(kernel_dirs=[])
    manager = AsyncKernelManager(kernel_spec_manager=specs, kernel_name="python3", transport_encryption="auto")
    client = NotebookClient(book, km=manager, extra_arguments=["--log-level=ERROR"])
    client.log.setLevel(logging.CRITICAL)  # it logs what the errors below say better
    client.owns_km = True  # so that the kernel ends with the block
    client.shutdown_kernel = "immediate"  # after Ctrl-C, a busy kernel would let the reader wait
    try:
        with client.setup_kernel(cwd=str(path.parent), env={**os.environ, "IDENTITY_STATIC": "1"}):
            threading.Thread(target=_watch, args=(psutil.Process(manager.provisioner.pid), peak), daemon=True).start()
            for number, cell in enumerate(book.cells, 1):
                client.execute_cell(cell, number - 1)
                bar.update()
            client.shutdown_kernel = "graceful"
    except CellExecutionError as e:
        failure = f"{e.ename}: {' '.join(str(e.evalue).split())[:300]}", f"mend that, then: {again}"
    except KeyboardInterrupt:
        failure = "interrupted, what was executed is saved", again
    except RuntimeError as e:  # the kernel died
        failure = f"{e}, most likely for want of memory", f"close other programs, then: {again}"
    return peak[0], failure and HelpersError(f"{path.name}, cell {number}: {failure[0]}", failure[1])


def _watch(process: psutil.Process, peak: list[int]) -> None:
    """Keep in ``peak[0]`` the largest resident set (bytes) of a process and its children, until the process ends."""
    while process.is_running():
        with suppress(psutil.Error):
            peak[0] = max(peak[0], sum(p.memory_info().rss for p in (process, *process.children(recursive=True))))
        time.sleep(0.1)


def tidy(book: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop from an executed notebook, in place, what changes from run to run or from machine to machine."""
    for cell in (cell for cell in book.cells if cell.cell_type == "code"):
        # Judged as one text, since a bar arrives in pieces and not every piece holds its carriage return.
        stderr = "".join(output.text for output in cell.outputs if output.get("name") == "stderr")
        text = "".join(line for line in re.split(r"(?<=\n)", stderr) if not PROGRESS.search(line))
        views = [output for output in cell.outputs if WIDGET_VIEW in output.get("data", {})]
        bars = [output for output in views if PROGRESS.search(output.data.get("text/plain", ""))]
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr" and output not in bars]
        cell.outputs += [new_output("stream", name="stderr", text=text)] if text.strip() else []
    ClearMetadataPreprocessor(preserve_cell_metadata_mask={"tags", "jupyter", "slideshow"}).preprocess(book, {})
    CoalesceStreamsPreprocessor().preprocess(book, {})
    book.metadata = nbformat.from_dict(METADATA)
    return book


def page(paths: Sequence[Path], out: Path) -> Path:
    """Write executed notebooks as one HTML page, which runs no script and asks the network for nothing."""
    files.check_output(out, *paths)
    merged = new_notebook(cells=[new_markdown_cell("**Contents**\n")])
    for path in paths:
        book = nbformat.read(path, 4)
        title = re.search(r"^# (.+)$", "\n".join(cell.source for cell in book.cells), re.MULTILINE)
        merged.cells[0].source += f"\n- [{title[1] if title else path.stem}](#{path.stem})"
        merged.cells.append(new_markdown_cell(f'<div id="{path.stem}"></div>\n\n*{path.name}*'))
        for cell in book.cells:
            if cell.cell_type == "markdown":
                cell.source = SECTION.sub(
                    partial(_listed, merged.cells[0], f"{path.stem}-{len(merged.cells)}"), cell.source
                )
            merged.cells.append(cell)
    for number, cell in enumerate(merged.cells):
        cell.id = f"cell-{number}"  # two notebooks may use one id
    return _write_html(_html(merged), PAPER, out)


def _listed(contents: nbformat.NotebookNode, stem: str, heading: re.Match) -> str:
    # The heading of a section with an anchor before it, after it was written into the contents.
    anchor, plain = f"{stem}-{heading.start()}", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
    contents.source += f"\n    - [{plain}](#{anchor})"
    return f'<div id="{anchor}"></div>\n\n{heading[0]}'


def slides(paths: Sequence[Path], out: Path) -> Path:
    """Write the marked cells of executed notebooks as slides: one HTML page, which runs no script, a sheet a slide.

    A cell whose ``slideshow.slide_type`` is ``slide`` begins one, cells marked otherwise go on with it; those without a
    mark, or marked ``skip`` or ``notes``, are left out. Raises `HelpersError` if no cell is marked.
    """
    files.check_output(out, *paths)
    found: list[nbformat.NotebookNode] = []
    for path in paths:
        for cell in nbformat.read(path, 4).cells:
            kind = cell.metadata.get("slideshow", {}).get("slide_type", "skip")
            if kind == "slide":
                found.append(new_notebook())
            if found and kind not in ("skip", "notes"):
                found[-1].cells.append(cell)
    if not found:
        raise HelpersError("no cell is marked as a slide", "set slide_type in JupyterLab's property inspector")
    made = [re.split(r"<body[^>]*>|</body>", _html(book)) for book in found]
    body = "".join(f"<section>{between}</section>" for _, between, _ in made)
    return _write_html(f"{made[0][0]}<body>{body}</body></html>", SHEETS, out)


def _html(book: nbformat.NotebookNode) -> str:
    exporter = HTMLExporter(config=Config(NbConvertBase={"display_data_priority": SHOWN}))
    return exporter.from_notebook_node(book, {"metadata": {"name": "The course, executed"}})[0]


def _write_html(html: str, style: str, out: Path) -> Path:
    # Only what shows text and pictures stays, and a policy that forbids everything else.
    html = re.sub(r"(?is)<script\b.*?</script\s*>", "", html)
    html = html.replace("<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{POLICY}"/>', 1)
    html = html.replace("</head>", f"<style>{style}</style></head>", 1)
    head, opening, body = re.split(r"(<body[^>]*>)", html, maxsplit=1)
    body = CLEANER.clean(re.sub(r"(?is)<style\b.*?</style\s*>", "", body))
    return files.write_atomic(out, f"{head}{opening}{body}</body></html>")


def before_and_after(since: float = 0.0) -> str:
    """Identity before and after training, by the newest ``answers.jsonl`` since ``since`` (Unix time); else empty."""
    found = [*files.home().glob("runs/*/answers.jsonl"), *files.home().glob("my/answers.jsonl")]
    newest = max(found, key=os.path.getmtime, default=None)
    if newest is None or os.path.getmtime(newest) < since:
        return ""
    lines, question = [], "Who are you?"
    for label, arm in (("before", "base"), ("after", "tuned")):
        rows = [row for row in files.read_jsonl(newest) if row["arm"] == arm]
        said = next((r["answer"] for r in rows if r["messages"][-1]["content"] == question), "(not asked)")
        test = [r for r in rows if (r.get("about"), r.get("expect"), r.get("split")) == ("self", "own", "test")]
        own = sum(r["verdict"] == "own" for r in test)
        lines.append(f"{label:6}  {question} {' '.join(said.split())}")
        lines.append(f"        claims the trained identity in {own} of {len(test)} held-out questions")
    return "\n".join(lines)
