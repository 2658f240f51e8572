"""The README tells of each notebook what its head says, and the teacher has every answer."""

import json
import re

from helpers import files

ROOT = files.project_root()
PREDICT = re.compile(r"\*\*Predict[^*]*\*\*:?(.*?)(?:\n\n|\Z)", re.DOTALL)


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
    for path in sorted((ROOT / "notebooks").glob("0*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            asked = PREDICT.findall("".join(cell["source"])) if cell["cell_type"] == "markdown" else []
            missing += [f"{path.stem}: {words(a)}" for a in asked if words(a)[:60] not in answered]
    assert not missing, "not in docs/teach.md: " + "; ".join(missing)
