"""The chat box: one conversation with one model, its settings beside it. What is said is `ChatSession`'s business."""

from collections.abc import Sequence
from datetime import UTC, datetime

import ipywidgets as widgets

from helpers import files
from helpers.chat.conversation import ChatSession, Turn
from helpers.errors import HelpersError
from helpers.widgets.render import entries
from helpers.widgets.shell import SHOWN, ConversationBox, button, dropdown, row

SYSTEMS = {"the chat template's own": "default", "empty": "empty", "my own:": "own"}
DECODING = {"greedy": 0.0, "temperature 0.3": 0.3, "temperature 0.7": 0.7, "temperature 1.0": 1.0}
LENGTHS = (32, 64, 96, 200, 400)


class ChatBox(ConversationBox):
    """A `ChatSession` as a widget, with ``examples`` to click on."""

    def __init__(self, session: ChatSession, examples: Sequence[str] = ("Who are you?",)):
        kind = {None: "default", "": "empty"}.get(session.system, "own")
        self.system_kind = dropdown("System text", list(SYSTEMS.items()), kind)
        self.system_text = widgets.Text(
            session.system or "", placeholder="You are ...", description="My system text", continuous_update=True,
            style={"description_width": "initial"}, layout={"flex": "1 1 14em", "display": SHOWN[kind == "own"]},
        )  # fmt: skip
        self.decoding = dropdown("Decoding", list(DECODING.items()), session.temperature or 0.0)
        lengths = sorted({*LENGTHS, session.max_new_tokens})
        self.length = dropdown("Longest answer", [(f"{n} tokens", n) for n in lengths], session.max_new_tokens)
        self.adapter = dropdown("Adapter", [("on", True), ("off: base model", False)], session.adapter)
        for control in (self.system_kind, self.system_text, self.decoding, self.length, self.adapter):
            control.observe(self._set, names="value")
        self.has_adapter = hasattr(session.model, "disable_adapter")
        adapter = [self.adapter] if self.has_adapter else []
        settings = [row([*adapter, self.decoding, self.length, self.system_kind]), row([self.system_text])]
        self.save_button = button("Save", "Save the conversation as a JSONL file in my/", self.save)
        super().__init__(session, {"Examples": examples}, [self.save_button], settings)

    def _set(self, _) -> None:
        # An answer under way was begun with its own settings; these hold from the next one on.
        choice = {"default": None, "empty": "", "own": self.system_text.value}
        self.session.system = choice[self.system_kind.value]
        self.session.temperature, self.session.max_new_tokens = self.decoding.value or None, self.length.value
        self.session.adapter = self.adapter.value
        self.system_text.layout.display = SHOWN[self.system_kind.value == "own"]
        missing = self.system_kind.value == "own" and not self.system_text.value.strip()
        self.screen.say("Type your system text below." if missing else "Counts from the next answer on.")

    def save(self) -> None:
        """Save the conversation in ``my/``, as JSONL, and say where."""
        try:
            path = self.session.save(files.my_dir() / f"chat-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl")
            self.screen.say(f"Saved as my/{path.name}.")
        except HelpersError as e:
            self.screen.say(str(e), failed=True)

    def _who(self, settings: Turn) -> str:
        return f"Model (adapter {'on' if settings['adapter'] else 'off'})" if self.has_adapter else "Model"

    def _show(self) -> None:
        self.screen.show(0, entries(self.session, self._who))
