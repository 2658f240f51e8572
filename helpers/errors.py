"""The errors this package raises on purpose, each with what to type next; any other exception is a bug of ours."""

from pathlib import Path


class HelpersError(Exception):
    """Something that the reader can put right: ``what`` happened and where, and as ``cure`` what to type or change."""

    def __init__(self, what: str, cure: str):
        super().__init__(what, cure)
        self.what, self.cure = what, cure

    def __str__(self) -> str:
        return f"{self.what}. What to do: {self.cure}"


class FileError(HelpersError):
    """A file of the reader's that cannot be used; the message begins with ``path`` and ``row`` (from 1), if given."""

    unnamed = ""

    def __init__(self, what: str, cure: str, path: Path | str | None = None, row: int | None = None):
        where = f"{path or self.unnamed}" + (f", row {row}" if row else "")
        super().__init__(f"{where}: {what}" if where else what, cure)
        self.path, self.row = path, row


class IdentityError(FileError):
    """A name, a developer, an identity row or a keep row that cannot be trained on."""

    unnamed = "identity"


class ModelError(HelpersError):
    """A model that is not there, is not what it claims to be, or cannot be loaded here."""


class AdapterError(HelpersError):
    """An adapter that is missing, incomplete, or made for another base model."""


class ResourceError(HelpersError):
    """This machine has too little memory, or lacks the device or the optional package that was asked for."""


class RunError(HelpersError):
    """A run folder that is in the way, incomplete or damaged."""


class ProbeError(FileError):
    """A probe or question file that cannot be asked."""


class ScenarioError(FileError):
    """A file of facts, dialogues or products that cannot be used."""

    unnamed = "scenario"


class ExportError(HelpersError):
    """A model or an adapter that cannot be written in the form that was asked for, or a server that cannot start."""


class DiskError(HelpersError):
    """The disk is full or a folder cannot be written; nothing half-written is left behind."""


class BusyError(HelpersError):
    """A model, a file or a folder that somebody else is using right now."""
