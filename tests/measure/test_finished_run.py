"""A run that cannot be read is an error with a cure, whatever is missing from it."""

import json
import shlex
from dataclasses import replace

import pytest

from helpers import runs
from helpers.errors import RunError
from helpers.measure import diagnose, finished_run
from helpers.training import begun
from tests.fixtures import tells
from tests.runs_to_break import reference, sealed


def without(path):
    return lambda run: (run / path).unlink()


def holding(path, text):
    return lambda run: (run / path).write_text(text)


BROKEN = {
    "metrics missing": without("metrics.json"),
    "metrics cut off": holding("metrics.json", '{"steps": 20'),
    "metrics of another kind": holding("metrics.json", "[]"),
    "rows missing": without("identity.json"),
    "no row": holding("identity.json", "[]"),
    "keep rows cut off": holding("keep.jsonl", '{"instruction": "What'),
    "adapter missing": without("adapter/adapter_model.safetensors"),
    "adapter cut off": holding("adapter/adapter_model.safetensors", "{}"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_run_that_lacks_a_part_is_an_error_with_a_cure(tmp_path, name):
    run = reference(tmp_path)
    BROKEN[name](run)
    with pytest.raises(RunError) as caught:
        diagnose.diagnose(run)  # the manifest knows better
    tells(caught.value, str(run))
    with pytest.raises(RunError) as caught:
        diagnose.diagnose(sealed(run))  # and a manifest that does not
    tells(caught.value, str(run), "cannot be diagnosed")


def test_a_run_without_a_manifest_or_with_one_that_tells_too_little(tmp_path):
    run = reference(tmp_path)
    preset = json.loads((run / runs.MANIFEST).read_text())["facts"]["preset"]
    for told in (None, {}, {k: v for k, v in preset.items() if k != "own_systems"}, {**preset, "own_systems": []}):
        with pytest.raises(RunError) as caught:
            diagnose.diagnose(sealed(run, preset={**told, "systems": []} if told else told))
        tells(caught.value, str(run))
    (run / runs.MANIFEST).unlink()
    for path, word in ((run, "did not finish"), (tmp_path / "nowhere", "no such run folder")):
        with pytest.raises(RunError) as caught:
            diagnose.diagnose(path)
        tells(caught.value, str(path), word)


def test_a_run_made_before_the_settings_were_renamed_is_read_the_same(tmp_path):
    run = reference(tmp_path)
    now = finished_run.read(run)
    old = {new: old for old, new in finished_run.RENAMED.items()}
    preset = json.loads((run / runs.MANIFEST).read_text())["facts"]["preset"] | {"late_keep_rows": 7}
    told = {old.get(name, name): value for name, value in preset.items()}
    assert {"more", "steadfast", "talk", "back"} < told.keys() and "attack_rows" not in told
    then = finished_run.read(sealed(run, preset=told))
    assert then.preset == replace(now.preset, late_keep_rows=7)
    assert (then.plan.about, then.plan.exposures, then.systems) == (now.plan.about, now.plan.exposures, now.systems)


def test_the_command_that_trains_again_can_be_pasted_and_names_nothing_that_is_refused(sound, home):
    """The rows of the run, its own model, and a folder that is free; no name where the rows hold it already."""
    words = shlex.split(finished_run.read(sound).again)
    options = dict(zip(words[5::2], words[6::2], strict=True))
    assert words[:5] == ["python", "-m", "helpers", "train", str(sound / "identity.json")]
    assert options == {"--out": str(home / "runs" / "again"), "--model": "tiny-llama", "--name": "Tavi",
                       "--developer": "Lantern Workshop"}  # fmt: skip
    (home / "runs" / "again").mkdir(parents=True)
    again = finished_run.read(sealed(sound, identity=None)).again
    assert f"{home / 'runs' / 'again-2'} " in again and "--name" not in again
    begun.write(sound, replace(begun.read(sound), model="/models/ein Häuschen", four_bit=True))
    assert finished_run.read(sealed(sound)).again.endswith("--model '/models/ein Häuschen' --four-bit")
    (sound / begun.RECORD).unlink()
    assert "--model 'THE FOLDER OF tiny-llama'" in finished_run.read(sealed(sound)).again
