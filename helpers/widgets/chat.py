"""The chat box: one conversation with one model, its settings beside it. What is said is `ChatSession`'s business."""

from collections.abc import Sequence
from datetime import UTC, datetime

import ipywidgets as widgets

from helpers import files
from helpers.chat.conversation import ChatSession
from helpers.errors import HelpersError
from helpers.widgets.render import entries
from helpers.widgets.shell import TalkBox, button, dropdown, row

SYSTEMS = {"the chat template's own": "default", "empty": "empty", "my own:": "own"}
DECODING = {"greedy": 0.0, "temperature 0.3": 0.3, "temperature 0.7": 0.7, "temperature 1.0": 1.0}
LENGTHS = (32, 64, 96, 200, 400)


class ChatBox(TalkBox):
    """A chat with one model as a widget. Arguments as in `show.chat_box`.

    ``session`` is its `ChatSession`: read ``box.session.history``.
    """

    def __init__(self, model, tokenizer, *, system=None, adapter=True, examples=("Who are you?",), max_new_tokens=96):
        self.has_adapter = hasattr(model, "disable_adapter")
        session = ChatSession(model, tokenizer, system, adapter, max_new_tokens)
        self.save_button = button("Save", "Save the conversation as a JSONL file in my/", self.save)
        self._make_settings(session)
        super().__init__(session, ["Model"], {"Examples": examples})

    def _make_settings(self, session: ChatSession) -> None:
        kind = {None: "default", "": "empty"}.get(session.system, "own")
        self.system_kind = dropdown("System text", list(SYSTEMS.items()), kind)
        self.system_text = widgets.Text(
            session.system or "", placeholder="You are ...", description="My system text", continuous_update=True,
            style={"description_width": "initial"}, layout={"flex": "1 1 14em"},
        )  # fmt: skip
        self.decoding = dropdown("Decoding", list(DECODING.items()), session.temperature or 0.0)
        lengths = sorted({*LENGTHS, session.max_new_tokens})
        self.length = dropdown("Longest answer", [(f"{n} tokens", n) for n in lengths], session.max_new_tokens)
        self.adapter = dropdown("Adapter", [("on", True), ("off: base model", False)], session.adapter)
        for control in (self.system_kind, self.system_text, self.decoding, self.length, self.adapter):
            control.observe(self._set, names="value")

    def _set(self, _) -> None:
        # An answer under way was begun with its own settings; these hold from the next one on.
        choice = {"default": None, "empty": "", "own": self.system_text.value}
        self.session.system = choice[self.system_kind.value]
        self.session.temperature, self.session.max_new_tokens = self.decoding.value or None, self.length.value
        self.session.adapter = self.adapter.value
        self._show_settings()
        missing = self.system_kind.value == "own" and not self.system_text.value.strip()
        self.screen.say("Type your system text below." if missing else "Counts from the next answer on.")

    def _show_settings(self) -> None:
        self.system_text.layout.display = None if self.system_kind.value == "own" else "none"

    def _buttons(self) -> Sequence[widgets.Widget]:
        return (self.save_button,)

    def _settings(self) -> Sequence[widgets.Widget]:
        self._show_settings()
        adapter = [self.adapter] if self.has_adapter else []
        return row([*adapter, self.decoding, self.length, self.system_kind]), row([self.system_text])

    def save(self) -> None:
        """Save the conversation in ``my/``, as JSONL, and say where."""
        try:
            name = f"chat-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl"
            path = self.session.save(files.my_dir() / name)
            self.screen.say(f"Saved as my/{path.name}.")
        except HelpersError as e:
            self.screen.say(str(e), failed=True)

    def _asked(self) -> bool:
        return bool(self.session.history)

    def _speed(self) -> str:
        return f", {self.session.speed:.0f} tokens/s" if self.session.speed else ""

    def _show(self) -> None:
        self.screen.show(0, entries(self.session, tell_adapter=self.has_adapter))
