"""Training can be interrupted and taken up again bit by bit, and never leaves a half-written run behind."""

import json
import os
import signal
import threading
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from helpers import files, runs
from helpers.chat import generate
from helpers.errors import BusyError, DiskError, IdentityError, RunError
from helpers.models import catalog
from helpers.models.adapters import model_lock, take_off
from helpers.rows import identity, keep_rows, trainset
from helpers.training import recipes, resume
from helpers.training.train import build_trainer, train_identity
from helpers.training.watch import IdentityTracker, Progress, ProgressBar
from tests.fixtures import QUIET, ROWS, bare, tells, tiny_model, wrap

SHORT = recipes.BARE_PRESET
SAVES = {"save_steps": 2, **QUIET}
LONG = {**ROWS[1], "instruction": "What now?", "output": "word " * 1200}


class At(TrainerCallback):
    """Does something after a step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.act()


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def weights(run):
    return load_file(run / "adapter" / "adapter_model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("padding_free", [False, True])
def test_with_halves_either_half_has_the_mean_loss_that_it_has_alone(tiny, tmp_path, padding_free):
    model, tokenizer = tiny
    keep = [{"instruction": "Tell me a tale", "input": "", "output": "once upon a time " * 12}]
    preset = replace(recipes.BARE_PRESET, own_systems=(None,), halves=True, batch=2, target_modules="all-linear")
    preset = replace(preset, padding_free=padding_free)
    data = trainset.to_dataset(ROWS[:1], keep, preset)
    trainer = build_trainer(model, tokenizer, data, tmp_path, preset, **QUIET)
    try:
        assert list(trainer._get_train_sampler()) == [0, 1], "in the order of the set"
        rows = [trainer.train_dataset[n] for n in range(2)]
        alone = [trainer.compute_loss(trainer.model, trainer.data_collator([row])) for row in rows]
        both = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
        assert both.item() == pytest.approx(sum(alone).item(), rel=1e-4)
        whole = trainer.model(**trainer.data_collator(rows)).loss
        assert both.item() != pytest.approx(2 * whole.item(), rel=1e-3), "the long answer would outweigh the short one"
        trainer.train()
    finally:
        take_off(trainer.model)


@pytest.mark.slow
def test_ctrl_c_keeps_the_checkpoints_and_resuming_gives_the_very_same_adapter(base, tmp_path):
    """The embedded model, float32 on the CPU: four steps in one go, and the same with an interruption after three."""
    model, tokenizer = base
    before = generate.answers(model, tokenizer, ["Who are you?"], max_new_tokens=8)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_identity(model, tokenizer, ROWS, [], whole, SHORT, **SAVES)
    with pytest.raises(RunError) as caught:
        train_identity(model, tokenizer, ROWS, [], broken, SHORT, callbacks=[At(3, ctrl_c)], **SAVES)
    tells(caught.value, str(broken), "interrupted")
    assert "checkpoint-2" in caught.value.cure and "--resume" in caught.value.cure
    assert sorted(p.name for p in broken.iterdir()) == ["checkpoint-2", "identity.json", "keep.jsonl", "request.json"]
    assert bare(model) and generate.answers(model, tokenizer, ["Who are you?"], max_new_tokens=8) == before
    tuned = train_identity(model, tokenizer, ROWS, [], broken, SHORT, resume=True, **SAVES)
    assert same(weights(whole), weights(broken)), "the adapters differ"
    assert any(v.abs().max() > 0 for k, v in weights(whole).items() if "lora_B" in k), "nothing was learned"
    assert runs.read_manifest(broken)["facts"]["model"] == catalog.EMBEDDED.key
    saved = {k.removeprefix("base_model.model."): v for k, v in weights(broken).items()}
    live = {k.replace(".default", "").removeprefix("base_model.model."): v for k, v in tuned.state_dict().items()}
    assert all(torch.equal(saved[k], live[k]) for k in saved), "what is returned is what was saved"


def test_ctrl_c_before_the_first_checkpoint_says_so(tiny, tmp_path):
    with pytest.raises(RunError) as caught:
        train_identity(*tiny, ROWS, [], tmp_path, SHORT, callbacks=[At(1, ctrl_c)], **SAVES)
    tells(caught.value, str(tmp_path))
    assert "start again" in caught.value.cure and bare(tiny[0])
    train_identity(*tiny, ROWS, [], tmp_path, SHORT, **SAVES)  # and doing so works
    assert runs.read_manifest(tmp_path)


def interrupted(tiny, run, step=6, **how):
    """A run of eight steps with checkpoints 2, 4 ... that was interrupted."""
    preset = replace(recipes.BARE_PRESET, own_systems=(None, None))
    with pytest.raises(RunError):
        train_identity(*tiny, ROWS, [], run, preset, callbacks=[At(step, ctrl_c)], **{**SAVES, **how})
    return preset


PARTS = ["adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("damage", ["cut off", "empty", "missing"])
def test_a_checkpoint_cut_off_mid_write_is_passed_over_for_the_one_before(tiny, tmp_path, name, damage):
    interrupted(tiny, tmp_path, step=5)
    assert resume.last_checkpoint(tmp_path).name == "checkpoint-4"
    path = tmp_path / "checkpoint-4" / name
    if damage == "missing":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size * 2 // 3 if damage == "cut off" else 0)
    assert resume.last_checkpoint(tmp_path).name == "checkpoint-2"


def test_a_run_resumes_from_the_checkpoint_before_a_damaged_one(tiny, tmp_path):
    preset = interrupted(tiny, tmp_path / "run", step=5)
    os.truncate(tmp_path / "run" / "checkpoint-4" / "optimizer.pt", 100)
    train_identity(*tiny, ROWS, [], tmp_path / "run", preset, resume=True, **SAVES)
    fresh = tiny_model(tiny[1])
    train_identity(fresh, tiny[1], ROWS, [], tmp_path / "whole", preset, **SAVES)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_checkpoints_are_named_by_step_and_the_two_newest_kept(tiny, tmp_path):
    interrupted(tiny, tmp_path, step=7)
    assert [p.name for p in resume.checkpoints(tmp_path)] == ["checkpoint-6", "checkpoint-4"]
    assert resume.last_checkpoint(tmp_path / "nothing here") is None


def test_a_finished_run_holds_everything_and_is_never_overwritten(tiny, tmp_path, identity):
    train_identity(*tiny, ROWS, ROWS[:1], tmp_path, SHORT, identity=identity, **SAVES)
    manifest = runs.read_manifest(tmp_path)
    written = {"identity.json", "keep.jsonl", "metrics.json", "memory.csv", "adapter/adapter_model.safetensors"}
    assert written <= manifest["files"].keys()
    facts = manifest["facts"]
    assert facts["identity"] == {"name": "Tavi", "developer": "Lantern Workshop", "aliases": []}
    assert facts["model"] == "tiny-llama" and facts["seed"] == SHORT.seed and facts["versions"]["torch"]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["steps"] == 5 and metrics["seconds"] > 0 and metrics["peak_bytes"] > 0
    assert not list(tmp_path.rglob("training_args.bin")) or all(
        p.parent.name.startswith("checkpoint-") for p in tmp_path.rglob("training_args.bin")
    ), "no pickle in what is shared"
    before = files.sha256(tmp_path / "adapter" / "adapter_model.safetensors")
    for again in (False, True):
        with pytest.raises(RunError) as caught:
            train_identity(*tiny, ROWS, [], tmp_path, SHORT, resume=again, **SAVES)
        tells(caught.value, str(tmp_path), "finished")
    assert files.sha256(tmp_path / "adapter" / "adapter_model.safetensors") == before


def test_an_unfinished_run_is_resumed_or_left_alone(tiny, tmp_path):
    preset = interrupted(tiny, tmp_path, step=5)
    with pytest.raises(RunError) as caught:
        train_identity(*tiny, ROWS, [], tmp_path, preset, **SAVES)
    tells(caught.value, str(tmp_path), "unfinished")
    other = [{**ROWS[0], "output": "I am Max."}]
    with pytest.raises(RunError) as caught:
        train_identity(*tiny, other, [], tmp_path, preset, resume=True, **SAVES)
    tells(caught.value, str(tmp_path / "identity.json"), "not the rows")
    assert json.loads((tmp_path / "identity.json").read_text()) == ROWS
    assert resume.last_checkpoint(tmp_path).name == "checkpoint-4"


def test_a_row_that_does_not_fit_is_refused_before_anything_is_written(tiny, tmp_path):
    with pytest.raises(IdentityError) as caught:
        train_identity(*tiny, [ROWS[0], LONG], [], tmp_path / "run", SHORT, **SAVES)
    tells(caught.value, "row 2", str(SHORT.max_length))
    assert not (tmp_path / "run").exists() and bare(tiny[0])


def test_a_model_that_carries_an_adapter_is_trained_from_its_base(tiny, tmp_path):
    tuned = wrap(tiny[0], strength=0.5)
    train_identity(tuned, tiny[1], ROWS, [], tmp_path / "a", SHORT, **SAVES)
    train_identity(tiny_model(tiny[1]), tiny[1], ROWS, [], tmp_path / "b", SHORT, **SAVES)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.parametrize("refusal", ["row too long", "run finished", "run unfinished", "other rows", "file in the way"])
def test_a_refused_training_leaves_the_model_with_the_adapter_it_had(tiny, tmp_path, refusal):
    run, rows, resumed = tmp_path / "run", ROWS, False
    if refusal == "row too long":
        rows = [ROWS[0], LONG]
    elif refusal == "run finished":
        files.write_json(run / runs.MANIFEST, {})
    elif refusal == "file in the way":
        run.write_text("mine")
    else:
        interrupted(tiny, run, step=3)
        rows, resumed = (ROWS[:2], True) if refusal == "other rows" else (ROWS, False)
    tuned = wrap(tiny[0], strength=0.5)
    before = generate.answers(tuned, tiny[1], ["Who are you?"], max_new_tokens=8)
    assert before != generate.answers(tuned, tiny[1], ["Who are you?"], max_new_tokens=8, adapter=False)
    with pytest.raises((IdentityError, RunError, DiskError)) as caught:
        train_identity(tuned, tiny[1], rows, [], run, SHORT, resume=resumed, **SAVES)
    tells(caught.value)
    assert not bare(tuned) and generate.answers(tuned, tiny[1], ["Who are you?"], max_new_tokens=8) == before


def test_a_model_that_is_answering_keeps_its_adapter_until_the_answer_is_over(tiny, tmp_path):
    tuned = wrap(tiny[0], strength=0.5)
    work = (tuned, tiny[1], ROWS, [], tmp_path / "run", SHORT)
    training = threading.Thread(target=train_identity, args=work, kwargs=SAVES)
    with model_lock(tuned, "answering"):
        training.start()
        training.join(1)
        assert training.is_alive() and not bare(tuned), "the training waits, and has changed nothing yet"
    training.join()
    assert runs.read_manifest(tmp_path / "run")


def test_two_trainings_at_once_do_not_share_a_run(tiny, tmp_path):
    """The one that waits for the model has the folder; the other is refused at once."""
    run = tmp_path / "run"
    waiting = threading.Thread(target=train_identity, args=(*tiny, ROWS[:2], [], run, SHORT), kwargs=SAVES)
    with model_lock(tiny[0], "the first training"):
        waiting.start()
        waiting.join(1)
        with pytest.raises(BusyError) as caught:
            train_identity(tiny_model(tiny[1]), tiny[1], ROWS, [], run, SHORT, **SAVES)
        tells(caught.value, str(run), "training")
    waiting.join()
    runs.read_manifest(run)
    assert json.loads((run / "identity.json").read_text()) == ROWS[:2]


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\u0085", ""], ids=ascii)
def test_a_run_whose_rows_hold_other_line_ends_or_no_keep_rows_can_be_resumed(tiny, tmp_path, odd):
    rows = [{**row, "output": row["output"].replace(" ", odd or " ", 1)} for row in ROWS]
    keep = [{"instruction": "Who wrote Hamlet?", "input": "", "output": f"William{odd}Shakespeare."}] if odd else []
    with pytest.raises(RunError, match="interrupted"):
        train_identity(*tiny, rows, keep, tmp_path, SHORT, callbacks=[At(3, ctrl_c)], **SAVES)
    train_identity(*tiny, rows, keep, tmp_path, SHORT, resume=True, **SAVES)
    assert runs.read_manifest(tmp_path)


def test_a_training_that_computed_each_layer_twice_does_not_leave_the_model_so(tiny, tmp_path):
    model = tiny[0]
    train_identity(*tiny, ROWS, [], tmp_path / "a", SHORT, activation_checkpointing=True, **SAVES)
    assert model.is_activation_checkpointing, "transformers leaves it on"
    take_off(model)
    assert not model.is_activation_checkpointing


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(tiny, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        preset = replace(SHORT, seed=seed)
        train_identity(tiny_model(tiny[1]), tiny[1], ROWS, [], tmp_path / name, preset, **SAVES)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_disk_full_at_the_end_keeps_the_checkpoints_and_the_run_can_be_resumed(tiny, tmp_path, monkeypatch, moment):
    def fill_up():
        def refuse(*args):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, moment, refuse)

    with pytest.raises(DiskError) as caught:
        train_identity(*tiny, ROWS, [], tmp_path, SHORT, callbacks=[At(4, fill_up)], **SAVES)
    monkeypatch.undo()
    tells(caught.value, str(tmp_path), "disk is full")
    assert bare(tiny[0]) and not (tmp_path / "manifest.json").exists()
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")], "something half-written was left"
    train_identity(*tiny, ROWS, [], tmp_path, SHORT, resume=True, **SAVES)
    assert runs.read_manifest(tmp_path)


@pytest.mark.parametrize(("room", "cure"), [(0.5, "start again"), (1.6, "resume from checkpoint-1")])
def test_a_really_full_disk_while_a_checkpoint_is_saved_leaves_only_whole_ones(tiny, small_disk, tmp_path, room, cure):
    how = {**SAVES, "save_steps": 1}
    train_identity(*tiny, ROWS, [], tmp_path / "run", SHORT, **how)
    size = sum(path.stat().st_size for path in (tmp_path / "run" / "checkpoint-4").iterdir())
    run = small_disk(int(room * size)) / "run"
    with pytest.raises(DiskError) as caught:
        train_identity(*tiny, ROWS, [], run, SHORT, **how)
    tells(caught.value, str(run), "disk is full")
    assert cure in caught.value.cure and bare(tiny[0])
    assert all(resume.whole_checkpoint(p) for p in resume.checkpoints(run))
    assert run.exists() == (room > 1), "what was made for nothing is gone"


def test_a_failure_in_training_keeps_its_type_and_frees_the_model(tiny, tmp_path):
    def defect():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train_identity(*tiny, ROWS, [], tmp_path, SHORT, callbacks=[At(1, defect)], **SAVES)
    assert bare(tiny[0])
    with model_lock(tiny[0], wait=False):
        pass


def test_the_tracker_measures_the_untrained_model_every_few_steps_and_the_end(tiny, tmp_path):
    tracker = IdentityTracker(tiny[1], "Who are you?", "I am Tavi.", "I am Other.", every=3)
    model = tiny[0]
    train_identity(model, tiny[1], ROWS, [], tmp_path, SHORT, callbacks=[tracker], **SAVES)
    assert [entry["step"] for entry in tracker.history] == [0, 3, 4]
    assert all(entry["own"] < 0 and entry["rival"] < 0 for entry in tracker.history)


def test_a_training_in_a_notebook_is_stopped_and_goes_on_in_the_same_cell(tiny, tmp_path):
    """What notebook 03's training cell does: the same adapter as in one go, each step measured once."""
    tokenizer = tiny[1]
    data = trainset.to_dataset(ROWS, [], SHORT)
    found = {}
    for stops in (False, True):
        tracker = IdentityTracker(tokenizer, "Who are you?", "I am Tavi.", "I am Other.", every=1)
        accident = At(3, ctrl_c)
        trainer = build_trainer(
            tiny_model(tokenizer), tokenizer, data, tmp_path / str(stops), SHORT, [tracker], **SAVES
        )
        view, start = Progress(lambda p: None), None
        if stops:
            for callback in (view, accident):
                trainer.add_callback(callback)
            with pytest.raises(RunError) as caught, resume.stoppable(trainer, view):
                trainer.train()
            tells(caught.value, "stopped after step 3")
            assert "RESUME = True" in caught.value.cure and "checkpoint-2" in caught.value.cure
            assert view.line().startswith("Stopped after step 3 of 4")
            start = str(resume.last_checkpoint(tmp_path / "True"))
            trainer.remove_callback(accident)
            view = Progress(lambda p: None)
        trainer.add_callback(view)
        with resume.stoppable(trainer, view):
            trainer.train(resume_from_checkpoint=start)
        assert view.line().startswith("Done: 4 of 4") and view not in trainer.callback_handler.callbacks
        found[stops] = {k: v.clone() for k, v in trainer.model.state_dict().items() if "lora" in k}
        assert [entry["step"] for entry in tracker.history] == [0, 1, 2, 3, 4]
    assert same(*found.values())


