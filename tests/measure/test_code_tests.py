"""Code that a model wrote is run against tests, and can reach nothing while it runs."""

import time
import tracemalloc

import pytest

from helpers.measure import code_tests

ADD = [[[1, 2], 3], [[0, 0], 0], [[-1, 5], 4]]


@pytest.mark.parametrize(
    "answer",
    [
        "```python\ndef add(a, b):\n    return a + b\n```",
        "Sure! Here it is:\n\n```\ndef add(a, b):\n    return a + b\n```\nIt adds.",
        "def add(a, b):\n    return a + b\n\nThis function adds two numbers.",
        "```python\ndef plus(x, y):\n    return x + y\n```",  # another name, and no other function
        "```python\ndef add(a, b):\n    return a + b\n\nprint(add(1, 2))\n```",
        "```python\nimport math\ndef add(a, b):\n    return math.floor(a) + b\n```",
        "from math import floor\nimport math\n\ndef add(a, b):\n    return floor(a) + b\n\nDone.",
    ],
    ids=["fenced", "prose around", "no fence", "another name", "prints", "math", "imports, no fence"],
)
def test_a_right_function_passes(answer):
    assert code_tests.passes(answer, "add", ADD)


ORDINARY = {
    "for _ in range(abs(b)):\n        a += 1 if b > 0 else -1\n    return a": "a loop that needs no variable",
    "try:\n        return a + b\n    except TypeError as e:\n        raise ValueError('no numbers') from e": "try",
    "try:\n        return [][a] + b\n    except:\n        return a + b\n    finally:\n        pass": "bare except",
    "if a is None:\n        raise ValueError('no number')\n    return a + b": "raise",
    "assert isinstance(a, int), 'no number'\n    return a + b": "assert",
    "from math import sqrt, gcd as _\n    return int(sqrt(4) - 2) + a + b": "from math import",
    "return round(math.log(math.exp(a))) + b + math.isqrt(0)": "all of math",
    "return int('{:.0f}'.format(a)) + int('{0} {x}'.format(b, x=1).split()[0])": ".format",
    "d = {}\n    d.setdefault('n', []).append(a + b)\n    return d['n'][0]": ".setdefault",
    "return n if (n := a + b) else 0": "walrus",
    "return next(x for x in iter([a + b]))": "next",
    "d = [a, b, 0]\n    del d[2]\n    return sum(d)": "del",
}


@pytest.mark.parametrize("body", ORDINARY, ids=ORDINARY.values())
def test_what_ordinary_functions_are_written_with_is_allowed(body):
    code = f"import math\ndef add(a, b):\n    {body}"
    assert code_tests.allowed(code)
    assert code_tests.passes(f"```python\n{code}\n```", "add", ADD)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I would add the numbers.",
        "```python\ndef add(a, b):\n    return a - b\n```",
        "```python\ndef add(a, b):\n    return 3\n```",
        "```python\ndef add(a, b)\n    return a + b\n```",
        "```python\ndef add(a):\n    return a\n```",
        "```python\ndef one(a, b):\n    return a + b\ndef two(a, b):\n    return a + b\n```",
        "```python\ndef add(a, b):\n    raise ValueError\n```",
        "def " * 3000,
    ],
    ids=["empty", "prose", "wrong", "constant", "syntax", "arguments", "which one", "raises", "long"],
)
def test_a_wrong_one_does_not(answer):
    assert not code_tests.passes(answer, "add", ADD)


