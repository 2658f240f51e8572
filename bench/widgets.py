"""What the widgets cost: from Enter to the first character, until Stop holds, characters lost, a redraw, 200 turns.

`make bench` runs it after `bench/cpu.py`. No browser: a browser's own time is not ours to measure; the messages that
would go to it are counted instead, and put together again as the page does.
"""

import json
import statistics
import time
import tracemalloc

import typer

from helpers import files
from helpers.chat.conversation import ChatSession
from helpers.models.load import load_model
from helpers.widgets.boxes import ChatBox
from helpers.widgets.training_view import TrainingView
from helpers.widgets.transcript import entries

TURNS, WORDS = 200, 60
OUT = files.project_root() / "out" / "widgets.json"


class Page:
    """Stands in for the page: takes the messages, and knows when the first character of an answer came."""

    def __init__(self, box: ChatBox):
        self.column, self.first, self.bytes = [], None, 0
        box.screen.send = self.take

    def take(self, op: dict) -> None:
        """One message."""
        self.bytes += len(json.dumps(op))
        if op["op"] == "entries":
            self.column[op["from"] :] = [dict(e) for e in op["entries"]]
        elif op["op"] == "text":
            self.column[op["entry"]]["text"] += op["text"]
        if self.first is None and any(e["kind"] == "model" for e in self.column):
            self.first = time.perf_counter()


def _settle(box: ChatBox) -> None:
    while not box.stop_button.disabled:
        time.sleep(0.005)


def from_enter_to_text() -> dict:
    """Seconds from Enter to the first character, and characters of real answers that the page never got."""
    model, tokenizer = load_model("embedded")
    seconds, lost = [], 0
    for question in ("Who are you?", "What is the capital of France?", "Write a line about the sea."):
        box = ChatBox(ChatSession(model, tokenizer, max_new_tokens=48))
        page = Page(box)
        began = time.perf_counter()
        box.ask(question)
        _settle(box)
        seconds.append(page.first - began)
        lost += len(box.session.history[-1]["content"]) - len(page.column[-1]["text"])
    return {"first_character_seconds": statistics.median(seconds), "characters_lost": lost}


def from_stop_to_rest(times: int = 5) -> dict:
    """The longest of several times in seconds from Stop to a box that is ready again, in the middle of an answer."""
    model, tokenizer = load_model("embedded")
    seconds = []
    for n in range(times):
        box = ChatBox(ChatSession(model, tokenizer, max_new_tokens=400))
        page = Page(box)
        box.ask("Write a long story about the sea.")
        while page.first is None:
            time.sleep(0.005)
        time.sleep(0.3 + 0.07 * n)
        began = time.perf_counter()
        box.stop_button.click()
        _settle(box)
        seconds.append(time.perf_counter() - began)
        assert box.session.history[-1]["content"], "what was said is kept"
    return {"stop_seconds_at_most": max(seconds)}


def two_hundred_turns() -> dict:
    """Milliseconds and bytes of a redraw in a long chat, and what 200 turns hold beyond the text itself."""
    session = ChatSession(None, None)
    box = ChatBox(session)
    page = Page(box)
    answer = " ".join(["word"] * WORDS)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    costs = []
    for n in range(TURNS):
        session.history += [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": ""}]
        for part in (answer[: len(answer) // 2], answer):
            session.history[-1]["content"] = part
            sent, began = page.bytes, time.perf_counter()
            box.screen.show(0, entries(session))
            costs.append((time.perf_counter() - began, page.bytes - sent))
    page.column.clear()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    kept = len(json.dumps(session.history)) + len(json.dumps(box.screen.columns))
    seconds, sizes = zip(*costs[-20:], strict=True)
    return {
        "redraw_ms_after_200_turns": 1000 * statistics.median(seconds),
        "bytes_a_redraw": statistics.median(sizes),
        "memory_kib_of_200_turns": grown / 1024,
        "text_kib_of_200_turns": kept / 1024,
    }


def training_redraw() -> dict:
    """Milliseconds for one drawing of the training view after 440 steps; it is drawn at most once a second."""
    view = TrainingView()
    progress = view.progress
    progress.steps = progress.step = 440
    progress.losses = [(step, 3.0 / step) for step in range(1, 441)]
    progress.memory = [(step, step * 2**20) for step in range(1, 441)]
    began = time.perf_counter()
    for _ in range(20):
        view.draw(progress)
    return {"training_redraw_ms": 1000 * (time.perf_counter() - began) / 20}


def main() -> None:
    """Measure what the widgets cost (two minutes, no GPU), print a line each, and write out/widgets.json."""
    found = {**from_enter_to_text(), **from_stop_to_rest(), **two_hundred_turns(), **training_redraw()}
    for name, value in found.items():
        print(f"  {name.replace('_', ' '):<44}{value:>9.2f}")
    files.write_json(OUT, found)
    print(f"Written: {OUT.relative_to(files.project_root())}")


if __name__ == "__main__":
    typer.run(main)
