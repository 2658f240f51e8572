"""Runs a short function that a model wrote against tests, away from everything that matters.

Three fences: an allow-list on the syntax tree, a separate isolated Python with hardly any builtins in an empty folder,
and limits on time, memory and the length of its result. Not for code of somebody who wants to break out.
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
LONGEST = 4000  # characters of code
RESULTS = 1 << 16  # characters of all results together
FENCED = re.compile(r"```(?:[a-zA-Z0-9]*)\n(.*?)(?:```|\Z)", re.DOTALL)
UNFENCED = re.compile(r"^(?:(?:import|from) math\b.*\n\s*)*def \w+", re.MULTILINE)
# "{0.real}" and "{0[1]}" reach into the argument. What follows a colon only says how to print: "{:.2f}".
REACHES = re.compile(r"\{[^{}:!]*[.\[]")
NODES = tuple(
    getattr(ast, name)
    for name in "Module FunctionDef arguments arg Return Assign AugAssign AnnAssign For While If Pass Break Continue "
    "Expr BoolOp BinOp UnaryOp Lambda IfExp Dict Set ListComp SetComp DictComp GeneratorExp comprehension Compare Call "
    "keyword FormattedValue JoinedStr Constant Attribute Subscript Starred Name List Tuple Slice Import ImportFrom "
    "alias NamedExpr Try ExceptHandler Raise Assert Delete expr_context boolop operator unaryop cmpop".split()
)
METHODS = frozenset(
    "append extend insert pop popitem remove sort reverse index count copy clear keys values items get setdefault "
    "update add discard union intersection difference issubset issuperset upper lower strip lstrip rstrip split "
    "splitlines join replace startswith endswith find rfind partition isdigit isalpha isalnum isspace isupper islower "
    "title capitalize swapcase zfill center ljust rjust bit_length is_integer".split()
) | {name for name in dir(math) if not name.startswith("_")}
BUILTINS = (
    "abs all any bin bool chr dict divmod enumerate filter float format frozenset hex int isinstance iter len list map "
    "max min next oct ord pow print range reversed round set sorted str sum tuple zip Exception ArithmeticError "
    "AssertionError IndexError KeyError LookupError OverflowError StopIteration TypeError ValueError ZeroDivisionError"
).split()
# What the isolated process runs: it reads {"code", "function", "calls"} and writes [result] for each call, or [].
# Each limit is set by itself: Windows knows none of them, and macOS refuses that on memory.
RUNNER = f"""
import builtins, contextlib, json, math, sys
for name, most in (("RLIMIT_CPU", {SECONDS}), ("RLIMIT_AS", 1 << 30), ("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", 0)):
    with contextlib.suppress(Exception):
        import resource
        resource.setrlimit(getattr(resource, name), (most, most))
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
            results.append([space[task["function"]](*call)])
        except Exception:
            results.append([])
    text = json.dumps(results)
    out.write(text if len(text) <= {RESULTS} else "[]")
except BaseException:
    out.write("[]")
"""


def _parsed(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def code_in(answer: str) -> str:
    """The first fenced block that holds a function, else the text from its first ``def`` on; empty if there is none."""
    if fenced := [block for block in FENCED.findall(answer) if "def " in block]:
        return fenced[0].strip()
    start = UNFENCED.search(answer)
    lines = answer[start.start() :].split("\n") if start else []
    # Without a fence, prose may follow: keep the longest beginning that is Python.
    pieces = ("\n".join(lines[:end]) for end in range(len(lines), 0, -1))
    return next(filter(_parsed, pieces), "")


def allowed(code: str) -> bool:
    """Whether ``code`` is Python of at most `LONGEST` characters, every piece of which is on the lists."""
    tree = _parsed(code) if len(code) <= LONGEST else None
    return tree is not None and all(map(_allowed, ast.walk(tree)))


def _allowed(node: ast.AST) -> bool:
    # Every name that the code reads, binds or passes: a variable, an argument, a function, an attribute, an alias.
    names = [] if isinstance(node, ast.Constant) else [v for _, v in ast.iter_fields(node) if isinstance(v, str)]
    if not isinstance(node, NODES) or any(name.startswith("_") and name != "_" for name in names):
        return False
    match node:
        case ast.Import():
            return all(alias.name == "math" for alias in node.names)
        case ast.ImportFrom():
            return node.module == "math" and not node.level
        case ast.Attribute(ast.Constant(str(text)), "format"):  # no other text can be read before it is formatted
            return not REACHES.search(text)
        case ast.Attribute():
            return node.attr in METHODS
    return True


def passes(answer: str, function: str, tests: Sequence[Sequence]) -> bool:
    """Whether ``function`` in a model's ``answer`` gives the expected result in every one of ``tests``.

    Those are ``[arguments, result]`` in JSON values, and numbers compare within 1e-9. A single function may be called
    something else.
    """
    code = code_in(answer)
    names = [n.name for n in ast.parse(code).body if isinstance(n, ast.FunctionDef)] if allowed(code) else []
    if function not in names and len(names) != 1:
        return False
    found = _run(code, function if function in names else names[0], [args for args, _ in tests])
    return _same(found, [[result] for _, result in tests])


def _run(code: str, function: str, calls: list) -> list:
    keep = {k: v for k, v in os.environ.items() if k == "SYSTEMROOT"}  # Windows cannot start Python without it
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
    if isinstance(value, list) and isinstance(result, list):
        return len(value) == len(result) and all(map(_same, value, result))
    if not {type(value), type(result)} <= {int, float}:
        return type(value) is type(result) and value == result
    try:
        return abs(value - result) <= 1e-9 * max(1, abs(result))
    except OverflowError:  # a whole number that no float can hold, beside a float
        return False
