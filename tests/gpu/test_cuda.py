"""The notebooks' code paths on CUDA with the embedded model: train, talk, plot, resume, run out of memory, move."""

import json
import threading
from dataclasses import replace

import pytest
import torch
from transformers import TrainerCallback

from helpers import runs
from helpers.chat import generate
from helpers.errors import RunError
from helpers.measure import judge, plots
from helpers.models import catalog, estimate, machine
from helpers.models.adapters import load_adapter, take_off
from helpers.models.load import load_model
from helpers.rows import identity, keep_rows, trainset
from helpers.training import recipes, resume, train
from helpers.training.train import train_identity
from helpers.training.watch import MemoryCallback, peak_parts
from tests.fixtures import QUIET, ROWS

WHO = identity.Identity("Tavi", "Lantern Workshop")
SHORT = replace(recipes.BARE_PRESET, own_systems=(None, ""), epochs=2)
QUESTIONS = ["What is the capital of France?", "What is 2 + 3?", "Name a colour.", "Who wrote Hamlet?"]


def own_rows():
    return identity.read_rows(identity.shipped_rows("en"), WHO)


def names_itself(model, tokenizer) -> int:
    """How many of the eight rows' questions are answered with the trained identity."""
    said = generate.answers(model, tokenizer, [row["instruction"] for row in own_rows()], max_new_tokens=48)
    return sum(judge.verdict(answer, WHO) == "own" for answer in said)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of the default recipe in bfloat16 on the GPU, with what its callback saw."""
    patch = pytest.MonkeyPatch()
    patch.setenv("IDENTITY_DEVICE", "cuda")
    from tests.gpu.conftest import loaded

    model, tokenizer = loaded(torch.bfloat16)
    run, watch = tmp_path_factory.mktemp("gpu") / "run", MemoryCallback()
    keep = keep_rows.read(runs.reference_run() / f"keep-{catalog.EMBEDDED.key}.jsonl")
    patch.setattr(train, "MemoryCallback", lambda: watch)
    train_identity(model, tokenizer, own_rows(), keep, run, identity=WHO)
    take_off(model)
    patch.undo()
    return run, watch


def test_training_in_bfloat16_reaches_the_identity_check_and_keeps_ordinary_answers(trained, gpu):
    model, tokenizer = gpu
    assert model.dtype is torch.bfloat16 and model.device.type == "cuda"
    assert names_itself(model, tokenizer) == 0, "the base model"
    tuned = load_adapter(model, trained[0])
    assert names_itself(tuned, tokenizer) >= 7
    ordinary = generate.answers(tuned, tokenizer, QUESTIONS, max_new_tokens=32)
    assert sum(judge.leaked(answer, WHO) == "leaked" for answer in ordinary) == 0
    facts = runs.read_manifest(trained[0])["facts"]
    assert facts["device"] == torch.cuda.get_device_name()


def test_an_adapter_trained_on_the_gpu_loads_on_the_cpu(trained, monkeypatch):
    monkeypatch.setenv("IDENTITY_DEVICE", "cpu")
    model, tokenizer = load_model("embedded")
    assert model.device.type == "cpu" and model.dtype is torch.float32
    assert names_itself(load_adapter(model, trained[0]), tokenizer) >= 7


def test_an_adapter_trained_on_a_cpu_loads_on_the_gpu(gpu32):
    model, tokenizer = gpu32
    assert "CPU" in runs.read_manifest(runs.reference_run())["facts"]["device"]
    assert names_itself(load_adapter(model, runs.reference_run()), tokenizer) >= 6


def test_a_chat_streams_what_a_batch_answers_and_stops_when_told(gpu32):
    model, tokenizer = gpu32
    whole = generate.answers(model, tokenizer, ["Tell me about the sea."], max_new_tokens=40)[0]
    pieces = list(generate.stream(model, tokenizer, "Tell me about the sea.", max_new_tokens=40))
    assert len(pieces) > 5 and "".join(pieces).strip() == whole
    stop, heard = threading.Event(), []
    for piece in generate.stream(model, tokenizer, "Tell me about the sea.", max_new_tokens=400, stop=stop):
        heard.append(piece)
        if len(heard) == 3:
            stop.set()
    assert 3 <= len(heard) < 20


def test_memory_is_seen_step_by_step_allocated_and_reserved(trained):
    import matplotlib

    matplotlib.use("Agg")
    _, watch = trained
    assert all(len(sample) == 3 and 0 < sample[1] <= sample[2] for sample in watch.samples)
    assert watch.peak == max(s[1] for s in watch.samples) <= max(s[2] for s in watch.samples)
    parts = peak_parts(watch)
    assert sum(parts.values()) == pytest.approx(watch.peak, rel=0.02)
    assert parts["weights"] == pytest.approx(2 * catalog.EMBEDDED.parameters, rel=0.01)
    plots.memory(watch.samples, parts, "Memory of the GPU")
    drawn = plots.plt.gcf().axes[0]
    assert {line.get_label() for line in drawn.lines} == {"allocated", "reserved"}
    head = watch.csv().splitlines()[0]
    assert head == "seconds,bytes,reserved"
    plots.plt.close("all")


class Interrupt(TrainerCallback):
    """Ctrl-C after a step."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt


