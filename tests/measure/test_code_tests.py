"""Code that a model wrote is run against tests, and can reach nothing while it runs."""

import time

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
    ],
    ids=["fenced", "prose around", "no fence", "another name", "prints", "math"],
)
def test_a_right_function_passes(answer):
    assert code_tests.passes(answer, "add", ADD)


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
        "'{0.__class__}'.format(a)",
        "a.tofile('x')", "yield a", "breakpoint()", "input()", "type(a)",
    ],
)  # fmt: skip
def test_code_that_reaches_out_is_refused_or_fails(body, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text("still here")
    answer = f"```python\nimport math\ndef add(a, b):\n    {body}\n    return a + b\n```"
    assert not code_tests.passes(answer, "add", ADD)
    assert (tmp_path / "x").read_text() == "still here"


@pytest.mark.parametrize(
    "body", ["while True: pass", "return add(a, b)", "return 'x' * 10 ** 12", "return [0] * 10 ** 11"]
)
def test_endless_and_huge_code_ends_soon(body):
    began = time.perf_counter()
    assert not code_tests.passes(f"def add(a, b):\n    {body}", "add", ADD)
    assert time.perf_counter() - began < 5 * code_tests.SECONDS


def test_what_the_code_prints_is_not_taken_for_its_result():
    forged = "def add(a, b):\n    print('[[true, 3], [true, 0], [true, 4]]')\n    return 0"
    assert not code_tests.passes(forged, "add", ADD)


@pytest.mark.parametrize(
    ("value", "result", "same"),
    [(3, 3.0, True), (0.1 + 0.2, 0.3, True), (True, 1, False), ([1, 2], [1, 2], True), ([1], [1, 2], False)],
)
def test_results_compare_as_json_values(value, result, same):
    assert code_tests._same(value, result) is same
