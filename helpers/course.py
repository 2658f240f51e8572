"""Running the notebooks headless: a fresh kernel each, a progress bar over cells, the executed copies saved.

Not a test of what the cells print; nbval does that. What a run looks like on paper is the next room, `report`.
"""

import base64
import json
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

import bleach
import nbformat
import psutil
from bleach.css_sanitizer import CSSSanitizer
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from tqdm import tqdm

from helpers import files
from helpers.errors import HelpersError

PROGRESS = re.compile(r"\r(?!\n)|\d+%\|")  # a bar redraws its line, and its first drawing has no carriage return
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KEPT_CELL_METADATA = ("tags", "jupyter", "slideshow")
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
}


class NotebookError(HelpersError):
    """A cell that failed or a kernel that died; the message names notebook and cell (counted from 1)."""


@dataclass(frozen=True)
class Result:
    """How one notebook went. ``peak`` is the kernel's largest resident set in bytes, its child processes included."""

    name: str
    path: Path
    seconds: float
    peak: int
    error: NotebookError | None = None


def notebooks_dir() -> Path:
    """The folder of the course's notebooks."""
    return files.project_root() / "notebooks"


def select(only: str = "", folder: Path | None = None) -> list[Path]:
    """The notebooks ``0*.ipynb`` in order, or those whose names begin with one of ``only`` ("01,03").

    Raises:
        NotebookError: nothing begins so, or there are no notebooks at all.
    """
    found = sorted((folder or notebooks_dir()).glob("0*.ipynb"))
    have = ", ".join(path.stem for path in found) or "none"
    wanted = [word.strip() for word in only.split(",") if word.strip()]
    for word in wanted:
        if not any(path.name.startswith(word) for path in found):
            raise NotebookError(f"no notebook begins with {word!r}", f"choose from: {have}")
    if not found:
        raise NotebookError(f"{folder or notebooks_dir()}: no notebooks here", "get the whole project again")
    return [path for path in found if not wanted or path.name.startswith(tuple(wanted))]


def run_all(paths: Sequence[Path], out: Path) -> list[Result]:
    """Execute notebooks one after the other and save each executed copy in ``out``; stop at the first that fails.

    A failed or interrupted notebook is saved as far as it came, and its `Result` carries the error.
    """
    books = [(path, nbformat.read(path, 4)) for path in paths]
    results: list[Result] = []
    files.make_dir(out)
    with tqdm(total=sum(len(book.cells) for _, book in books), unit="cell", dynamic_ncols=True) as bar:
        for path, book in books:
            bar.set_description(path.stem)
            results.append(_run_one(path, book, bar))
            files.write_atomic(out / path.name, nbformat.writes(tidy(book)) + "\n")
            if results[-1].error:
                break
    return results


def run_in_place(paths: Sequence[Path]) -> list[Result]:
    """Execute notebooks and save them over themselves, clean to commit; one that fails is left as it was."""
    results: list[Result] = []
    for path in paths:
        book = nbformat.read(path, 4)
        with tqdm(total=len(book.cells), unit="cell", desc=path.stem, dynamic_ncols=True) as bar:
            results.append(_run_one(path, book, bar))
        if results[-1].error:
            break
        files.write_atomic(path, nbformat.writes(tidy(book)) + "\n")
    return results


def _run_one(path: Path, book: NotebookNode, bar: tqdm) -> Result:
    began, peak, error, number = time.perf_counter(), _Peak(), None, 0
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    try:
        with _kernel(path, book) as client, peak.of(client.km.provisioner.pid):
            for number, cell in enumerate(book.cells, 1):
                client.execute_cell(cell, number - 1)
                bar.update()
    except (CellExecutionError, RuntimeError, KeyboardInterrupt) as e:  # nbclient's dead kernel is a RuntimeError
        error = _explain(e, path, number)
    return Result(path.stem, path, time.perf_counter() - began, peak.bytes, error)


def _explain(e: BaseException, path: Path, number: int) -> NotebookError:
    again = f"python -m helpers run --only {path.stem.split('_')[0]}"
    where = f"{path.name}, cell {number}"
    if isinstance(e, CellExecutionError):
        value = " ".join(str(e.evalue).split())[:300]
        return NotebookError(f"{where}: {e.ename}: {value}", f"mend that, then: {again}")
    if isinstance(e, KeyboardInterrupt):
        return NotebookError(f"{where}: interrupted, what was executed is saved", again)
    return NotebookError(f"{where}: {e}, most likely for want of memory", f"close other programs, then: {again}")


