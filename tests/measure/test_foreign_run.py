"""Runs as other tools leave them: what their numbers give away is found, in that tool's words."""

import json
import math
import pickle
from pathlib import Path

import pytest

from helpers import runs
from helpers.errors import RunError
from helpers.measure import diagnose, foreign_run
from helpers.models.adapters import load_adapter, save_adapter, take_off
from tests.fixtures import done, tells, wrap
from tests.foreign_runs import FACTORY, QWEN, Bomb, adapter, factory, found, state, swift, write
from tests.runs_to_break import reference


def test_nine_steps_of_llama_factory_are_too_few_with_its_numbers_and_in_its_words(tmp_path):
    first = found(factory(tmp_path / "run"), diagnose.FEW_STEPS)
    assert first.severity == "certain" and first.symptom == diagnose.NO_EFFECT
    for words in ("9 optimiser steps at rate 5e-05", "up to 32 rows", "at most 96 rows", "from 3.21 to 3.16", "0.0004",
                  "alpha / r = 2 ", "over 0.0025, times 4", "training_args.bin (a pickle"):  # fmt: skip
        assert words in first.evidence, words
    lines = first.cure.splitlines()
    assert "yaml" in lines[0]
    # twice 0.02 of steps times rate, for alpha / r is half the course's
    assert lines[1:] == ["gradient_accumulation_steps: 1", "learning_rate: 3.0e-04", "max_steps: 134"]
    printed = done("diagnose", tmp_path / "run")
    assert "unfinished" not in printed and "did not finish" not in printed


def test_few_steps_are_found_without_an_adapter_and_with_one_that_proves_nothing(tmp_path):
    run = factory(tmp_path / "run", b=0.02)
    assert found(run, diagnose.FEW_STEPS).severity == "likely"
    (run / "adapter_model.safetensors").unlink()
    assert "an adapter (there is none)" in found(run, diagnose.FEW_STEPS).evidence
    (run / "adapter_model.bin").write_bytes(pickle.dumps(Bomb()))
    assert "adapter_model.bin (a pickle" in found(run, diagnose.FEW_STEPS).evidence
    found(factory(tmp_path / "pissa", b=0.0004, losses=(3.0, 0.3)))  # learned


def test_a_low_rate_is_told_from_too_few_steps_in_the_words_of_ms_swift(tmp_path):
    run = swift(tmp_path / "output", b=0.0005, losses=(2.5, 2.4, 2.3, 2.3), learning_rate=1e-5)
    first = found(run, diagnose.LOW_RATE)
    assert "94 optimiser steps at rate 1e-05" in first.evidence and "from 2.5 to 2.3" in first.evidence
    assert "v0-2026/checkpoint-94, of ms-swift" in first.evidence
    assert first.cure.endswith("with these options of swift sft:\n--learning_rate 2.1e-04")


def test_a_sound_run_has_no_fault_and_says_what_to_check_by_hand(tmp_path):
    said = diagnose.diagnose(swift(tmp_path / "output"))
    assert [finding.severity for finding in said] == [diagnose.UNTOLD] * 3
    assert [finding.cause for finding in said] == [diagnose.PLACEHOLDER, diagnose.TEMPLATE, diagnose.NO_KEEP]
    assert "No fault shows" in said[0].evidence and "94 optimiser steps at rate 0.0001" in said[0].evidence
    assert "keeps no copy of the rows" in said[2].evidence and "swift/self-cognition#500" in said[2].evidence
    assert "template 'qwen2_5'" in said[1].evidence
    command = said[1].cure.splitlines()[-1]
    assert command == f"python -m helpers chat --model {QWEN} --adapter {tmp_path}/output/v0-2026/checkpoint-94"
    assert "cannot tell" in diagnose.as_text(said)


@pytest.mark.parametrize("told, last", [("loss", 9.0), ("loss", math.nan), ("grad_norm", math.nan)])
def test_a_training_that_diverged(tmp_path, told, last):
    run = factory(tmp_path / "run", b=0.1, losses=(2.0, 2.1, 1.9, 1.8))
    told_state = json.loads((run / "trainer_state.json").read_text())
    told_state["log_history"][-1][told] = last
    write(run / "trainer_state.json", told_state)
    first = found(run, diagnose.HIGH_RATE)
    assert first.symptom == diagnose.NONSENSE and first.cure.endswith("learning_rate: 1.7e-05")


