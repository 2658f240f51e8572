"""What was said as entries for a screen, and HTML for the little that is not a conversation, escaped.

Plain data and strings: no widgets here. `helpers.widgets.conversation` shows entries as text, never as markup.
"""

import html
from collections.abc import Sequence

from helpers.chat.conversation import ChatSession, Turn, pairs, plain

Entry = dict[str, str]

# JupyterLab's own colours, so that everything follows its light and dark themes; elsewhere the page's text colour.
STYLE = """<style>
.idt-box { border: 1px solid var(--jp-border-color1, #8888); border-radius: 4px; padding: 8px; overflow: hidden; }
.idt-box .widget-button { width: auto; max-width: 100%; }
.idt-box .widget-html-content { line-height: 1.5; color: var(--jp-content-font-color1, inherit); }
.idt-row { display: flex; flex-flow: row wrap; align-items: center; }
.idt-row > .widget-inline-hbox { width: auto; flex: 0 1 auto; }
.idt-row .widget-label { width: auto; }
.idt-row .widget-dropdown > select { width: auto; }
[data-jp-theme-light="false"] .idt-row select { background-image: none; appearance: auto; color-scheme: dark; }
.idt-quiet { color: var(--jp-content-font-color1, inherit); font-style: italic; }
.idt-error { border-left: 3px solid var(--jp-error-color1, #d32f2f); padding-left: .6em; }
.idt-tokens { white-space: pre-wrap; overflow-wrap: anywhere; font-family: var(--jp-code-font-family, monospace); }
.idt-trained { color: #000; background: #ffd166; border-bottom: 2px solid #9a6700; }
.idt-box .widget-upload { width: auto; }
.idt-box .widget-textarea > textarea { min-height: 3.2em; }
</style>"""


def entry(kind: str, who: str, text: str) -> Entry:
    """One thing on the screen; ``kind`` is ``you``, ``model``, ``quiet`` or ``error`` and decides its colours."""
    return {"kind": kind, "who": plain(who), "text": plain(text)}


def entries(
    session: ChatSession, name: str = "Model", tell_adapter: bool = False, tell_strength: bool = False
) -> list[Entry]:
    """The conversation as entries: question and answer in turn, a mark for an answer to come, and what went wrong.

    Args:
        tell_adapter: say beside each answer whether the adapter was on, for a chat in which it may change.
        tell_strength: say how much the adapter counted, beside each answer for which that was not 100%.
    """
    found, said = [], pairs(session.history)
    made = _makers(session.history)
    for i, (question, answer) in enumerate(said):
        found.append(entry("you", "You", question))
        maker = made[i] or session.settings()
        who = f"{name}{_told(maker, tell_adapter, tell_strength)}"
        last = session.answering and i == len(said) - 1
        answer = (answer or "").strip()  # as it will be kept: a space at its end, taken back, is no growth
        found.append(entry("model", who, answer) if answer else entry("quiet", who, "…" if last else "(no answer)"))
    if session.error:
        found.append(entry("error", "", session.error))
    return found


def _told(maker: Turn, adapter: bool, strength: bool) -> str:
    on = maker.get("adapter")
    told = [f"adapter {'on' if on else 'off'}"] if adapter else []
    if strength and on and maker.get("strength", 1.0) != 1.0:
        told.append(f"strength {maker['strength']:.0%}")
    return f" ({', '.join(told)})" if told else ""


def _makers(history: Sequence[Turn]) -> list[Turn | None]:
    # The answer's turn, with the settings it was made by, for each question.
    found: list[Turn | None] = []
    for turn in history:
        if turn["role"] == "user":
            found.append(None)
        elif found:
            found[-1] = turn
    return found


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
