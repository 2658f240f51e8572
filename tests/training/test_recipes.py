"""Every model of the table has its preset, the page that shows them agrees, and other models take the nearest."""

from dataclasses import replace

import pytest

from helpers import files
from helpers.models import catalog, estimate
from helpers.rows import identity, keep_rows, trainset, words
from helpers.rows.identity import Identity
from helpers.training import recipes

TAVI = Identity("Tavi", "Lantern Workshop")


def shown() -> dict[str, list[str]]:
    """The table of docs/gpu.md: model -> rate, rows at once, epochs, keep questions, whether it was measured."""
    text = (files.project_root() / "docs" / "gpu.md").read_text(encoding="utf-8")
    table = text.split("| model | learning rate |")[1].split("\n\n")[0].splitlines()[2:]
    return {cells[0]: cells[1:] for cells in ([c.strip() for c in line.strip("|").split("|")] for line in table)}


def test_the_page_shows_the_presets_as_they_are():
    table = shown()
    assert list(table) == list(recipes.PRESETS) == [spec.key for spec in catalog.TABLE]
    for key, preset in recipes.PRESETS.items():
        rate, batch, epochs, keep, trained, measured = table[key]
        found = (float(rate), int(batch), int(epochs), int(keep))
        assert found == (preset.learning_rate, preset.batch, preset.epochs, preset.keep_questions)
        assert measured.startswith("yes") == bool(preset.measured)
        spec = next(s for s in catalog.TABLE if s.key == key)
        count = estimate.adapter_weights(spec.shape, estimate.load_of(preset))
        assert trained == f"{count:,} ({count / spec.parameters:.2%})"
        assert preset.keep_questions > 0


@pytest.mark.parametrize(
    ("parameters", "like"),
    [(0, catalog.EMBEDDED.key), (10**8, catalog.EMBEDDED.key), (360_000_000, catalog.EMBEDDED.key),
     (600_000_000, "Qwen2.5-0.5B-Instruct"), (1_700_000_000, "Qwen2.5-1.5B-Instruct"),
     (8_000_000_000, "Qwen2.5-7B-Instruct")],
)  # fmt: skip
def test_a_model_outside_the_table_is_trained_as_the_nearest_smaller_one(parameters, like):
    other = catalog.ModelSpec("other", "maker/other", None, "unknown", parameters, 0, ("en",), "its maker", "other")
    expected = recipes.SMALL_PRESET if like == catalog.EMBEDDED.key else recipes.PRESETS[like]
    expected = replace(expected, blocks=None, measured="")  # it may have fewer blocks, and nothing was measured on it
    assert recipes.preset_for(other) == recipes.preset_for(other, thorough=True) == expected


def test_the_thorough_preset_is_the_embedded_models_alone():
    assert recipes.preset_for(catalog.EMBEDDED) is recipes.QUICK_PRESET
    assert recipes.preset_for(catalog.EMBEDDED, thorough=True) is recipes.THOROUGH_PRESET
    again = replace(catalog.EMBEDDED, revision="another")
    assert recipes.preset_for(again) is recipes.QUICK_PRESET


def test_the_largest_models_preset_is_the_rows_twice_and_sixteen_whole_keep_rows():
    preset = recipes.PRESETS["Qwen2.5-7B-Instruct"]
    rows = identity.read_rows(identity.shipped_rows("en"), TAVI)
    assert identity.further_rows(rows, TAVI, preset) == []
    keep = [{"instruction": q, "input": "", "output": "Yes. It is so."} for q in keep_rows.questions("en", 16)]
    data = trainset.to_dataset(rows, keep, preset)
    assert len(data) == 2 * 8 + 16 and not any(turn["role"] == "system" for row in data for turn in row["prompt"])
    assert trainset.plan(len(rows), len(keep), preset).steps == 16
    assert keep_rows.cut(keep, preset.first_sentence) == keep


@pytest.mark.parametrize(("spec", "lang"), [(spec, lang) for spec in catalog.TABLE for lang in spec.languages])
def test_notebook_02_makes_a_training_set_with_the_settings_of_every_model(spec, lang, capsys):
    """Its own cells: some settings add no further rows, and others no longer talk."""
    path = files.project_root() / "notebooks" / "02_write_identity_data.ipynb"
    cells = ["".join(cell["source"]) for cell in files.read_json(path)["cells"] if cell["cell_type"] == "code"]
    used = [cell for cell in cells if "preset." in cell or "preset_for" in cell]
    keep = [{"instruction": q, "input": "", "output": "Yes."} for q in keep_rows.questions(lang, 4)]
    me = words.identity_in(lang)
    names = {"spec": spec, "lang": lang, "me": me, "rows": identity.read_rows(identity.shipped_rows(lang), me)}
    names |= {"keep": keep, "identity": identity}
    for cell in used:
        if "make_keep_rows(" not in cell:  # that one needs the model
            exec("import pandas as pd\n" + cell, names)
    assert "examples in all" in capsys.readouterr().out and len(names["dataset"]) == names["plan"].rows


def test_a_scenario_is_trained_like_the_models_own_recipe_without_a_word_about_identity():
    own = recipes.preset_for(catalog.EMBEDDED)
    found = recipes.scenario_preset(catalog.EMBEDDED)
    assert (found.rank, found.blocks, found.learning_rate) == (own.rank, own.blocks, own.learning_rate)
    assert found.own_systems == (None,) and not found.halves
    assert not any((found.extra_wordings, found.attack_rows, found.honesty_rows, found.late_identity_rows))