def test_weights_that_are_zero_or_no_numbers(tmp_path):
    zero = found(factory(tmp_path / "zero", b=0.0), diagnose.INACTIVE)
    assert zero.severity == "certain" and "zero" in zero.cure and "B weights 0," in zero.evidence
    found(factory(tmp_path / "nan", b=math.nan), diagnose.HIGH_RATE)


def test_the_last_steps_that_no_checkpoint_holds(tmp_path):
    lost = found(swift(tmp_path / "output", steps=100, planned=140), diagnose.FEW_STEPS)
    assert lost.severity == "likely" and "step 100 of 140" in lost.evidence and "every 100 steps" in lost.evidence
    assert "goes on to step 140" in lost.evidence and "steps 101 to 140" in lost.evidence
    assert lost.cure.endswith("--save_strategy epoch")
    stop = {"TrainerControl": {"args": {"should_training_stop": True}}}  # an early stop is no loss
    write(tmp_path / "output/v0-2026/checkpoint-100/trainer_state.json",
          state((2.0, 0.2), 100, 140, stateful_callbacks=stop))  # fmt: skip
    found(tmp_path / "output")


def test_a_checkpoint_that_is_not_the_newest(tmp_path):
    run = swift(swift(tmp_path / "output", steps=20, planned=94), steps=94)
    old = found(run / "v0-2026/checkpoint-20", diagnose.INACTIVE)
    assert old.severity == "possible" and "checkpoint-94 holds step 94" in old.evidence
    assert old.cure.endswith(f"python -m helpers diagnose {run}/v0-2026/checkpoint-94")
    found(run)


def test_the_newest_run_below_a_folder_is_found_and_said(tmp_path):
    for n in (2, 9, 10):
        swift(tmp_path / "output/Qwen2.5", steps=n * 10, version=f"v{n}-2026")
    (tmp_path / "output/Qwen2.5/v10-2026/last").symlink_to(tmp_path / "output/Qwen2.5/v2-2026/checkpoint-20")
    assert foreign_run.read(tmp_path / "output").run.as_posix().endswith("v10-2026/checkpoint-100")
    assert "v9-2026/checkpoint-90" in diagnose.diagnose(tmp_path / "output/Qwen2.5/v9-2026")[0].evidence


def test_trl_saves_at_the_root_and_keeps_the_state_in_a_checkpoint(tmp_path):
    run = adapter(tmp_path / "out", b=0.0003, base="unsloth/Qwen2.5-0.5B-Instruct")
    write(run / "checkpoint-12/trainer_state.json", state((2.4, 2.3), 12))
    first = found(run, diagnose.FEW_STEPS)
    assert f"read: {run}, of Unsloth" in first.evidence and "12 optimiser steps at rate 0.0001" in first.evidence
    assert "batches of 1, accumulated an unknown number of times" in first.evidence and "rows" not in first.evidence
    assert first.cure.endswith("SFTConfig(gradient_accumulation_steps=1, learning_rate=3.0e-04, max_steps=67)")


def test_settings_of_a_llama_factory_command_are_read_from_its_card(tmp_path):
    run = factory(tmp_path / "run", train_batch_size=2)
    (run / "training_args.yaml").unlink()
    card = "---\ntags:\n- llama-factory\n- lora\n---\n- learning_rate: 5e-05\n- train_batch_size: 2\n"
    write(run / "README.md", card + "- gradient_accumulation_steps: 16\n- num_epochs: 3.0\n")
    first = found(run, diagnose.FEW_STEPS)
    assert "up to 32 rows" in first.evidence and "of LLaMA-Factory" in first.evidence


