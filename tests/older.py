"""Lets measurements and GPU tests run beside a slightly older transformers than the pinned one. The course does not."""

from dataclasses import fields

from helpers import training


def accept() -> None:
    """Give activation checkpointing its former name where `SFTConfig` does not know the present one."""
    made = training.SFTConfig
    if "activation_checkpointing" in {field.name for field in fields(made)}:
        return

    def config(*, activation_checkpointing=False, **settings):
        found = made(gradient_checkpointing=activation_checkpointing, **settings)
        found.activation_checkpointing = activation_checkpointing
        return found

    training.SFTConfig = config
