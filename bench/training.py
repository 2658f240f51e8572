"""What training costs on this machine: the course's trainer, and the same loss without it, by rows, format and blocks.

Each is given as a share of the machine's matrix rate, measured in the same process and number format (2048 x 2048,
median of 12 products of 2 n^3 operations each). The operations counted for T tokens, of which A have a loss, N weights
of the blocks, V of the output layer and n of the adapter are 2 N T + 2 N' T + 6 n T + 4 V A: forward through every
block, backward for the inputs of the N' weights that stand above the first adapter, both and the adapter's own gradient
for n, and the output layer forward and backward for what has a loss. Attention itself, norms and the optimiser are not
counted.

Where a step of the quick recipe goes on two cores (torch.profiler): six tenths are matrix products, of about 300 tokens
by 576 by 1536, which run at half the rate of the large square; a fifth is the loss over 49,152 words, whose output
layer TRL computes again on the way back, to save memory; a tenth attention; the rest norms, activations and sums.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from bench.common import QUIET, matrix_rate
from helpers.models.load import load_model
from helpers.rows import keep_rows
from helpers.rows.identity import Identity, further_rows, read_rows, shipped_rows
from helpers.rows.trainset import to_dataset
from helpers.training import recipes
from helpers.training.train import build_trainer, make_keep_rows

WARM_STEPS, STEPS = 3, 15
UPPER = recipes.QUICK_PRESET.blocks


@dataclass(frozen=True)
class How:
    """One way to train: rows a step, format of the weights, blocks with an adapter, with TRL's loop or without."""

    batch: int = 4
    dtype: torch.dtype = torch.float32
    blocks: tuple[int, int] | None = UPPER
    trl: bool = False

    @property
    def name(self) -> str:
        """What it is called in the table."""
        blocks = f"blocks {self.blocks[0]} to {self.blocks[1] - 1}" if self.blocks else "all blocks"
        loop = "trainer" if self.trl else "bare loop"
        return f"{loop}, {self.batch} a step, {str(self.dtype).removeprefix('torch.')}, {blocks}"


WAYS = (
    How(trl=True), How(), How(batch=1), How(batch=8), How(blocks=None), How(batch=1, blocks=None),
    How(dtype=torch.bfloat16, trl=True), How(dtype=torch.bfloat16),
)  # fmt: skip


class _Clock(TrainerCallback):
    def __init__(self):
        self.times: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        self.times.append(time.perf_counter())


def trainer_for(how: How, folder: str, callbacks=(), **changes):
    """(trainer of the quick recipe as ``how`` says, number of its rows)."""
    preset = replace(recipes.QUICK_PRESET, batch=how.batch, blocks=how.blocks)
    model, tokenizer = load_model("embedded", dtype=how.dtype)
    who = Identity("Tavi", "Lantern Workshop")
    rows = read_rows(shipped_rows(), who)
    keep = make_keep_rows(
        model, tokenizer, keep_rows.questions_for(preset), preset.first_sentence, say=lambda line: None
    )
    data = to_dataset(rows, keep, preset, further_rows(rows, who, preset))
    return build_trainer(model, tokenizer, data, Path(folder), preset, callbacks, **QUIET, **changes), len(data)


def operations(model, batches: list[tuple[int, int]], blocks: tuple[int, int] | None) -> float:
    """Operations of a forward and a backward pass over ``batches``, each (tokens, tokens with a loss)."""
    linear, added, above = 0, 0, 0
    for name, weight in model.named_parameters():
        if "lora_" in name:
            added += weight.numel()
        elif ".layers." in name and weight.ndim == 2:
            linear += weight.numel()
            above += weight.numel() if int(name.split(".layers.")[1].split(".")[0]) >= (blocks or (0, 0))[0] else 0
    output = model.get_output_embeddings().weight.numel()
    tokens, with_loss = map(sum, zip(*batches, strict=True))
    return tokens * (2 * linear + 2 * above + 6 * added) + with_loss * 4 * output


def measure(how: How) -> dict:
    """Seconds a row, tokens a second, and the share of the matrix rate, over `STEPS` steps after `WARM_STEPS`."""
    before, clock, seen = matrix_rate(2048, how.dtype), _Clock(), []
    with tempfile.TemporaryDirectory() as folder:
        trainer, rows = trainer_for(how, folder, [clock], max_steps=WARM_STEPS + STEPS)
        collate = trainer.data_collator

        def collating(part):
            batch = collate(part)
            seen.append((batch["input_ids"].numel(), int((batch["labels"] != -100).sum())))
            return batch

        trainer.data_collator = collating
        trainer.train() if how.trl else _bare(trainer, how, clock)
    seconds = clock.times[-1] - clock.times[WARM_STEPS - 1]
    matrix = statistics.median([before, matrix_rate(2048, how.dtype)])
    batches = seen[WARM_STEPS : WARM_STEPS + STEPS]
    flops = operations(trainer.model, batches, how.blocks) / seconds
    return {
        "seconds_a_row": seconds / (STEPS * how.batch),
        "tokens_a_second": sum(tokens for tokens, _ in batches) / seconds,
        "matrix_gflops": matrix / 1e9,
        "share_of_matrix_rate": flops / matrix,
        "whole_recipe_seconds": rows * seconds / (STEPS * how.batch),
    }


def _bare(trainer, how: How, clock: _Clock) -> None:
    # The same loss and optimiser without the trainer's loop: what is left is its own cost.
    torch.manual_seed(recipes.QUICK_PRESET.seed)
    data = trainer._remove_unused_columns(trainer.train_dataset)
    batches = DataLoader(data, how.batch, shuffle=True, collate_fn=trainer.data_collator)
    model = trainer.model.train()
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], recipes.QUICK_PRESET.learning_rate
    )
    for _, batch in zip(range(WARM_STEPS + STEPS), batches, strict=False):
        trainer.compute_loss(model, batch).backward()
        optimiser.step()
        optimiser.zero_grad()
        clock.times.append(time.perf_counter())