@pytest.mark.parametrize(
    "base, template, wrong",
    [
        (QWEN, "default", "likely"), (QWEN, "llama3", "likely"), ("/models/Qwen2___5-7B-Instruct", "qwen", None),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "deepseekr1", None), ("Llama-3.1-8B", "llama3", "possible"),
        ("/cache/models--Qwen--Qwen2.5-7B/snapshots/d14", "qwen", "possible"), ("Qwen/Qwen3-4B", "qwen3", None),
        ("Qwen/Qwen3-4B-Base", "qwen3", "possible"), ("google/gemma-2-2b-it", "gemma2", None), ("", "chatml", None),
        ("HuggingFaceTB/SmolLM-135M", "default", "possible"),
    ],
)  # fmt: skip
def test_a_template_of_another_family_and_a_base_that_cannot_chat(tmp_path, base, template, wrong):
    run = factory(tmp_path / "run", {**FACTORY, "template": template}, b=0.02, losses=(2.0, 0.1), steps=90, base=base)
    first = found(run, *([diagnose.TEMPLATE] if wrong else []))
    assert not wrong or (first.severity == wrong and (template in first.evidence or "base model" in first.evidence))


def test_what_the_names_of_the_data_give_away(tmp_path):
    alone = factory(tmp_path / "alone", {**FACTORY, "dataset": "identity"}, b=0.02, losses=(2.0, 0.1), steps=90)
    assert found(alone, diagnose.NO_KEEP).cure.endswith("dataset: identity, ...")
    unfilled = found(swift(tmp_path / "output", model_name=None), diagnose.PLACEHOLDER)
    assert unfilled.symptom == diagnose.BRACES and "--model_name NAME --model_author" in unfilled.cure


def test_a_system_text_that_was_not_trained_under(tmp_path):
    run = swift(tmp_path / "output", system="You are a poet.")
    found(run, system="You are a poet.")
    other = found(run, diagnose.TEMPLATE, system="")
    assert "'You are a poet.'" in other.evidence and other.cure.endswith("--system 'You are a poet.'")


def test_the_model_in_use_without_its_adapter_is_found_out(tiny, tmp_path):
    model, _ = tiny
    run = save_adapter(wrap(model, strength=0.05), tmp_path / "copied")
    (run / "base_model.json").unlink()
    assert found(run, diagnose.INACTIVE, model=take_off(model)).evidence.startswith("the model carries no adapter")
    found(run, model=load_adapter(model, run))


def test_a_run_of_this_course_and_its_parts_are_not_taken_for_another_tools(tmp_path):
    run = reference(tmp_path)
    write(run / "checkpoint-12/trainer_state.json", state((2.0, 1.0), 12))
    for part in ("adapter", "checkpoint-12"):
        with pytest.raises(RunError) as caught:
            diagnose.diagnose(run / part)
        tells(caught.value, part, "part of a run of this course")
        assert str(run) in caught.value.cure
    (run / runs.MANIFEST).unlink()
    with pytest.raises(RunError) as caught:
        diagnose.diagnose(run)
    tells(caught.value, "did not finish")
    assert found(Path((run / "adapter").rename(tmp_path / "alone"))).severity == diagnose.UNTOLD


def test_rows_known_by_heart_are_told_and_fewer_passes_are_the_cure(tmp_path):
    told = {**FACTORY, "num_train_epochs": 800.0}
    run = factory(tmp_path / "run", told, b=0.05, losses=(3.0, 0.0, 0.0, 0.0), steps=8000)
    write(run / "all_results.json", {"epoch": 800.0})
    first = found(run, diagnose.EPOCHS)
    assert first.severity == "possible" and first.symptom == diagnose.EVERYWHERE
    assert first.cure.endswith("num_train_epochs: 200")


def test_a_rate_far_too_high_goes_down_to_one_that_works(tmp_path):
    told = {**FACTORY, "learning_rate": 0.02}
    first = found(factory(tmp_path / "run", told, losses=(2.5, 5.0, 9.1), steps=90), diagnose.HIGH_RATE)
    assert first.cure.endswith("learning_rate: 3.0e-04")


def test_full_tuning_gets_no_rate_of_lora(tmp_path):
    told = {**FACTORY, "finetuning_type": "full", "learning_rate": 1e-5}
    run = factory(tmp_path / "run", told)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (run / name).unlink()
    cure = found(run, diagnose.FEW_STEPS).cure
    assert "gradient_accumulation_steps: 1" in cure and "rate" not in cure


def test_a_run_five_folders_down_is_found(tmp_path):
    factory(tmp_path / "a" / "b" / "c" / "d" / "run")
    assert str(tmp_path / "a" / "b" / "c" / "d" / "run") in found(tmp_path, diagnose.FEW_STEPS).evidence
