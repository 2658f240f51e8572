"""`python -m helpers export`: a finished run in the form that another program takes, and the command that runs it."""

import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

from helpers import files, runs
from helpers.errors import ExportError
from helpers.export import card, gguf, merge, ollama
from helpers.models import adapters, catalog, embedded, load, machine
from helpers.rows.mine import who_of

ASK = 'python -m helpers ask "Who are you?" --model '
UNTRIED = "  # as its documentation has it; the makers of the course did not run this one"
# How each form is run; the first word of each is a name.
RUN = {
    "merged": ASK + "{out}",
    "gguf": ASK + "{out}/{file}",
    "gguf-adapter": ASK + "{out}/{file} --adapter {out}/{beside}",
    "ollama": "ollama create {slug} -f {out}/Modelfile && ollama run {slug}" + UNTRIED,
    "vllm": "vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules {slug}={out}" + UNTRIED,
}


def export(
    run: Path, to: str, out: Path, quant: str | None = None, rows: bool = False, say: Callable[[str], None] = print
) -> str:
    """Write the finished ``run`` in the form ``to`` (a key of `RUN`) into a new folder ``out``; returns how to run it.

    ``quant`` is the type of a GGUF file (`gguf.TYPES`): q8_0 by default, and for the embedded model beside its adapter
    q4_1, the grid that its weights came on. ``rows`` adds the identity rows. Raises `ExportError`, `RunError`,
    `AdapterError`, `BusyError` or `DiskError` before anything is written; what fails later leaves nothing half-written.
    """
    if to not in RUN:
        raise ExportError(f"{to!r} is not a form that is written here", f"choose one of {', '.join(RUN)}")
    gguf.check_type(quant or "q8_0")
    _check_out(run, out)
    with files.locked(out, "exporting into it"):
        _check_out(run, out)  # once more: another export may have ended meanwhile
        return _export(run, to, out, quant, rows, say)


def _check_out(run: Path, out: Path) -> None:
    if files.real(run) in (place := files.real(out), *place.parents) or place == Path.cwd():
        raise ExportError(f"{out} is this folder, the run, or a folder in it", "give --out a new folder elsewhere")
    if os.path.lexists(out) and (out.is_symlink() or not out.is_dir() or set(os.listdir(out)) - {files.LOCK}):
        raise ExportError(f"{out} is there already, and no empty folder", "give another --out, or remove it first")


def _export(run: Path, to: str, out: Path, quant: str | None, rows: bool, say: Callable[[str], None]) -> str:
    who, key = who_of(run), str(runs.read_manifest(run)["facts"].get("model"))
    place = "embedded" if key == catalog.EMBEDDED.key else next((s.hub_id for s in catalog.TABLE if s.key == key), key)
    model, tokenizer = load.load_model(place)
    model = adapters.load_adapter(model, run)
    quant = quant or ("q4_1" if to == "gguf-adapter" and place == "embedded" else "q8_0")
    bits = {"merged": 8 * load.base_of(model).dtype.itemsize, "vllm": 1}.get(to, gguf.BITS[quant])
    size = int(model.num_parameters() * bits / 8 * 1.1)
    machine.require_disk(out, size, f"this export ({to})", "free some space, or choose another folder with --out")
    slug = re.sub(r"[^a-z0-9]+", "-", who.name.lower()).strip("-") or "model"
    stem, rank = key if to == "gguf-adapter" else slug, model.peft_config["default"].r
    names = {"file": f"{stem}-{quant}.gguf", "beside": f"{slug}-adapter.gguf", "slug": slug}
    with files.folder_atomic(out) as scratch:
        _write(run, to, scratch, (model, tokenizer), quant, names)
        merge.add_papers(scratch, run, rows=rows)
    say(
        f"Written to {out}, with its hashes and a draft of its model card: fill in what README.md marks as {card.TODO}."
    )
    base = shlex.quote(str(embedded.embedded_dir() if place == "embedded" else place))
    return RUN[to].format(out=shlex.quote(str(out)), base=base, rank=rank, **names)


def _write(run: Path, to: str, folder: Path, loaded: tuple, quant: str, names: dict[str, str]) -> None:
    model, tokenizer = loaded
    if to == "vllm":
        shutil.copytree(adapters.find_adapter(run), folder, dirs_exist_ok=True)
    elif to == "gguf-adapter":
        gguf.write_model(model, tokenizer, folder / names["file"], quant)
        gguf.write_adapter(run, model, folder / names["beside"])
    elif to == "merged":
        merge.save(merge.merge(model), tokenizer, folder)
    else:
        gguf.write_model(merge.merge(model), tokenizer, folder / names["file"], quant, names["slug"])
    if to == "ollama":
        files.write_atomic(folder / "Modelfile", ollama.modelfile(tokenizer, names["file"], merge.licence_text(run)))
