"""The facts that must repeat agree: pins in four files, the Makefile and its help, Binder's and conda's files.

Conda and Binder are not run here: their files are parsed and compared, no more.
"""

import ast
import http.server
import importlib.metadata
import os
import re
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TORCH_CPU = "--extra-index-url https://download.pytorch.org/whl/cpu"
SYSTEMS = {"linux": ("Linux", "posix"), "darwin": ("Darwin", "posix"), "win32": ("Windows", "nt")}


def pins(lines) -> dict[str, str]:
    """Name to exact version of every ``name==version`` among ``lines``."""
    found = (re.match(r"^([A-Za-z0-9._-]+)==(\S+)$", line.strip()) for line in lines)
    return {canonicalize_name(m[1]): m[2] for m in found if m}


def conda_file(path: str) -> tuple[list[str], list[str]]:
    """The conda and the pip lines of an environment file."""
    lines = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))["dependencies"]
    pip = [line["pip"] for line in lines if isinstance(line, dict)]
    assert len(pip) == 1
    return [line for line in lines if isinstance(line, str)], pip[0]


DIRECT = pins(PROJECT["dependencies"])
DEV = pins(PROJECT["optional-dependencies"]["dev"])
EXPORT = pins(PROJECT["optional-dependencies"]["export"])
CONSTRAINTS = pins((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())


def test_every_direct_dependency_is_pinned_and_constrained_alike():
    assert len(DIRECT) == len(PROJECT["dependencies"]) - 1  # all but pip itself
    ours = DIRECT | EXPORT | DEV
    assert {name: CONSTRAINTS.get(name) for name in ours} == ours


def test_constraints_hold_only_exact_pins_each_once():
    lines = [x for x in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not x.startswith("#")]
    assert len(CONSTRAINTS) == len(lines)
    assert "+" not in "".join(lines), "a local build (torch's +cpu) exists on one index only"
    assert not CONSTRAINTS.keys() & {"pip", "setuptools", canonicalize_name(PROJECT["name"])}


def test_every_pinned_package_takes_the_first_python_3_11():
    # Debian 12 has 3.11.2; a release that wants a later patch would end its set-up with an error.
    asked = {d.name: d.metadata["Requires-Python"] for d in importlib.metadata.distributions()}
    ours = {name: asks for name, asks in asked.items() if asks and canonicalize_name(name) in CONSTRAINTS}
    assert len(ours) > 100
    assert {name: asks for name, asks in ours.items() if "3.11.0" not in SpecifierSet(asks)} == {}


def wanted_anywhere() -> set[str]:
    """Every package that the pinned ones ask for, on any system and Python that the course names."""
    environments = [
        {"sys_platform": s, "platform_system": p, "os_name": o, "python_version": v, "python_full_version": f"{v}.0"}
        for s, (p, o) in SYSTEMS.items()
        for v in ("3.11", "3.12", "3.13")
    ]
    todo, seen = (
        [
            Requirement(r)
            for r in (
                *PROJECT["dependencies"],
                *(line for name in ("export", "dev") for line in PROJECT["optional-dependencies"][name]),
            )
        ],
        set(),
    )
    while todo:
        requirement = todo.pop()
        key = (canonicalize_name(requirement.name), *sorted(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            asked = importlib.metadata.requires(requirement.name) or []
        except importlib.metadata.PackageNotFoundError:  # for another system
            continue
        extras = ("", *requirement.extras)
        for further in map(Requirement, asked):
            marker = further.marker
            if marker is None or any(marker.evaluate({**e, "extra": x}) for e in environments for x in extras):
                todo.append(further)
    return {key[0] for key in seen}


def test_constraints_cover_what_the_pins_bring_in_on_every_system():
    # torch's CUDA build asks for packages of its own, which differ by system and which torch itself names exactly.
    missing = wanted_anywhere() - CONSTRAINTS.keys() - {"pip", "setuptools", "triton"}
    assert {name for name in missing if not name.startswith(("nvidia-", "cuda-"))} == set()


def test_what_is_installed_here_is_what_is_pinned():
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in DIRECT | EXPORT}
    assert installed == DIRECT | EXPORT


@pytest.mark.parametrize("path", ["environment.yml", "binder/environment.yml"])
def test_environment_files_name_python_and_torchs_cpu_index(path):
    conda, pip = conda_file(path)
    assert conda == ["python=3.11", "pip"]
    assert TORCH_CPU in pip
    assert PROJECT["requires-python"] == ">=3.11"


def test_binder_repeats_the_pins_and_installs_nothing_local():
    _, pip = conda_file("binder/environment.yml")
    asked = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["export"]]
    assert pins(pip) == DIRECT | EXPORT
    assert set(pip) == {TORCH_CPU, *(line for line in asked if "==" in line)}


def test_the_conda_file_takes_its_pins_from_the_project():
    _, pip = conda_file("environment.yml")
    assert pip == [TORCH_CPU, "--constraint constraints.txt", "-e .[export]"]


def imported(folder: str) -> set[str]:
    """The outside packages that the modules of ``folder`` import, in functions too."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found |= {name.split(".")[0] for name in names}
    return found - sys.stdlib_module_names - {"helpers", "study", "bench", "tests"}


def test_everything_imported_is_declared():
    providers = importlib.metadata.packages_distributions()
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]} | EXPORT.keys()
    optional = {canonicalize_name(Requirement(line).name) for line in PROJECT["optional-dependencies"]["dev"]}

    def missing(folders: tuple[str, ...], allowed: set[str]) -> set[str]:
        names = {name for folder in folders for name in imported(folder)} - {
            "bitsandbytes",
            "google",
        }  # the extra `4bit`, and Colab itself
        return {name for name in names if not {canonicalize_name(p) for p in providers.get(name, ["?"])} & allowed}

    assert missing(("helpers", "study"), declared) == set()
    assert missing(("bench", "tests"), declared | optional) == set()


def executable(path: str) -> bool:
    """Whether ``path`` may be executed: by git's record of it, else (or if not yet recorded) by the file's mode."""
    listed = subprocess.run(["git", "ls-files", "-s", path], cwd=ROOT, capture_output=True, text=True).stdout
    return listed.startswith("100755") if listed else os.access(ROOT / path, os.X_OK)


@pytest.mark.parametrize("path", ["binder/postBuild", ".ci/run"])
def test_scripts_are_executable_and_stop_at_the_first_failure(path):
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#!")
    code = [line for line in lines if line and not line.startswith("#")]
    assert code[0] in ("set -e", "set -euo pipefail")
    assert executable(path)


def test_binder_installs_the_project_and_its_weights():
    text = (ROOT / "binder/postBuild").read_text(encoding="utf-8")
    assert re.search(r"pip install .*--no-deps -e \.$", text, re.M)
    assert re.search(r"^python -m helpers fetch$", text, re.M)


def test_ci_calls_the_test_command():
    assert re.search(r"^stage \S+ make test\b", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.M)


@pytest.mark.slow
def test_ci_refuses_to_pass_without_a_browser():
    text = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "export IDENTITY_BROWSER=required" in text and "debian chromium" in text
    command = [sys.executable, "-m", "pytest", "tests/browser", "--collect-only", "-q"]
    without = {**os.environ, "CHROMIUM": "no-such-browser", "IDENTITY_BROWSER": "required"}
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=without)
    assert refused.returncode and "no Chromium was found" in refused.stdout + refused.stderr


def test_the_script_and_the_style_of_the_widgets_are_packaged():
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    patterns = packaged["package-data"]["helpers.widgets"]
    other = [p for p in (ROOT / "helpers/widgets").iterdir() if p.is_file() and p.suffix != ".py"]
    assert other and all(any(p.match(pattern) for pattern in patterns) for p in other)


def make(*words: str) -> subprocess.CompletedProcess:
    """`make` with ``words`` in the project's root, without what a `make test` around it hands down."""
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")}
    return subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, env=clean)