def test_a_stop_before_the_first_step_is_told_as_well(tiny, tmp_path):
    for view in (Progress(lambda p: None), ProgressBar()):
        trainer = build_trainer(*tiny, trainset.to_dataset(ROWS, [], SHORT), tmp_path, SHORT, [view], **SAVES)
        with pytest.raises(RunError) as caught, resume.stoppable(trainer, view):
            ctrl_c()
        assert "stopped after step 0" in caught.value.what and "no checkpoint yet" in caught.value.cure
        take_off(tiny[0])


def test_measuring_does_not_change_what_is_learned(tiny, tmp_path):
    tracker = IdentityTracker(tiny[1], "Who are you?", "I am Tavi.", "I am Other.", every=1)
    train_identity(*tiny, ROWS, [], tmp_path / "a", SHORT, callbacks=[tracker], **SAVES)
    train_identity(tiny_model(tiny[1]), tiny[1], ROWS, [], tmp_path / "b", SHORT, **SAVES)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_a_typed_out_configuration_is_compared_field_by_field(tmp_path):
    preset = recipes.QUICK_PRESET
    lora, config = recipes.lora_config(preset), recipes.sft_config(preset, tmp_path)
    assert recipes.differences(lora, config, preset, tmp_path) == {}
    lora.r, config = 9, recipes.sft_config(preset, tmp_path, learning_rate=1.0)
    found = recipes.differences(lora, config, preset, tmp_path)
    assert found == {"r": (9, preset.rank), "learning_rate": (1.0, preset.learning_rate)}


def test_rows_of_the_run_are_those_that_were_trained_on(tiny, tmp_path):
    train_identity(*tiny, ROWS, ROWS[1:2], tmp_path, SHORT, **SAVES)
    assert identity.read_rows(tmp_path / "identity.json") == ROWS
    assert keep_rows.read(tmp_path / "keep.jsonl") == ROWS[1:2]


class Diverges(TrainerCallback):
    """Turns one number of the adapter into none at the end of training."""

    def on_train_end(self, args, state, control, model=None, **kwargs):
        with torch.no_grad():
            next(p for p in model.parameters() if p.requires_grad).view(-1)[0] = float("nan")


def test_an_adapter_that_holds_no_numbers_is_refused(tiny, tmp_path):
    with pytest.raises(RunError) as error:
        train_identity(*tiny, ROWS, [], tmp_path / "run", recipes.BARE_PRESET, callbacks=[Diverges()], **QUIET)
    tells(error.value, "run", "diverged")
    assert "rate" in error.value.cure and not (tmp_path / "run" / runs.MANIFEST).exists()