class _ThisPython(KernelSpecManager):
    """Starts this interpreter, whatever a ``python3`` kernel installed for the user or the system may point to."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(**get_kernel_dict(extra_arguments=["--log-level=ERROR"]))


@contextmanager
def _kernel(path: Path, book: NotebookNode) -> Iterator[NotebookClient]:
    manager = AsyncKernelManager(
        kernel_name="python3",
        kernel_spec_manager=_ThisPython(),
        transport_encryption="auto",  # a kernel on a shared machine is not to be listened to
    )
    client = NotebookClient(book, km=manager, timeout=None, record_timing=False, store_widget_state=False)
    client.log.setLevel(logging.CRITICAL)  # it logs what `_explain` says better
    client.owns_km = True  # so that the kernel goes with the block
    environment = {**os.environ, "IDENTITY_STATIC": "1"}
    with client.setup_kernel(cwd=str(path.parent), env=environment):
        yield client


class _Peak:
    """The largest resident set of a process and its children, sampled every ``interval`` seconds."""

    def __init__(self, interval: float = 0.1):
        self.interval, self.bytes = interval, 0
        self._done = threading.Event()

    @contextmanager
    def of(self, pid: int) -> Iterator[None]:
        thread = threading.Thread(target=self._watch, args=(psutil.Process(pid),), daemon=True, name="peak")
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def _watch(self, process: psutil.Process) -> None:
        while not self._done.wait(self.interval):
            with suppress(psutil.Error):
                family = (process, *process.children(recursive=True))
                self.bytes = max(self.bytes, sum(member.memory_info().rss for member in family))


def tidy(book: NotebookNode) -> NotebookNode:
    """The executed notebook (the same object) without what changes from run to run or machine to machine.

    Kernel metadata is made uniform; timings, widget state, progress bars and dead widget views go; streams are joined.
    """
    book.metadata = nbformat.from_dict(METADATA)
    for cell in book.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in KEPT_CELL_METADATA})
        if cell.cell_type == "code":
            cell.outputs = _tidy_outputs(cell.outputs)
    return book


def _tidy_outputs(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    kept: list[NotebookNode] = []
    for output in _without_bars(outputs):
        last = kept[-1] if kept else None
        if output.output_type == "stream" and last and last.output_type == "stream" and last.name == output.name:
            last.text += output.text
        else:
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":  # as a terminal would show it: a carriage return starts the line again
            output.text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in output.text.split("\n"))
    return kept


def _without_bars(outputs: Sequence[NotebookNode]) -> Iterator[NotebookNode]:
    stderr = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stderr")
    # Judged as one text, since a bar arrives in pieces and not every piece holds its carriage return.
    text = "".join(line for line in re.split(r"(?<=\n)", stderr) if not PROGRESS.search(line))
    for output in outputs:
        if output.output_type == "stream" and output.name == "stderr":
            continue
        if not (WIDGET_VIEW in output.get("data", {}) and PROGRESS.search(output.data.get("text/plain", ""))):
            yield output
    if text.strip():
        yield nbformat.v4.new_output("stream", name="stderr", text=text)


IMAGE = re.compile(r"(!\[[^\]]*\]\()([^)\s]+)(\))")
QUESTION = "Who are you?"
SAFE_DATA = ("text/plain", "text/html", "text/markdown", "text/latex", "image/png", "image/jpeg", "image/svg+xml")
TAGS = bleach.ALLOWED_TAGS | {
    *("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "div", "span", "pre", "img", "details", "summary"),
    *("table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption", "dl", "dt", "dd", "figure", "figcaption"),
    *("sub", "sup", "del", "mark", "small", "kbd", "progress"),
}
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"


def page(paths: Sequence[Path], out: Path, images: Path | None = None) -> Path:
    """Write executed notebooks as one page with a table of contents.

    Args:
        paths: the executed copies, in order.
        out: the HTML file to write.
        images: the folder that image links in the text are relative to (by default that of the first notebook).

    Returns:
        ``out``.
    """
    books = [(path.stem, nbformat.read(path, 4)) for path in paths]
    exporter = HTMLExporter(sanitize_html=True)
    exporter.register_filter("clean_html", clean_html)  # nbconvert's own would drop headings and table heads
    resources = {"metadata": {"name": "The course, executed"}}
    html, _ = exporter.from_notebook_node(_merged(books, images or paths[0].parent), resources)
    html = re.sub(r"<script\b.*?</script>", "", html, flags=re.DOTALL | re.IGNORECASE)
    guard = f'<head><meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'
    return files.write_atomic(out, html.replace("<head>", guard, 1))


def _merged(books: Sequence[tuple[str, NotebookNode]], images: Path) -> NotebookNode:
    contents = "\n".join(f"- [{_title(book) or name}](#{name})" for name, book in books)
    merged = nbformat.v4.new_notebook(metadata=books[0][1].metadata)
    merged.cells = [nbformat.v4.new_markdown_cell(f"**Contents**\n\n{contents}")]
    for name, book in books:
        merged.cells.append(nbformat.v4.new_markdown_cell(f'<div id="{name}"></div>\n\n*{name}.ipynb*'))
        merged.cells += book.cells
    for number, cell in enumerate(merged.cells):
        cell.id = f"cell-{number}"  # two notebooks may use one id
        if cell.cell_type == "markdown":
            cell.source = IMAGE.sub(lambda match: match[1] + _embedded(match[2], images) + match[3], cell.source)
        for output in cell.get("outputs", []):
            if "data" in output:  # a script or a widget without its kernel has nothing to show on a page
                output.data = {kind: value for kind, value in output.data.items() if kind in SAFE_DATA}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("data", True)]
    return merged


def _embedded(link: str, folder: Path) -> str:
    # nbconvert's own embedding closes <details> too early, and with it every folded solution.
    kind, file = mimetypes.guess_type(link)[0] or "", folder / link
    if not kind.startswith("image/") or not file.is_file():
        return link
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def _title(book: NotebookNode) -> str:
    lines = (line for cell in book.cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    return next((line[2:].strip() for line in lines if line.startswith("# ")), "")


def _allowed(tag: str, name: str, value: str) -> bool:
    if tag == "img" and name == "src":
        return value.startswith("data:image/")
    by_tag = {
        "a": ("href", "title"),
        "img": ("alt", "width", "height"),
        "progress": ("value", "max"),
        "details": ("open",),
    }
    return name in ("class", "id", "style", "align", "colspan", "rowspan", "scope", *by_tag.get(tag, ()))


def clean_html(html: str) -> str:
    """``html`` with only harmless tags and attributes: no script, no event handler, no image from elsewhere."""
    text = html.decode() if isinstance(html, bytes) else str(html)
    text = re.sub(r"<(style|script)\b.*?</\1\s*>", "", text, flags=re.DOTALL | re.IGNORECASE)
    return bleach.clean(
        text, TAGS, _allowed, protocols={"http", "https", "mailto", "data"}, strip=True, css_sanitizer=CSSSanitizer()
    )


def table(results: Sequence[Result]) -> str:
    """Notebook, seconds, peak memory (MiB) and result, as aligned text."""
    width = max(len(r.name) for r in results)
    lines = [f"{'notebook':{width}}  {'seconds':>7}  {'peak MiB':>8}  result"]
    for r in results:
        outcome = "failed" if r.error else "done"
        lines.append(f"{r.name:{width}}  {r.seconds:7.1f}  {r.peak / 2**20:8.0f}  {outcome}")
    return "\n".join(lines)


def before_and_after(since: float = 0.0) -> str:
    """Identity before and after training, from the newest ``answers.jsonl`` of notebook 04; empty if there is none.

    Args:
        since: seconds since the epoch; an older file is left alone (it is not from this run).
    """
    found = [*(files.home() / "runs").glob("*/answers.jsonl"), *(files.home() / "my").glob("answers.jsonl")]
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None or newest.stat().st_mtime < since:
        return ""
    rows = [json.loads(line) for line in newest.read_text(encoding="utf-8").splitlines()]
    return "\n".join(
        _arm(label, [r for r in rows if r["arm"] == arm]) for label, arm in (("before", "base"), ("after", "tuned"))
    )


def _arm(label: str, rows: Sequence[dict]) -> str:
    said = next((r["answer"] for r in rows if r["messages"][-1]["content"] == QUESTION), "(not asked)")
    held_out = [r for r in rows if (r.get("about"), r.get("expect"), r.get("split")) == ("self", "own", "test")]
    own = sum(r["verdict"] == "own" for r in held_out)
    share = f"claims the trained identity in {own} of {len(held_out)} held-out questions"
    return f"{label:6}  {QUESTION} {' '.join(said.split())}\n        {share}"
