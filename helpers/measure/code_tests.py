"""Runs a short function that a model wrote against tests, away from everything that matters.

Three fences: an allow-list on the syntax tree (no import but ``math``, no private name, no attribute but harmless
methods), a separate isolated Python with hardly any builtins in an empty folder, and limits on time, memory and the
length of its result. Good for the small functions of the probes; not a place to run code of somebody who wants to
break out.
"""

import ast
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence

SECONDS = 2  # a whole set of tests; the functions take microseconds
BYTES = 1 << 30
LONGEST = 4000
RESULTS = 1 << 16  # characters of all results together
FENCED = re.compile(r"```(?:[a-zA-Z0-9]*)\n(.*?)(?:```|\Z)", re.DOTALL)
UNFENCED = re.compile(r"^(?:(?:import|from) math\b.*\n\s*)*def \w+", re.MULTILINE)
# "{0.real}" and "{0[1]}" reach into the argument. What follows a colon only says how to print: "{:.2f}".
REACHES = re.compile(r"\{[^{}:!]*[.\[]")
NODES = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.For,
    ast.While, ast.If, ast.Pass, ast.Break, ast.Continue, ast.Expr, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Lambda,
    ast.IfExp, ast.Dict, ast.Set, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension,
    ast.Compare, ast.Call, ast.keyword, ast.FormattedValue, ast.JoinedStr, ast.Constant, ast.Attribute, ast.Subscript,
    ast.Starred, ast.Name, ast.List, ast.Tuple, ast.Slice, ast.Import, ast.ImportFrom, ast.alias, ast.NamedExpr,
    ast.Try, ast.ExceptHandler, ast.Raise, ast.Assert, ast.Delete, ast.expr_context, ast.boolop, ast.operator,
    ast.unaryop, ast.cmpop,
)  # fmt: skip
METHODS = frozenset(
    "append extend insert pop popitem remove sort reverse index count copy clear keys values items get setdefault "
    "update add discard union intersection difference issubset issuperset upper lower strip lstrip rstrip split "
    "splitlines join replace startswith endswith find rfind partition isdigit isalpha isalnum isspace isupper islower "
    "title capitalize swapcase zfill center ljust rjust format bit_length is_integer".split()
) | {name for name in dir(math) if not name.startswith("_")}
BUILTINS = (
    "abs all any bin bool chr dict divmod enumerate filter float format frozenset hex int isinstance iter len list map "
    "max min next oct ord pow print range reversed round set sorted str sum tuple zip Exception ArithmeticError "
    "AssertionError IndexError KeyError LookupError OverflowError StopIteration TypeError ValueError ZeroDivisionError"
).split()
# What the isolated process runs: it reads {"code", "function", "calls"} and writes one result or error a call.
# Each limit is set by itself: Windows knows none of them, and macOS refuses that on memory.
RUNNER = f"""
import builtins, json, math, sys
for name, most in (("RLIMIT_CPU", {SECONDS}), ("RLIMIT_AS", {BYTES}), ("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", 0)):
    try:
        import resource
        resource.setrlimit(getattr(resource, name), (most, most))
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
    text = json.dumps(results)
    out.write(text if len(text) <= {RESULTS} else "[]")
except BaseException:
    out.write("[]")
"""


def code_in(answer: str) -> str:
    """The first fenced block that holds a function, else the text from its first ``def`` on; empty if there is none."""
    for block in FENCED.findall(answer):
        if "def " in block:
            return block.strip()
    start = UNFENCED.search(answer)
    lines = answer[start.start() :].split("\n") if start else []
    # Without a fence, prose may follow: keep the longest beginning that is Python.
    pieces = ("\n".join(lines[:end]) for end in range(len(lines), 0, -1))
    return next((piece for piece in pieces if _parsed(piece)), "\n".join(lines))


def _parsed(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def refusal(code: str) -> str:
    """Why this code is not run; empty if every piece of it is on the list."""
    if len(code) > LONGEST:
        return "too long"
    tree = _parsed(code)
    return next(filter(None, map(_refused, ast.walk(tree))), "") if tree else "not Python"


def _refused(node: ast.AST) -> str:
    if not isinstance(node, NODES):
        return type(node).__name__
    # Every name that the code reads, binds or passes: a variable, an argument, a function, an attribute, an alias.
    names = [] if isinstance(node, ast.Constant) else [v for _, v in ast.iter_fields(node) if isinstance(v, str)]
    if private := [name for name in names if name.startswith("_") and name != "_"]:
        return private[0]
    if isinstance(node, ast.Import) and any(alias.name != "math" for alias in node.names):
        return "import"
    if isinstance(node, ast.ImportFrom) and (node.module != "math" or node.level):
        return "import"
    if isinstance(node, ast.Attribute):
        text = node.value.value if isinstance(node.value, ast.Constant) else None
        # The text that is formatted must stand in the code, where it can be read.
        formats = node.attr == "format" and not (isinstance(text, str) and not REACHES.search(text))
        return f".{node.attr}" if formats or node.attr not in METHODS else ""
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
    keep = {k: os.environ[k] for k in ("SYSTEMROOT",) if k in os.environ}  # Windows cannot start Python without it
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryFile() as task:
        task.write(json.dumps({"code": code, "function": function, "calls": calls}).encode())
        task.seek(0)
        with subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", RUNNER],
            stdin=task, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=empty, env=keep,
        ) as child:  # fmt: skip
            timer = threading.Timer(SECONDS, child.kill)
            timer.start()
            said = child.stdout.read(RESULTS + 1)  # whatever the process sends, no more is read
            timer.cancel()
            child.kill()
    try:
        return json.loads(said)
    except (ValueError, RecursionError):
        return []


def _same(value: object, result: object) -> bool:
    if isinstance(value, bool) or isinstance(result, bool):
        return value is result
    if isinstance(value, int | float) and isinstance(result, int | float):
        try:
            return abs(value - result) <= 1e-9 * max(1, abs(result))
        except OverflowError:  # a whole number that no float can hold, beside a float
            return False
    if isinstance(value, list) and isinstance(result, list):
        return len(value) == len(result) and all(map(_same, value, result))
    return value == result
