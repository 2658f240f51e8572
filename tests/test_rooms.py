"""The rooms of `helpers`: all are in the list, and each imports only from those above it."""

import ast
import re

import helpers
from helpers import runs

FOLDER = runs.project_root() / "helpers"
ROOMS = re.findall(r"[a-z_]+", helpers.__doc__.split("any of them can be read alone:")[1].split("and\nthe command")[0]
                   .split("and the command")[0])  # fmt: skip


def room_of(path) -> str:
    return path.relative_to(FOLDER).parts[0].removesuffix(".py")


def imported(path) -> set[str]:
    """The rooms that a module imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "helpers":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("helpers.")}
    return found


def test_every_module_is_a_room_in_the_list():
    there = {room_of(p) for p in FOLDER.rglob("*.py")} - {"__init__", "__main__"}
    assert len(ROOMS) == len(set(ROOMS)) and set(ROOMS) == there


def test_each_room_imports_only_from_those_above_it():
    for path in FOLDER.rglob("*.py"):
        room = room_of(path)
        if room in ("__init__", "__main__"):
            continue
        above = {*ROOMS[: ROOMS.index(room)], *({room} if room == "widgets" else set())}
        assert imported(path) <= above, f"{path.name} imports {sorted(imported(path) - above)}"
