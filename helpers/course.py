"""Runs the notebooks without a browser: a fresh kernel for each, executed copies, and one HTML page of all of them.

Not a test of what the cells print: nbval does that.
"""

import base64
import logging
import mimetypes
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import nbformat
import psutil
from bleach import ALLOWED_TAGS, Cleaner
from bleach.css_sanitizer import CSSSanitizer
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ClearMetadataPreprocessor, ClearOutputPreprocessor, CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from tqdm import tqdm
from traitlets.config import Config

from helpers import files
from helpers.errors import HelpersError

PROGRESS = re.compile(r"\r(?!\n)|\d+%\|")  # a bar redraws its line, and its first drawing has no carriage return
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
}
# What the page shows of an output, best first: no script, and no widget, which is dead without its kernel.
SHOWN = ["text/html", "text/markdown", "image/svg+xml", "text/latex", "image/png", "image/jpeg", "text/plain"]
IMAGE = re.compile(r'(<img [^>]*?src=")([^":]+)')
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"
TAGS = """h1 h2 h3 h4 h5 h6 p br hr div span pre img details summary main sub sup del mark small kbd progress
    table thead tbody tfoot tr th td caption dl dt dd figure figcaption"""
ATTRIBUTES = "class id style align colspan rowspan scope data-mime-type href title open alt width height value max"
CLEANER = Cleaner(
    ALLOWED_TAGS | set(TAGS.split()),
    lambda _, name, value: name in ATTRIBUTES.split() or (name == "src" and value.startswith("data:image/")),
    protocols={"http", "https", "mailto", "data"},
    strip=True,
    css_sanitizer=CSSSanitizer(),
)


class NotebookError(HelpersError):
    """A cell that failed or a kernel that died; the message names notebook and cell (counted from 1)."""


@dataclass(frozen=True)
class Result:
    """How one notebook went. ``peak`` is the kernel's largest resident set in bytes, its child processes included."""

    path: Path
    seconds: float
    peak: int
    error: NotebookError | None


def select(only: str = "", folder: Path | None = None) -> list[Path]:
    """The notebooks ``0*.ipynb`` in order, or those whose names begin with one of ``only`` ("01,03").

    Raises:
        NotebookError: no name begins so, or there are no notebooks at all.
    """
    folder = folder or files.project_root() / "notebooks"
    found = sorted(folder.glob("0*.ipynb"))
    if not found:
        raise NotebookError(f"{folder}: no notebooks here", "get the whole project again")
    wanted = tuple(word.strip() for word in only.split(",") if word.strip())
    for word in wanted:
        if not any(path.name.startswith(word) for path in found):
            have = ", ".join(path.stem for path in found)
            raise NotebookError(f"no notebook begins with {word!r}", f"choose from: {have}")
    return [path for path in found if not wanted or path.name.startswith(wanted)]


def run_all(paths: Sequence[Path], out: Path | None = None) -> list[Result]:
    """Execute notebooks one after the other and save each executed copy in ``out``; stop at the first that fails.

    A failed or interrupted notebook is saved as far as it came, and its `Result` carries the error. Without ``out``
    each is saved over itself, and one that fails is left as it was.
    """
    books = [nbformat.read(path, 4) for path in paths]
    results: list[Result] = []
    if out:
        files.make_dir(out)  # a folder that cannot be written is told before the notebooks run
    with tqdm(total=sum(len(book.cells) for book in books), unit="cell", dynamic_ncols=True) as bar:
        for path, book in zip(paths, books, strict=True):
            bar.set_description(path.stem)
            results.append(_run_one(path, book, bar))
            if out or not results[-1].error:
                files.write_atomic((out or path.parent) / path.name, nbformat.writes(tidy(book)) + "\n")
            if results[-1].error:
                break
    return results


def _run_one(path: Path, book: NotebookNode, bar: tqdm) -> Result:
    began, peak, error, number = time.perf_counter(), [0], None, 0
    ClearOutputPreprocessor().preprocess(book, {})
    try:
        with _kernel(path, book) as client:
            threading.Thread(target=_watch, args=(psutil.Process(client.km.provisioner.pid), peak), daemon=True).start()
            for number, cell in enumerate(book.cells, 1):
                client.execute_cell(cell, number - 1)
                bar.update()
    except (CellExecutionError, RuntimeError, KeyboardInterrupt) as e:  # nbclient's dead kernel is a RuntimeError
        error = _explain(e, path, number)
    return Result(path, time.perf_counter() - began, peak[0], error)


def _explain(e: BaseException, path: Path, number: int) -> NotebookError:
    again = f"python -m helpers run --only {path.stem.split('_')[0]}"
    where = f"{path.name}, cell {number}"
    if isinstance(e, CellExecutionError):
        value = " ".join(str(e.evalue).split())[:300]
        return NotebookError(f"{where}: {e.ename}: {value}", f"mend that, then: {again}")
    if isinstance(e, KeyboardInterrupt):
        return NotebookError(f"{where}: interrupted, what was executed is saved", again)
    return NotebookError(f"{where}: {e}, most likely for want of memory", f"close other programs, then: {again}")


