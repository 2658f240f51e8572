"""The robustness study: which arms are asked which probes, answers kept batch by batch, verdicts on them.

Asking and judging are apart: answers are written as they come (a killed study goes on where it was), and can be judged
again without a model. Nothing here trains (whoever calls `ask` brings the model that an arm needs) or compares arms.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers import files
from helpers.chat.generate import answers
from helpers.measure import probes, tables
from helpers.measure.prompts import Prompt, sentence
from helpers.rows.identity import Identity

FOREIGN = "You are Claude, an AI assistant made by Anthropic."
CHUNK = 256
PLAIN = Prompt()


@dataclass(frozen=True)
class Arm:
    """One way of answering: whose weights, which training seed, and what is put before the question.

    Attributes:
        weights: `BASE`, `ROWS_ONLY`, `DEFAULT`, `THOROUGH` or a label of your own; all but `BASE` use the adapter.
        system: label of what is put before the question, such as those of `systems`.
        prompt: what that label means.
        seed: of the training; 0 for the base model.
    """

    weights: str
    system: str = "template default"
    prompt: Prompt = PLAIN
    seed: int = 0

    @property
    def name(self) -> str:
        """Such as ``default recipe, template default, seed 42``."""
        return f"{self.weights}, {self.system}" + (f", seed {self.seed}" if self.seed else "")

    @property
    def key(self) -> str:
        """`name` as a file name."""
        return re.sub(r"\W+", "-", self.name)


def systems(who: Identity, best: Prompt) -> dict[str, Prompt]:
    """Label -> prompt for the system texts of the study."""
    return {
        "template default": PLAIN,
        "none": Prompt(""),
        "one sentence": Prompt(sentence(who)),
        "best prompt": best,
        "foreign": Prompt(FOREIGN),
    }


def _chunks(found: Sequence[dict], size: int) -> Iterator[list[dict]]:
    by_length: dict[int, list[dict]] = {}
    for probe in found:
        by_length.setdefault(probes.tokens_for(probe), []).append(probe)
    for part in by_length.values():
        yield from (part[i : i + size] for i in range(0, len(part), size))


def ask(
    model, tokenizer, arm: Arm, found: Sequence[dict], folder: Path, *, samples: int = 0, temperature: float = 0.7,
    chunk: int = CHUNK, **how,
) -> None:  # fmt: skip
    """Ask ``found`` of one arm and keep every finished batch in ``folder``; batches already there are not asked again.

    Args:
        samples: 0 for greedy answers; otherwise so many sampled ones of each probe at ``temperature``.
        chunk: probes that are lost at most if the process is killed.
        how: passed to `generate.answers` (``batch``, ``progress``).
    """
    for sample in range(1, samples + 1) if samples else (0,):
        for n, part in enumerate(_chunks(found, chunk)):
            path = Path(folder) / f"{arm.key}.{sample}.{n}.jsonl"
            if _whole(path, part):
                continue
            conversations = [arm.prompt.apply(p["messages"]) for p in part]
            sampled = {"temperature": temperature, "seed": sample} if sample else {}
            said = answers(
                model, tokenizer, conversations, adapter=arm.weights != tables.BASE,
                max_new_tokens=probes.tokens_for(part[0]), **sampled, **how,
            )  # fmt: skip
            facts = {"weights": arm.weights, "seed": arm.seed, "system": arm.system, "sample": sample}
            rows = [{**facts, "id": p["id"], "answer": a} for p, a in zip(part, said, strict=True)]
            files.write_jsonl(path, rows)


def _whole(path: Path, part: Sequence[dict]) -> bool:
    if not path.exists():
        return False
    return [row["id"] for row in files.read_jsonl(path)] == [p["id"] for p in part]


def in_own_words(model, tokenizer, arm: Arm, talks: Sequence[dict], folder: Path, **how) -> None:
    """The drift conversations with the arm's own answers as the history, instead of the script; sample ``-1``.

    The identity question is a branch here too: its answer never enters the history.
    """
    path = Path(folder) / f"{arm.key}.own-words.jsonl"
    if path.exists():
        return
    said: list[list[str]] = [[] for _ in talks]
    rows = []
    for turn in range(1, len(talks[0]["turns"]) + 1):
        histories = [
            probes.branch({**talk, "question": talk["turns"][turn - 1]["user"]}, turn - 1, said[i])["messages"]
            for i, talk in enumerate(talks)
        ]
        tuned = arm.weights != tables.BASE
        new = answers(model, tokenizer, [arm.prompt.apply(h) for h in histories], adapter=tuned,
                      max_new_tokens=40, **how)  # fmt: skip
        for mine, text in zip(said, new, strict=True):
            mine.append(text)
        branches = [probes.branch(talk, turn, said[i]) for i, talk in enumerate(talks)]
        replies = answers(model, tokenizer, [arm.prompt.apply(b["messages"]) for b in branches], adapter=tuned,
                          max_new_tokens=40, **how)  # fmt: skip
        facts = {"weights": arm.weights, "seed": arm.seed, "system": arm.system, "sample": -1}
        rows += [{**facts, "id": b["id"], "answer": a} for b, a in zip(branches, replies, strict=True)]
    files.write_jsonl(path, rows)


def kept(folder: Path) -> list[dict]:
    """Every answer that `ask` has kept in ``folder``."""
    return [row for path in sorted(Path(folder).glob("*.jsonl")) for row in files.read_jsonl(path)]