needs_make = pytest.mark.skipif(sys.platform == "win32", reason="make is not a Windows tool")


@needs_make
def test_make_help_lists_every_command_and_each_exists():
    told = make("help").stdout
    listed = re.findall(r"^  ([a-z-]+) ", told, re.M)
    assert {"lab", "run", "test", "lint", "bench", "bundle", "clean"} <= set(listed)
    for target in listed:
        assert make("-n", target).returncode == 0


class Answers(http.server.BaseHTTPRequestHandler):
    """A package index that is there."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass


@needs_make
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere pip's own index has the small build")
def test_torch_comes_from_the_cpu_index_where_there_is_no_nvidia_card_and_the_index_answers(tmp_path, monkeypatch):
    def index(*words: str) -> str:
        return make("-s", "torch-index", f"PY={sys.executable}", *words).stdout.strip()

    smi = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def card(there: bool) -> None:
        smi.write_text("#!/bin/sh\n" + ("echo 'GPU 0: NVIDIA'" if there else "exit 9") + "\n", encoding="utf-8")
        smi.chmod(0o755)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        card(False)
        assert index(f"CPU_INDEX={here}") == here
        assert index(f"CPU_INDEX={here}", "TORCH_INDEX=mine") == "mine"
        card(True)
        assert index(f"CPU_INDEX={here}") == ""
        server.shutdown()
    card(False)
    began = time.monotonic()
    assert index(f"CPU_INDEX={here}") == "" and time.monotonic() - began < 5


@needs_make
def test_make_names_the_cure_for_an_old_python(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\ncase "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac\n', encoding="utf-8")
    old.chmod(0o755)
    done = make("setup", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode and not (tmp_path / "venv").exists()
    assert "Python 3.9.2, but 3.11 or newer is needed. What to do: " in done.stdout


@needs_make
def test_make_clean_leaves_the_learners_work_alone():
    removed = {
        word for line in make("-n", "clean").stdout.splitlines() if line.startswith("rm ") for word in line.split()[2:]
    }
    assert ".venv" in removed
    assert not removed & {"my", "my/", "runs", "runs/", "*", "."}


def tree() -> list[Path]:
    """Every file of the project that is or would be committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        return [p for name in done.stdout.split("\0") if name and (p := ROOT / name).is_file()]
    skip = {".git", ".venv", "my", "runs", "out", "bundle", "bench", "build"}  # a copy without git
    return [p for p in ROOT.rglob("*") if p.is_file() and not skip & set(p.relative_to(ROOT).parts)]


def test_no_file_holds_a_path_of_the_machine_it_was_made_on():
    # Put together here, so that this file does not hold them itself.
    paths = ["/".join(("", *parts)).encode() for parts in (("work", ""), ("root", ""), ("tmp", "bash_jobs"))]
    files = tree()
    assert ROOT / "pyproject.toml" in files
    found = [(str(p.relative_to(ROOT)), mark) for p in files for mark in paths if mark in p.read_bytes()]
    assert found == []
