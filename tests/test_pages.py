"""Pages and notebooks: their links lead somewhere, and the site made of them asks no other address for anything."""

import os
import re
import shutil
import subprocess
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from helpers import files

ROOT = files.project_root()
BOOKS = [path for path in ROOT.glob("notebooks/**/*.ipynb") if ".ipynb_checkpoints" not in path.parts]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("data/*.md"), *BOOKS]
LINK = re.compile(r"\]\(<?([^()\s>]+(?:\([^()\s]*\))?)>?(?:\s+\"[^\"]*\")?\)|(?:src|href)=\"([^\"]+)\"")
FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2", re.M | re.S)
LOADED = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]+)"|<link\b[^>]*\bhref="([^"]+)"')


def text_of(path):
    """The Markdown of a page or a notebook, without code."""
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, 4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    return re.sub(r"`[^`\n]*`", "code", FENCE.sub("", text))


def anchors_of(path):
    """The anchors of a page as GitHub makes them, and those written out."""
    source = path.read_text(encoding="utf-8") if path.suffix == ".md" else text_of(path)
    heads = re.findall(r"^#{1,6} +(.+?) *$", FENCE.sub("", source), re.M)
    slugs, seen = set(re.findall(r"(?:id|name)=\"([^\"]+)\"", source)), {}
    for head in heads:
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head).lower()).strip().replace(" ", "-")
        seen[slug] = seen.get(slug, -1) + 1
        slugs.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
    return slugs


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(path):
    broken = []
    for found in LINK.findall(text_of(path)):
        link = next(filter(None, found))
        parts = urlsplit(link)
        if parts.scheme or link.startswith("//"):
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        is_page = target.suffix == ".md" and target.exists()
        if not target.exists() or (is_page and parts.fragment and unquote(parts.fragment) not in anchors_of(target)):
            broken.append(link)
    assert not broken


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_the_site_is_built_and_asks_no_other_address_for_anything():
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(["make", "-o", "dev", "site"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    site = ROOT / "build" / "site"
    pages = list(site.rglob("*.html"))
    stems = {path.stem for path in pages}
    assert {"slides", *(path.stem for path in PAGES if path.parent.name != "data")} <= stems
    for page in pages:
        loaded = [next(filter(None, pair)) for pair in LOADED.findall(page.read_text(encoding="utf-8"))]
        assert not [url for url in loaded if urlsplit(url).netloc], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet
