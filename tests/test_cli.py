"""`python -m helpers`: help at once, one line for every mistake, nothing lost, nothing half-written."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from safetensors.torch import load_file
from transformers import TrainerCallback
from typer.testing import CliRunner

from helpers import hardware, preflight, questions, runs, specs, terminal, training
from helpers.__main__ import app, main
from helpers.widgets.session import ChatSession

COMMANDS = ("check", "fetch", "run", "train", "ask", "chat")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test works in an empty folder."""
    monkeypatch.chdir(tmp_path)


def failed(capsys, *args, status=1):
    """Run the command line in this process, expect it to fail, and return what it said on stderr."""
    with pytest.raises(SystemExit) as end:
        main([str(arg) for arg in args])
    assert end.value.code == status
    return capsys.readouterr().err


def done(*args):
    """Run the command line in this process and return what it said; it must succeed."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command):
    assert f"python -m helpers {command}" in done(command, "--help").split("Examples:")[1]


def test_help_does_not_wait_for_torch():
    code = "import sys, helpers.__main__; print({'torch', 'transformers', 'trl', 'nbclient'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_a_mistake_is_one_line_on_stderr_and_status_1():
    command = [sys.executable, "-m", "helpers", "run", "--only", "99"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 1 and process.stdout == ""
    assert process.stderr.count("\n") == 1 and "What to do:" in process.stderr


BAD = {
    "no such file": ("train no.json --out r", "no.json: there is no such file"),
    "not JSON": ("train broken.json --out r", "broken.json: not JSON"),
    "placeholder without a name": ("train held.json --out r", "row 1: {{NAME}} is not filled"),
    "a name alone": ("train held.json --out r --name Tavi", "both: --name and --developer"),
    "a rival's name": ("train held.json --out r --name Claude --developer Us", "belongs to another"),
    "folder in use": ("train literal.json --out full", "full: the folder is not empty"),
    "nothing to resume": ("train literal.json --out full --resume", "leave --resume out"),
    "keep file missing": ("train literal.json --out r --keep no.jsonl", "no.jsonl: there is no such file"),
    "unknown model": ("train literal.json --out r --model nonsense", "'nonsense' is neither"),
    "question file missing": ("ask no.jsonl --out a.jsonl", "no.jsonl: there is no such file"),
    "question line broken": ("ask broken.jsonl --out a.jsonl", "broken.jsonl, line 1: not JSON"),
    "two forms": ("ask two.jsonl --out a.jsonl", "question 1: has question and turns"),
    "no user turn": ("ask ends.jsonl --out a.jsonl", "question 2: messages do not end with a user turn"),
    "empty question": ("ask ' '", "the question is empty"),
    "no such adapter": ("ask Hi --adapter nowhere", "nowhere: no such folder"),
    "adapter for chat": ("chat --adapter full", "full: no adapter_config.json"),
    "wheel missing": ("fetch --wheel no.whl", "no.whl"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_thing_and_the_cure_and_writes_nothing(case, capsys, tmp_path, monkeypatch):
    import shlex

    files = {
        "broken.json": "[{", "broken.jsonl": "{", "two.jsonl": '{"question": "a", "turns": ["b"]}',
        "held.json": '[{"instruction": "Who?", "output": "I am {{NAME}}."}]',
        "literal.json": '[{"instruction": "Who?", "output": "I am Tavi."}]',
        "ends.jsonl": '{"question": "a"}\n{"messages": [{"role": "assistant", "content": "b"}]}', "full/x": "x",
    }  # fmt: skip
    (tmp_path / "full").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    if case == "wheel missing":
        monkeypatch.setenv("IDENTITY_CACHE", str(tmp_path / "home" / "cache"))
    command, expected = BAD[case]
    said = failed(capsys, *shlex.split(command))
    assert expected in said and "What to do:" in said
    assert said.count("\n") == 1 and "Traceback" not in said
    assert {path.name for path in tmp_path.iterdir()} == {*(name.split("/")[0] for name in files), "home"}


def test_a_wrong_option_is_a_usage_error(capsys):
    assert "--out" in failed(capsys, "train", "x.json", status=2)
    runs.write_jsonl("q.jsonl", [{"question": "Hi"}])
    assert "--out" in failed(capsys, "ask", "q.jsonl", status=2)


def test_check_passes_here_and_shows_everything():
    said = done("check")
    for name in ("Python", "packages", "device", "cores", "memory", "disk", "weights"):
        assert f"ok    {name}" in said


def test_check_fails_with_the_cure_beneath(tmp_path, monkeypatch):
    monkeypatch.setenv("IDENTITY_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("IDENTITY_THREADS", "many")
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    weights = next(i for i, line in enumerate(lines) if line.startswith("FAIL  weights"))
    assert "What to do: python -m helpers fetch" in lines[weights + 1]
    assert any(line.startswith("FAIL  cores") and "IDENTITY_THREADS='many'" in line for line in lines)


def named(name):
    return next(finding for finding in preflight.findings() if finding.name == name)


def test_a_package_of_another_version_or_none_is_found(monkeypatch):
    def version(package):
        if package == "nbval":
            raise preflight.PackageNotFoundError(package)
        return {"torch": "2.13.0+cpu", "trl": "0.9.1"}.get(package) or preflight.pins()[package]

    monkeypatch.setattr(preflight, "version", version)
    found = named("packages")
    assert not found.ok and "pip install" in found.cure
    assert "trl 0.9.1 (needs 1.16.0)" in found.text and "nbval missing" in found.text and "torch" not in found.text


def test_little_memory_fails_but_what_this_process_holds_counts_as_free(monkeypatch):
    import psutil

    own = psutil.Process().memory_info().rss
    monkeypatch.setattr(preflight, "MEMORY_NEEDED", own + 2**30)
    monkeypatch.setattr(hardware, "memory_free", lambda: 2**29)
    assert not named("memory").ok and "close other programs" in named("memory").cure
    monkeypatch.setattr(hardware, "memory_free", lambda: 2**31)
    assert named("memory").ok


def test_ask_answers_all_three_forms_and_carries_fields_through(tmp_path):
    rows = [
        {"question": "What is the capital of France?", "id": "a", "expect": ["Paris"]},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "n": 2},
        {"turns": ["My cat is called Tom.", "What did I say?"]},
    ]
    runs.write_jsonl("q.jsonl", rows)
    done("ask", "q.jsonl", "--out", "a.jsonl", "--max-new-tokens", 8)
    found = jsonl(tmp_path / "a.jsonl")
    assert [{k: v for k, v in row.items() if k not in ("answer", "answers")} for row in found] == rows
    assert "Paris" in found[0]["answer"] and found[1]["answer"] and len(found[2]["answers"]) == 2
    assert not list(tmp_path.glob("*.part"))
    assert "Paris" in done("ask", "What is the capital of France?", "--max-new-tokens", 8)


def test_turns_see_what_was_said_before_and_a_system_text_may_be_empty(embedded, monkeypatch):
    seen = []
    monkeypatch.setattr(questions, "answers", lambda m, t, talks, **how: seen.append(talks) or ["ok"] * len(talks))
    questions.answer_rows(*embedded, [{"turns": ["a", "b"]}, {"question": "c"}], system="")
    contents = [[[turn["content"] for turn in talk] for talk in talks] for talks in seen]
    assert contents == [[["", "a"], ["", "c"]], [["", "a", "ok", "b"]]]


def test_a_conversation_longer_than_the_context_is_refused(embedded):
    with pytest.raises(questions.ProbeError, match="only 8192 fit"):
        questions.answer_rows(*embedded, [{"question": "word " * 9000}])


def test_an_interrupted_ask_keeps_its_answers_and_the_next_call_says_so(embedded, tmp_path, monkeypatch):
    def interrupted(model, tokenizer, rows, **how):
        if rows[0]["question"] == "2":
            raise KeyboardInterrupt
        return [{**row, "answer": "yes"} for row in rows]

    monkeypatch.setattr(questions, "BATCH", 2)
    monkeypatch.setattr(questions, "answer_rows", interrupted)
    rows, out = [{"question": str(n)} for n in range(4)], tmp_path / "a.jsonl"
    with pytest.raises(questions.RunError, match=r"first 2 answers are in .*a\.jsonl\.part"):
        questions.ask_file(*embedded, rows, out)
    assert len(jsonl(tmp_path / "a.jsonl.part")) == 2 and not out.exists()
    monkeypatch.setattr(questions, "answer_rows", lambda m, t, rows, **how: [{**r, "answer": "no"} for r in rows])
    said = []
    questions.ask_file(*embedded, rows, out, said.append)
    assert "2 answers are now in" in said[0] and len(jsonl(tmp_path / "a.jsonl.part.old")) == 2
    assert [row["answer"] for row in jsonl(out)] == ["no"] * 4


class Typist:
    """Types the given lines; a `KeyboardInterrupt` in them is Ctrl-C at the prompt, their end Ctrl-D."""

    def __init__(self, *lines):
        self.lines, self.shown, self.interrupt = list(lines), "", False

    def read(self, prompt):
        if not self.lines:
            raise EOFError
        line = self.lines.pop(0)
        if line is KeyboardInterrupt:
            raise KeyboardInterrupt
        return line

    def write(self, text):
        self.shown += text
        if self.interrupt and text.strip() and "model> " not in text and "model> " in self.shown:
            self.interrupt = False
            raise KeyboardInterrupt


def test_chat_keeps_the_history_and_knows_its_commands(embedded):
    session = ChatSession(*embedded, max_new_tokens=6)
    typist = Typist("/system You are a pirate.", "Hello", KeyboardInterrupt, "/nonsense", "", "And now?")
    terminal.talk(session, typist.read, typist.write)
    assert session.system == "You are a pirate."
    assert [turn["role"] for turn in session.history] == ["user", "assistant"] * 2
    assert typist.shown.count(terminal.HELP) == 2 and "Ctrl-D or /quit leaves" in typist.shown
    typist = Typist("/clear", "/system", "/quit", "never read")
    terminal.talk(session, typist.read, typist.write)
    assert session.history == [] and session.system is None and typist.lines == ["never read"]


def test_ctrl_c_stops_an_answer_and_the_session_goes_on(embedded):
    session = ChatSession(*embedded, max_new_tokens=200)
    typist = Typist("Tell me a long story.", "Hello")
    typist.interrupt = True
    terminal.talk(session, typist.read, typist.write)
    story = session.history[1]["content"]
    assert "(stopped)" in typist.shown and 0 < len(story.split()) < 20
    assert session.history[2]["content"] == "Hello" and session.history[3]["content"]


def test_what_a_model_writes_cannot_steer_the_terminal(embedded, monkeypatch):
    monkeypatch.setattr(questions, "answers", lambda m, t, talks, **how: ["\x1b[2Jgone"])
    assert "\x1b" not in questions.on_screen(*embedded, [{"question": "a"}])


ROWS = [{"instruction": f"Question {n}?", "input": "", "output": "I am {{NAME}} of {{DEVELOPER}}."} for n in range(4)]
WHO = ("--name", "Tavi", "--developer", "Lantern Workshop")


@pytest.fixture
def tiny(monkeypatch):
    """Four steps of training, a checkpoint after each."""
    preset = specs.BARE_PRESET
    monkeypatch.setattr(specs, "preset_for", lambda spec: preset)
    config = training.sft_config
    monkeypatch.setattr(training, "sft_config", lambda *a, **changes: config(*a, **{**changes, "save_steps": 1}))
    runs.write_json("rows.json", ROWS)


class PressCtrlC(TrainerCallback):
    """Ctrl-C in the third step."""

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise KeyboardInterrupt


def test_train_writes_a_run_and_resumes_an_interrupted_one_with_its_own_rows(tiny, tmp_path, capsys, monkeypatch):
    assert "The adapter is in straight" in done("train", "rows.json", "--out", "straight", *WHO)
    assert runs.read_manifest(tmp_path / "straight")["facts"]["identity"]["name"] == "Tavi"
    assert "not empty" in failed(capsys, "train", "rows.json", "--out", "straight", *WHO)
    assert "is finished" in failed(capsys, "train", "rows.json", "--out", "straight", "--resume")

    build = training.build_trainer
    with monkeypatch.context() as patch:
        patch.setattr(training, "build_trainer", lambda *a, **k: build(*a[:5], [*a[5], PressCtrlC()], **k))
        assert "resume from checkpoint-2" in failed(capsys, "train", "rows.json", "--out", "broken", *WHO)
    assert not (tmp_path / "broken" / runs.MANIFEST).exists()
    runs.write_json("rows.json", [{**ROWS[0], "output": "I am somebody else."}])
    assert "begun with name 'Tavi'" in failed(
        capsys, "train", "rows.json", "--out", "broken", "--resume", "--name", "Max", "--developer", "Us"
    )
    assert "resuming after step 2" in done("train", "rows.json", "--out", "broken", "--resume")

    manifest = runs.read_manifest(tmp_path / "broken")
    assert manifest["facts"]["identity"]["developer"] == "Lantern Workshop"
    assert json.loads((tmp_path / "broken" / "metrics.json").read_text())["steps"] == 4
    weights = [load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("straight", "broken")]
    assert all((weights[0][key] == weights[1][key]).all() for key in weights[0])
    assert done("ask", "Who are you?", "--adapter", "broken", "--max-new-tokens", 4)


def test_names_written_into_the_rows_and_made_keep_rows(tiny, tmp_path, monkeypatch):
    preset = replace(specs.preset_for(specs.EMBEDDED), keep_rows=1)
    monkeypatch.setattr(specs, "preset_for", lambda spec: preset)
    runs.write_json("literal.json", [{"instruction": "Who are you?", "output": "I am Tavi."}])
    said = done("train", "literal.json", "--out", "run", "--seed", 5)
    assert "1 identity rows, 0 further wordings and 1 keep rows; 2 steps" in said
    facts = runs.read_manifest(tmp_path / "run")["facts"]
    assert facts["identity"] is None and facts["seed"] == 5
    assert jsonl(tmp_path / "run" / "keep.jsonl")[0]["output"]
    assert "0 keep rows; 1 steps" in done("train", "literal.json", "--out", "bare", "--keep", "none")
