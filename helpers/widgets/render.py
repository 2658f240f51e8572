"""What was said as entries for a screen, and HTML for the little that is not a conversation, escaped.

Plain data and strings: no widgets here. `helpers.widgets.conversation` shows entries as text, never as markup.
"""

import html
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

from helpers.chat.conversation import ChatSession, Turn, plain

Entry = dict[str, str]
STYLE = f"<style>{Path(__file__).with_name('boxes.css').read_text(encoding='utf-8')}</style>"


def entry(kind: str, who: str, text: str) -> Entry:
    """One thing on the screen; ``kind`` is ``you``, ``model``, ``quiet`` or ``error`` and decides its colours."""
    return {"kind": kind, "who": plain(who), "text": plain(text)}


def entries(session: ChatSession, who: Callable[[Turn], str] = lambda settings: "Model") -> list[Entry]:
    """The conversation as entries: question and answer in turn, a mark for an answer to come, and what went wrong.

    ``who`` names the speaker of an answer from the settings that it was made by, or will be (`ChatSession.settings`).
    """
    found, history = [], list(session.history)  # a copy: another thread adds to it
    for turn, following in zip_longest(history, history[1:]):
        if turn["role"] != "user":
            continue
        made = following if following and following["role"] == "assistant" else {}
        name = who(session.settings() | made)
        answer = made.get("content", "").strip()  # as it will be kept: a space at its end, taken back, is no growth
        mark = "…" if session.answering and (made or turn) is history[-1] else "(no answer)"
        found.append(entry("you", "You", turn["content"]))
        found.append(entry("model", name, answer) if answer else entry("quiet", name, mark))
    return found + ([entry("error", "", session.error)] if session.error else [])


def escaped(text: str) -> str:
    """``text`` for an HTML value: markup, quotes and control characters made harmless."""
    return html.escape(plain(text), quote=True)


def status_html(text: str, error: bool = False) -> str:
    """A status line; ``error`` marks it as one that needs the reader."""
    return f'<div class="{"idt-error" if error else "idt-quiet"}" role="status">{escaped(text)}</div>'


def lines_html(title: str, lines: Sequence[str]) -> str:
    """A short list under a title, announced to screen readers when it appears."""
    items = "".join(f"<li>{escaped(line)}</li>" for line in lines)
    return f'<div role="status"><strong>{escaped(title)}</strong><ul>{items}</ul></div>'


def tokens_html(pieces: Sequence[tuple[str, bool]]) -> str:
    """Tokens in their order, the trained ones in colour and underlined, so that colour is not the only sign."""
    spans = (f'<span class="{"idt-trained" if on else "idt-read"}">{escaped(text)}</span>' for text, on in pieces)
    count = sum(on for _, on in pieces)
    legend = f"{count} of {len(pieces)} tokens are trained (underlined, in colour); the others are only read."
    return f'<div class="idt-tokens">{"".join(spans)}</div><div>{legend}</div>'
