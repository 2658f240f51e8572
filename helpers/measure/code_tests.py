"""Runs a short function that a model wrote against tests, away from everything that matters.

Three fences: an allow-list on the syntax tree (no imports but ``math``, no private names, no attribute but harmless
methods), a separate isolated Python with hardly any builtins in an empty folder, and limits on time and memory.
Good for the small functions of the probes; not a place to run code from somebody who wants to break out.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence

SECONDS = 2  # a whole set of tests; the functions take microseconds
BYTES = 1 << 30
LONGEST = 4000
FENCED = re.compile(r"```(?:[a-zA-Z0-9]*)\n(.*?)(?:```|\Z)", re.DOTALL)
NODES = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.For,
    ast.While, ast.If, ast.Pass, ast.Break, ast.Continue, ast.Expr, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Lambda,
    ast.IfExp, ast.Dict, ast.Set, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension,
    ast.Compare, ast.Call, ast.keyword, ast.FormattedValue, ast.JoinedStr, ast.Constant, ast.Attribute, ast.Subscript,
    ast.Starred, ast.Name, ast.List, ast.Tuple, ast.Slice, ast.Import, ast.alias, ast.expr_context, ast.boolop,
    ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip
METHODS = frozenset(
    "append extend insert pop remove sort reverse index count copy clear keys values items get update add "
    "discard union intersection difference upper lower strip lstrip rstrip split join replace startswith endswith find "
    "isdigit isalpha isalnum isupper islower title capitalize swapcase zfill sqrt pi floor ceil factorial gcd "
    "pow".split()
)
BUILTINS = (
    "abs all any bool chr dict divmod enumerate filter float int isinstance len list map max min ord pow print range "
    "reversed round set sorted str sum tuple zip ValueError TypeError"
).split()
# What the isolated process runs: it reads {"code", "function", "calls"} and writes one result or error a call.
RUNNER = f"""
import builtins, json, math, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS}))
    resource.setrlimit(resource.RLIMIT_AS, ({BYTES}, {BYTES}))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
except Exception:
    pass
task, out = json.load(sys.stdin), sys.stdout
sys.stdout = sys.stderr = type("Nowhere", (), {{"write": lambda s, t: len(t), "flush": lambda s: None}})()
allowed = {{name: getattr(builtins, name) for name in {BUILTINS!r}}}
allowed["__import__"] = lambda name, *rest: math
space = {{"__builtins__": allowed, "math": math}}
results = []
try:
    exec(compile(task["code"], "answer", "exec"), space)
    for call in task["calls"]:
        try:
            results.append([True, space[task["function"]](*call)])
        except Exception as e:
            results.append([False, type(e).__name__])
    out.write(json.dumps(results))
except BaseException:
    out.write("[]")
"""


def code_in(answer: str) -> str:
    """The first fenced block that holds a function, else the text from its first ``def`` on; empty if there is none."""
    for block in FENCED.findall(answer):
        if "def " in block:
            return block.strip()
    start = re.search(r"^(?:import math\s*\n\s*)?def \w+", answer, re.MULTILINE)
    return _up_to_prose(answer[start.start() :]) if start else ""


def _up_to_prose(text: str) -> str:
    # Without a fence, prose may follow: keep the longest beginning that parses.
    lines = text.splitlines()
    for end in range(len(lines), 0, -1):
        piece = "\n".join(lines[:end])
        try:
            ast.parse(piece)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
        return piece
    return text


def refusal(code: str) -> str:
    """Why this code is not run; empty if every piece of it is on the list."""
    if len(code) > LONGEST:
        return "too long"
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return "not Python"
    for node in ast.walk(tree):
        if not isinstance(node, NODES):
            return type(node).__name__
        if isinstance(node, ast.Attribute) and node.attr not in METHODS:
            return f".{node.attr}"
        if isinstance(node, ast.Import) and any(alias.name != "math" for alias in node.names):
            return "import"
        if isinstance(node, ast.Name) and node.id.startswith("_"):
            return node.id
    return ""


def passes(answer: str, function: str, tests: Sequence[Sequence]) -> bool:
    """Whether the function in ``answer`` gives the expected result in every one of ``tests``.

    Args:
        answer: a model's text with code in it.
        function: its name; a single function under another name is taken too.
        tests: ``[arguments, result]`` pairs of JSON values; numbers compare within 1e-9.
    """
    code = code_in(answer)
    if not code or refusal(code):
        return False
    names = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    if function not in names and len(names) != 1:
        return False
    found = _run(code, function if function in names else names[0], [args for args, _ in tests])
    return len(found) == len(tests) and all(
        ok and _same(value, result) for (ok, value), (_, result) in zip(found, tests, strict=True)
    )


def _run(code: str, function: str, calls: list) -> list:
    task = json.dumps({"code": code, "function": function, "calls": calls})
    keep = {k: os.environ[k] for k in ("SYSTEMROOT",) if k in os.environ}  # Windows cannot start Python without it
    with tempfile.TemporaryDirectory() as empty:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", RUNNER],
                input=task.encode(), capture_output=True, timeout=SECONDS, cwd=empty, env=keep, check=False,
            )  # fmt: skip
            return json.loads(done.stdout or b"[]")
        except (subprocess.TimeoutExpired, ValueError):
            return []


def _same(value: object, result: object) -> bool:
    if isinstance(value, bool) or isinstance(result, bool):
        return value is result
    if isinstance(value, int | float) and isinstance(result, int | float):
        return abs(value - result) <= 1e-9 * max(1, abs(result))
    if isinstance(value, list) and isinstance(result, list):
        return len(value) == len(result) and all(map(_same, value, result))
    return value == result