@contextmanager
def _kernel(path: Path, book: NotebookNode) -> Iterator[NotebookClient]:
    manager = AsyncKernelManager(
        # No folder to search: this Python, whatever a kernel installed for the user or the system may point to.
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        kernel_name="python3",
        transport_encryption="auto",  # nobody else on a shared machine can read what kernel and client send
    )
    client = NotebookClient(book, km=manager, extra_arguments=["--log-level=ERROR"])
    client.log.setLevel(logging.CRITICAL)  # it logs what `_explain` says better
    client.owns_km = True  # so that the kernel ends with the block
    with client.setup_kernel(cwd=str(path.parent), env={**os.environ, "IDENTITY_STATIC": "1"}):
        try:
            yield client
        except KeyboardInterrupt:
            client.shutdown_kernel = "immediate"  # a busy kernel would let the reader wait
            raise


def _watch(process: psutil.Process, peak: list[int]) -> None:
    """Keep in ``peak[0]`` the largest resident set (bytes) of a process and its children, until the process ends."""
    while process.is_running():
        with suppress(psutil.Error):
            family = (process, *process.children(recursive=True))
            peak[0] = max(peak[0], sum(member.memory_info().rss for member in family))
        time.sleep(0.1)


def tidy(book: NotebookNode) -> NotebookNode:
    """The executed notebook (the same object) without what changes from run to run or from machine to machine.

    Kernel metadata is made uniform; timings, widget state, progress bars and dead widget views go; streams are joined.
    """
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = _without_bars(cell.outputs)
    ClearMetadataPreprocessor(preserve_cell_metadata_mask={"tags", "jupyter", "slideshow"}).preprocess(book, {})
    CoalesceStreamsPreprocessor().preprocess(book, {})
    book.metadata = nbformat.from_dict(METADATA)
    return book


def _without_bars(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    stderr = "".join(output.text for output in outputs if output.get("name") == "stderr")
    # Judged as one text, since a bar arrives in pieces and not every piece holds its carriage return.
    text = "".join(line for line in re.split(r"(?<=\n)", stderr) if not PROGRESS.search(line))
    kept = [output for output in outputs if output.get("name") != "stderr"]
    kept = [o for o in kept if not (WIDGET_VIEW in o.get("data", {}) and PROGRESS.search(o.data.get("text/plain", "")))]
    return [*kept, nbformat.v4.new_output("stream", name="stderr", text=text)] if text.strip() else kept


def page(paths: Sequence[Path], out: Path, images: Path) -> Path:
    """Write executed notebooks, with a table of contents, as the HTML file ``out``; returns ``out``.

    The page has no script and no event handler, and asks the network for nothing. ``images`` is the folder that image
    links in the text are relative to.
    """
    merged = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("**Contents**\n")])
    for path in paths:
        book = nbformat.read(path, 4)
        text = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        merged.cells[0].source += f"\n- [{title[1] if title else path.stem}](#{path.stem})"
        anchor = nbformat.v4.new_markdown_cell(f'<div id="{path.stem}"></div>\n\n*{path.name}*')
        merged.cells += [anchor, *book.cells]
    for number, cell in enumerate(merged.cells):
        cell.id = f"cell-{number}"  # two notebooks may use one id
    exporter = HTMLExporter(config=Config(NbConvertBase={"display_data_priority": SHOWN}))
    html, _ = exporter.from_notebook_node(merged, {"metadata": {"name": "The course, executed"}})
    html = re.sub(r"(?is)<script\b.*?</script\s*>", "", html)
    html = html.replace("<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{POLICY}"/>', 1)
    head, opening, body = re.split(r"(<body[^>]*>)", html, maxsplit=1)
    body = re.sub(r"(?is)<style\b.*?</style\s*>", "", body)
    body = IMAGE.sub(lambda match: match[1] + _embedded(match[2], images), body)
    return files.write_atomic(out, f"{head}{opening}{CLEANER.clean(body)}</body></html>")


def _embedded(link: str, folder: Path) -> str:
    # Not HTMLExporter(embed_images=True): it closes <details> too early, and with it every folded solution.
    kind, file = mimetypes.guess_type(link)[0] or "", folder / unquote(link)
    if not kind.startswith("image/") or not file.is_file():
        return link
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def table(results: Sequence[Result]) -> str:
    """Notebook, seconds, peak memory (MiB) and result, as aligned text."""
    width = max(len(r.path.stem) for r in results)
    lines = [f"{'notebook':{width}}  {'seconds':>7}  {'peak MiB':>8}  result"]
    for r in results:
        outcome = "failed" if r.error else "done"
        lines.append(f"{r.path.stem:{width}}  {r.seconds:7.1f}  {r.peak / 2**20:8.0f}  {outcome}")
    return "\n".join(lines)


def before_and_after(since: float = 0.0) -> str:
    """Identity before and after training, from the newest ``answers.jsonl`` of notebook 04; empty if there is none.

    A file older than ``since`` (seconds since the epoch) does not count: it is not from this run.
    """
    found = [*(files.home() / "runs").glob("*/answers.jsonl"), *(files.home() / "my").glob("answers.jsonl")]
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None or newest.stat().st_mtime < since:
        return ""
    lines, question = [], "Who are you?"
    for label, arm in (("before", "base"), ("after", "tuned")):
        rows = [row for row in files.read_jsonl(newest) if row["arm"] == arm]
        said = next((r["answer"] for r in rows if r["messages"][-1]["content"] == question), "(not asked)")
        held_out = [r for r in rows if (r.get("about"), r.get("expect"), r.get("split")) == ("self", "own", "test")]
        own = sum(r["verdict"] == "own" for r in held_out)
        lines.append(f"{label:6}  {question} {' '.join(said.split())}")
        lines.append(f"        claims the trained identity in {own} of {len(held_out)} held-out questions")
    return "\n".join(lines)
