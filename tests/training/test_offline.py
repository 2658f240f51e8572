"""After set-up nothing asks the network, and the base model says the same on a lesser processor."""

import json
import os
import subprocess
import sys

import pytest

from helpers import files
from helpers.chat import generate
from helpers.measure import probes
from tests.fixtures import ROWS

WORK = """
import json, os, socket, sys, tempfile
from pathlib import Path

asked = []
def watch(event, args):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and isinstance(args[1], tuple)):
        asked.append(f"{event} {args[1:]}" if event == "socket.connect" else f"{event} {args[:2]}")
sys.addaudithook(watch)
def refuse(*args, **kwargs):
    raise OSError(101, "Network is unreachable")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = lambda *a, **k: (asked.append(str(a)), refuse())

from helpers.chat import generate
from helpers.models.adapters import load_adapter, take_off
from helpers.models.load import load_model
from helpers.training import recipes
from helpers.training.train import train_identity
rows = json.loads(sys.argv[1])
model, tokenizer = load_model("auto")
before = generate.answers(model, tokenizer, ["Who are you?"], max_new_tokens=8)
run = Path(tempfile.mkdtemp())
preset = recipes.BARE_PRESET
tuned = train_identity(model, tokenizer, rows[:2], [], run, preset, save_steps=1, disable_tqdm=True)
after = generate.answers(tuned, tokenizer, ["Who are you?"], max_new_tokens=8)
again = load_adapter(take_off(tuned), run)
print(json.dumps({"asked": asked, "steps": json.loads((run / "metrics.json").read_text())["steps"], "before": before,
                  "same": after == generate.answers(again, tokenizer, ["Who are you?"], max_new_tokens=8)}))
"""

ASK = """
import json, sys
from helpers.chat import generate
from helpers.models.load import load_model
model, tokenizer = load_model("embedded")
print(json.dumps(generate.answers(model, tokenizer, json.loads(sys.argv[1]), max_new_tokens=24)))
"""


def python(code, argument, **environment):
    """The last line that ``code`` prints in a Python of its own, read as JSON."""
    kept = {k: v for k, v in os.environ.items() if k not in {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(argument)],
        env={**kept, "PYTHONPATH": str(files.project_root()), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.slow
def test_loading_training_and_answering_never_try_the_network(embedded):
    """In a process whose sockets refuse, and without the setting that would keep the hub's library from trying."""
    found = python(WORK, ROWS)
    assert found["asked"] == []
    assert found["steps"] == 2 and found["same"]
    assert found["before"] == generate.answers(*embedded, ["Who are you?"], max_new_tokens=8)


LESSER = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
ASKED = ("direct", "paraphrase", "rival", "denial", "others", "facts", "sums", "code")


@pytest.mark.slow
def test_the_base_models_answers_hold_on_a_lesser_instruction_set(embedded):
    chosen = [probes.load_probes("en", "test", category=kind)[0]["messages"] for kind in ASKED]
    assert len(chosen) == 8
    here = generate.answers(*embedded, chosen, max_new_tokens=24)
    assert python(ASK, chosen, **LESSER) == here
