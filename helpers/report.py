"""What a headless run leaves to read: one HTML page with every notebook, a short table, identity before and after.

The page carries no script and asks the network for nothing: what a model wrote can never run in a reader's browser.
"""

import base64
import json
import mimetypes
import re
from collections.abc import Sequence
from pathlib import Path

import bleach
import nbformat
from bleach.css_sanitizer import CSSSanitizer
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from helpers import runs
from helpers.execute import Result

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
    return runs.write_atomic(out, html.replace("<head>", guard, 1))


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
    found = [*(runs.home() / "runs").glob("*/answers.jsonl"), *(runs.home() / "my").glob("answers.jsonl")]
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