@pytest.mark.parametrize(
    "body",
    [
        "import os; os.remove('x')", "from pathlib import Path", "__import__('os').system('id')", "open('/etc/passwd')",
        "().__class__.__bases__", "eval('1')", "exec('1')", "globals()", "getattr(a, 'real')", "math.__loader__",
        "with a: pass", "async def f(): pass", "class A: pass", "global a", "print.__self__",
        "a.tofile('x')", "yield a", "breakpoint()", "input()", "type(a)",
        "import math, os", "import math as __builtins__", "from math import __loader__", "from . import math",
        "from math import pi as __builtins__", "from os import path as math", "from math.os import path",
        "'{0.__class__}'.format(a)", "'{0[a]}'.format({})", "'{x.real}'.format(x=a)", "'{:{0.real}}'.format(a)",
        "('{0.' + '__class__}').format(a)", "t = '{0.__class__}'; t.format(a)", "f'{{0.{a}}}'.format(a)",
        "str.format('{0.real}', a)", "'{0.real}{{'.format(a)", "f = '{0.real}'.format; f(a)", "'{}'.format_map(a)",
        "f'{a.__class__}'", "f'{a!r:{a.__class__}}'", "f'{(lambda: a.__class__)()}'", "(x := a).__class__",
        "(__builtins__ := {})", "__builtins__ = {}", "del __builtins__", "def __import__(*x): pass",
        "def f(__builtins__): pass", "def f(*__x, **__y): pass", "print(__file=a)", "lambda __x: a",
        "for __builtins__ in a: pass", "[0 for __x in a]",
        "try: 1 / 0\n    except Exception as e: e.__traceback__.tb_frame.f_globals",
        "try: 1 / 0\n    except Exception as __builtins__: pass", "try: a\n    except* ValueError: pass",
        "try: print.x\n    except Exception as e: e.obj", "raise SystemExit", "raise BaseException",
        "raise KeyboardInterrupt",
        "(x for x in [1]).gi_frame", "(lambda: 0).__globals__", "(lambda: 0).__code__", "add.__defaults__",
        "@print.__self__.eval\n    def f(): pass", "def f(x=().__class__): pass", "def f(x: ().__class__): pass",
        "a.\uff3f\uff3fclass\uff3f\uff3f", "\uff3f\uff3fimport\uff3f\uff3f('os')", "match a:\n        case _: pass",
        "await a", "vars()", "dir()", "setattr(a, 'x', 1)", "memoryview(a)", "object()", "super()", "classmethod(add)",
    ],
)  # fmt: skip
def test_code_that_reaches_out_is_refused_or_fails(body, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text("still here")
    answer = f"```python\nimport math\ndef add(a, b):\n    {body}\n    return a + b\n```"
    assert not code_tests.passes(answer, "add", ADD)
    assert (tmp_path / "x").read_text() == "still here"


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass", "return add(a, b)", "return 'x' * 10 ** 12", "return [0] * 10 ** 11",
        "while True:\n        try:\n            while True: pass\n        except: pass",
        "try:\n        return add(a, b)\n    finally:\n        add(a, b)",
        "try:\n        return 'x' * 10 ** 12\n    except:\n        return add(a, b)",
        "return 10 ** 10 ** 10", "return 7 ** 7 ** 9 % 3", "return math.factorial(10 ** 9)",
        "return sum(range(10 ** 12))",
        "return f'{a:>99999999999}'", "return '{:>99999999999}'.format(a)", "return len(str(10 ** 10 ** 7))",
        "x = []\n    for i in range(60): x = [x, x]\n    return x", "x = []\n    x.append(x)\n    return x",
        "x = []\n    for i in range(10 ** 6): x = [x]\n    return str(x)", "return list(iter(int, 1))",
        "return any(x := 0 for y in iter(int, 1))", "return max(map(lambda x: x, iter(int, 1)))",
    ],
)  # fmt: skip
def test_endless_and_huge_code_ends_soon(body, monkeypatch):
    monkeypatch.setattr(code_tests, "SECONDS", 0.5)  # this process ends the other one
    began = time.perf_counter()
    assert not code_tests.passes(f"import math\ndef add(a, b):\n    {body}", "add", ADD)
    assert time.perf_counter() - began < 5


def test_the_process_ends_itself_too(monkeypatch):
    monkeypatch.setattr(code_tests, "SECONDS", 60)
    began = time.perf_counter()
    body = "while True:\n        try:\n            while True: pass\n        except: pass"
    assert not code_tests.passes(f"def add(a, b):\n    {body}", "add", ADD)
    assert time.perf_counter() - began < 30


@pytest.mark.parametrize(
    "code",
    ["(" * 3900, "-" * 3900 + "1", "not " * 950 + "1", "a" + ".upper()" * 480, "f'" + "{" * 3900, "\0"],
    ids=["brackets", "signs", "nots", "calls", "f-string", "null"],
)
def test_code_that_is_hard_to_read_is_no_trouble_to_the_reader(code):
    assert not code_tests.passes(f"```\ndef add(a, b):\n    return {code[:3960]}\n```", "add", ADD)


@pytest.mark.parametrize("most", [code_tests.RESULTS, 10**9], ids=["not sent", "sent by a process that broke out"])
def test_a_result_of_100_mb_does_not_grow_this_process(monkeypatch, most):
    monkeypatch.setattr(code_tests, "RUNNER", code_tests.RUNNER.replace(f"<= {code_tests.RESULTS}", f"<= {most}"))
    tracemalloc.start()
    try:
        assert not code_tests.passes("def add(a, b):\n    return 'x' * 10 ** 8", "add", ADD[:1])
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_limit_that_cannot_be_set_leaves_the_others(monkeypatch):
    code, tests = "def add(a, b):\n    return len('x' * (3 << 29))", [[[1, 2], 3 << 29]]
    monkeypatch.setattr(code_tests, "RUNNER", code_tests.RUNNER.replace("RLIMIT_CPU", "RLIMIT_UNKNOWN"))
    assert not code_tests.passes(code, "add", tests), "memory is limited still"


def test_what_the_code_prints_is_not_taken_for_its_result():
    forged = "def add(a, b):\n    print('[[true, 3], [true, 0], [true, 4]]')\n    return 0"
    assert not code_tests.passes(forged, "add", ADD)


@pytest.mark.parametrize(
    ("value", "result", "same"),
    [(3, 3.0, True), (0.1 + 0.2, 0.3, True), (True, 1, False), ([1, 2], [1, 2], True), ([1], [1, 2], False)],
)
def test_results_compare_as_json_values(value, result, same):
    assert code_tests._same(value, result) is same


def test_a_number_too_large_to_compare_is_a_wrong_result():
    assert not code_tests.passes("def add(a, b):\n    return 10 ** 400", "add", [[[1, 2], 0.5]])
    assert not code_tests.passes("def add(a, b):\n    return float('inf')", "add", [[[1, 2], 3]])
