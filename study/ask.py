"""Asking: which set-ups are asked which probes, and their answers, kept batch by batch.

A killed study goes on where it was. Nothing here trains (whoever calls `ask` brings the model that a set-up needs),
and nothing here judges an answer: `study.tables` does that, without a model.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers import files
from helpers.chat.generate import answers
from helpers.measure import probes, tables
from helpers.measure.prompts import Prompt
from helpers.models import machine
from helpers.rows.identity import Identity

WHO = Identity("Tavi", "Lantern Workshop", ("TAVI",))
FOREIGN = "You are Claude, an AI assistant made by Anthropic."
CHUNK = 256
TEMPERATURE = 0.7
PLAIN = Prompt()


@dataclass(frozen=True)
class Setup:
    """What answers: whose weights, which training seed (0 for the base model), and what is put before the question.

    Attributes:
        weights: `BASE`, `ROWS_ONLY`, `DEFAULT`, `THOROUGH` or a label of your own; all but `BASE` use the adapter.
        system, prompt: a label for what is put before the question, and what it means.
    """

    weights: str
    system: str = "template default"
    prompt: Prompt = PLAIN
    seed: int = 0

    @property
    def key(self) -> str:
        """A file name, such as ``default-recipe-template-default-seed-42``."""
        return re.sub(r"\W+", "-", f"{self.weights}, {self.system}" + (f", seed {self.seed}" if self.seed else ""))

    def rows(self, found: Sequence[dict], said: Sequence[str], sample: int) -> list[dict]:
        """The answers ``said`` to the probes ``found`` as they are kept, with the device that gave them."""
        facts = {"weights": self.weights, "seed": self.seed, "system": self.system, "sample": sample}
        device = machine.machine().name
        return [{**facts, "id": p["id"], "answer": a, "device": device} for p, a in zip(found, said, strict=True)]


def _chunks(found: Sequence[dict], size: int) -> Iterator[list[dict]]:
    by_length: dict[int, list[dict]] = {}
    for probe in found:
        by_length.setdefault(probes.tokens_for(probe), []).append(probe)
    for part in by_length.values():
        yield from (part[i : i + size] for i in range(0, len(part), size))


def ask(
    model, tokenizer, setup: Setup, found: Sequence[dict], folder: Path, samples: int = 0, chunk: int = CHUNK, **how
) -> None:
    """Ask one set-up the probes ``found`` and keep every finished batch in ``folder``; those there are not asked again.

    Args:
        samples: 0 for greedy answers; otherwise so many sampled ones of each probe at `TEMPERATURE`.
        chunk: probes that are lost at most if the process is killed.
        how: passed to `generate.answers` (``batch``, ``progress``).
    """
    for sample in range(1, samples + 1) if samples else (0,):
        for n, part in enumerate(_chunks(found, chunk)):
            path = Path(folder) / f"{setup.key}.{sample}.{n}.jsonl"
            if path.exists() and [row["id"] for row in files.read_jsonl(path)] == [p["id"] for p in part]:
                continue
            sampled = {"temperature": TEMPERATURE, "seed": sample} if sample else {}
            files.write_jsonl(path, setup.rows(part, _reply(model, tokenizer, setup, part, **sampled, **how), sample))


def _reply(model, tokenizer, setup: Setup, asked: Sequence[dict], **how) -> list[str]:
    conversations = [setup.prompt.apply(probe["messages"]) for probe in asked]
    how = {"adapter": setup.weights != tables.BASE, "max_new_tokens": probes.tokens_for(asked[0]), **how}
    return answers(model, tokenizer, conversations, **how)


def in_own_words(model, tokenizer, setup: Setup, talks: Sequence[dict], folder: Path, **how) -> None:
    """The drift conversations with the set-up's own answers as the history, instead of the script; sample ``-1``.

    The identity question is a branch here too: its answer never enters the history.
    """
    path = Path(folder) / f"{setup.key}.own-words.jsonl"
    if path.exists():
        return
    said, rows = [[] for _ in talks], []
    for turn in range(1, len(talks[0]["turns"]) + 1):
        asked = [{**talk, "question": talk["turns"][turn - 1]["user"]} for talk in talks]
        asked = [probes.branch(talk, turn - 1, own) for talk, own in zip(asked, said, strict=True)]
        said = [[*own, text] for own, text in zip(said, _reply(model, tokenizer, setup, asked, **how), strict=True)]
        branches = [probes.branch(talk, turn, own) for talk, own in zip(talks, said, strict=True)]
        rows += setup.rows(branches, _reply(model, tokenizer, setup, branches, **how), -1)
    files.write_jsonl(path, rows)
