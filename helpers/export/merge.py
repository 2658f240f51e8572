"""Merging an adapter into its base model, and what has to go along with files that leave this machine."""

import re
import shutil
from pathlib import Path

from peft import PeftModel

from helpers import files, runs
from helpers.errors import ExportError
from helpers.export import card
from helpers.models.load import base_of
from helpers.models.template import stops

SUMS = "SHA256SUMS"
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy"}


def merge(model):
    """The base model with its adapter added to the weights; ``model`` must not be used any more.

    Raises `ExportError` for a model without an adapter, and for one with weights in 4 bits: what the adapter changes is
    smaller than the steps between those.
    """
    if not isinstance(model, PeftModel):
        raise ExportError("the model carries no adapter to merge", "load_adapter(model, RUN) first")
    if getattr(base_of(model), "is_quantized", False):
        cure = "load the base model without four_bit, put the adapter on it, and merge that"
        raise ExportError("the base model is loaded in 4 bits, and merging would round the change away", cure)
    return model.merge_and_unload(safe_merge=True)  # refuses weights that are no numbers


def save(model, tokenizer, folder: Path) -> None:
    """Write a model as safetensors, with its settings, tokenizer and chat template, into an empty ``folder``."""
    model.generation_config.eos_token_id = stops(model, tokenizer)  # other programs know no other ends
    model.config._name_or_path = ""  # else this machine's path may stand in config.json
    with files.disk_errors(folder):
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        files.follow_umask(folder)


def add_papers(folder: Path, run: Path, measured: str = "", rows: bool = False) -> None:
    """Put model card (with what was ``measured``), licence and hashes into ``folder``; identity rows with ``rows``."""
    files.write_atomic(folder / "README.md", card.draft(run, measured))
    files.write_atomic(folder / "LICENSE", licence_text(run))
    if rows:
        shutil.copyfile(run / "identity.json", folder / "identity.json")
    found = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    lines = [f"{files.sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in found]
    files.write_atomic(folder / SUMS, "".join(lines))


def licence_text(run: Path) -> str:
    """The text of the base model's licence if that is Apache-2.0, which is the course's too; else where to find it."""
    model = runs.read_manifest(run)["facts"]["model"]
    if (name := card.licence_of(model)) == "Apache-2.0":
        return (files.project_root() / "LICENSE").read_text(encoding="utf-8")
    return f"{card.TODO}: put the text of the licence of {model} ({name}) here; its page has it.\n"


def amiss(folder: Path) -> list[str]:
    """What should not leave this machine, or has changed since the hashes were written: a line each."""
    found = []
    sums = dict(line.split("  ", 1)[::-1] for line in (folder / SUMS).read_text(encoding="utf-8").splitlines())
    own = "|".join(
        re.escape(str(path)) for path in {Path.home(), files.home(), files.project_root()} if len(path.parts) > 1
    )
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS):
        name = path.relative_to(folder).as_posix()
        found += [f"{name}: a pickle can run code when it is loaded"] if path.suffix in PICKLES else []
        found += [f"{name}: its hash is not the one written down"] if sums.get(name) != files.sha256(path) else []
        found += (
            [f"{name}: rows that you may want to keep"] if re.match("identity.*json|keep.*jsonl", path.name) else []
        )
        if path.stat().st_size < 10**7 and re.search(own, path.read_bytes().decode("utf-8", "ignore")):
            found.append(f"{name}: a path of this machine stands in it")
    return found
