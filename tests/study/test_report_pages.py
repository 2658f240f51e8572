"""The README and the pages of docs: their links and anchors lead somewhere, and the teacher has every answer."""

import json
import re
from urllib.parse import unquote

import pytest

from helpers import files

ROOT = files.project_root()
PAGES = [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
PREDICT = re.compile(r"\*\*Predict[^*]*\*\*:?(.*?)(?:\n\n|\Z)", re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in HEADING.findall(text)]
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page.name}: {link}"


def test_the_readme_lists_the_notebooks_as_their_heads_say():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "notebooks").glob("0*.ipynb")):
        head = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        title = re.match(r"# (\d\d) · (.+)", head)
        reading, cells = re.search(r"\*\*Time.*?\| (\d+ minutes); the cells .*?about ([\w ]+?) \|", head).groups()
        memory = re.search(r"[\d.]+ GiB", head).group()
        line = f"| [{title[1]} {title[2]}](notebooks/{path.name}) | {reading} | {cells} | {memory} |"
        assert line in page, f"README.md has no line {line}"
    for path in (ROOT / "notebooks").glob("extra/*.ipynb"):
        assert f"(notebooks/extra/{path.name})" in page, path.name


def words(text: str) -> str:
    """``text`` in one line, without marks."""
    return " ".join(re.sub(r"[`*$\\|]", "", text).split())


def test_the_teacher_has_the_answer_to_every_predict():
    answered = words((ROOT / "docs" / "teach.md").read_text(encoding="utf-8"))
    missing = []
    for path in sorted((ROOT / "notebooks").glob("0[1-5]*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            asked = PREDICT.findall("".join(cell["source"])) if cell["cell_type"] == "markdown" else []
            missing += [f"{path.stem}: {words(a)}" for a in asked if words(a)[:60] not in answered]
    assert not missing, "not in docs/teach.md: " + "; ".join(missing)