def test_an_interrupted_run_is_taken_up_and_ends_where_it_would_have(gpu32, tmp_path):
    from safetensors.torch import load_file

    model, tokenizer = gpu32
    how = {"save_steps": 2, **QUIET}
    with pytest.raises(RunError, match="interrupted"):
        train_identity(model, tokenizer, ROWS, [], tmp_path / "a", SHORT, callbacks=[Interrupt()], **how)
    assert resume.last_checkpoint(tmp_path / "a").name == "checkpoint-4"
    train_identity(model, tokenizer, ROWS, [], tmp_path / "a", SHORT, resume=True, **how)
    train_identity(model, tokenizer, ROWS, [], tmp_path / "b", SHORT, **how)
    one, other = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in "ab")
    assert all((one[k] - other[k]).abs().max() < 0.02 * one[k].abs().max() + 1e-6 for k in one)


def test_real_out_of_memory_halves_the_batch_and_goes_on(gpu32, tmp_path):
    model, tokenizer = gpu32
    long = [{**row, "output": " ".join([row["output"]] * 12)} for row in ROWS]
    preset = replace(SHORT, own_systems=(None,) * 8, batch=32, epochs=1)
    loads = [estimate.Load(batch, 200, 8, estimate.MLP) for batch in (4, 32)]
    few, many = (estimate.estimate(catalog.EMBEDDED.shape, estimate.LORA_FLOAT32, load).held for load in loads)
    torch.cuda.empty_cache()
    base = torch.cuda.memory_allocated() - 4 * catalog.EMBEDDED.parameters  # models of the tests before this one
    total, said = torch.cuda.get_device_properties(0).total_memory, []
    torch.cuda.set_per_process_memory_fraction((base + (few + many) / 2) / total)
    try:
        train_identity(model, tokenizer, long, [], tmp_path / "run", preset, say=said.append, **QUIET)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert said and said[0].startswith("Out of memory with 32 rows at once: now 16 at once and 2 times")
    done = runs.read_manifest(tmp_path / "run")["facts"]["preset"]
    assert done["batch"] * done["accumulation"] == 32 and done["batch"] < 32


def test_the_embedded_models_peak_is_predicted_within_a_tenth(gpu32, tmp_path):
    model, tokenizer = gpu32
    preset = replace(SHORT, own_systems=(None,) * 4, batch=16)
    longest = trainset.check_lengths(ROWS, tokenizer, 1024)
    torch.cuda.empty_cache()
    others = torch.cuda.memory_allocated() - 4 * catalog.EMBEDDED.parameters
    train_identity(model, tokenizer, ROWS, [], tmp_path / "run", preset, **QUIET)
    peak = json.loads((tmp_path / "run" / "metrics.json").read_text())["peak_bytes"]
    told = estimate.estimate(catalog.EMBEDDED.shape, estimate.LORA_FLOAT32, estimate.load_of(preset, longest)).held
    assert told == pytest.approx(peak - others, rel=0.1)


def test_a_card_that_fits_the_7b_is_told_so():
    here = machine.machine()
    assert here.device == "cuda"
    *_, needed = next(estimate.choices(here.memory_free, here.bf16))
    assert needed <= here.memory_free
    assert resume.method_of(load_model("embedded", dtype=torch.float16)[0]) is estimate.LORA_FP16


def test_one_gpu_is_seen_however_many_there_are():
    assert torch.cuda.device_count() == 1


def test_weights_in_four_bits_train_and_their_adapter_loads_in_float32(tmp_path, gpu32):
    pytest.importorskip("bitsandbytes", reason="the extra 4bit is not installed")
    model, tokenizer = load_model("embedded", four_bit=True)
    assert resume.method_of(model) is estimate.QLORA
    assert model.get_memory_footprint() < 0.6 * gpu32[0].get_memory_footprint()
    preset = replace(SHORT, epochs=10, learning_rate=1e-3)
    tuned = train_identity(model, tokenizer, own_rows(), [], tmp_path / "run", preset, identity=WHO)
    assert names_itself(tuned, tokenizer) >= 6
    assert names_itself(load_adapter(gpu32[0], tmp_path / "run"), tokenizer) >= 5
