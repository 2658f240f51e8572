"""Conversations as HTML, escaped: what model and reader said is shown as text and never rendered.

Strings in, strings out: no widgets here.
"""

import html
from collections.abc import Sequence

from helpers.widgets.session import Turn, pairs, plain

# JupyterLab's own colours, so that the boxes follow its light and dark themes; elsewhere the page's text colour.
# column-reverse keeps a scrolled box at its end while text streams in.
STYLE = """<style>
.idt-box { border: 1px solid var(--jp-border-color1, #8888); border-radius: 4px; padding: 8px; overflow: hidden; }
.idt-box .widget-button { width: auto; max-width: 100%; }
.idt-screen { max-height: 26em; overflow-y: auto; display: flex; flex-direction: column-reverse; }
.idt-screen > .widget-html { flex: 0 0 auto; width: auto; margin: 0; }
.idt-box .widget-html-content { line-height: 1.5; color: var(--jp-content-font-color1, inherit); }
.idt-row, .idt-columns { display: flex; flex-flow: row wrap; align-items: center; }
.idt-columns { align-items: flex-start; gap: 8px; }
.idt-column { flex: 1 1 18em; min-width: 0; }
.idt-turn { margin: 0 0 .6em 0; padding: .3em .6em; border-left: 3px solid var(--jp-border-color1, #8888); }
.idt-model { border-left-color: var(--jp-brand-color1, #1976d2); background: var(--jp-layout-color2, transparent); }
.idt-who { font-weight: bold; }
.idt-text { white-space: pre-wrap; overflow-wrap: anywhere; }
.idt-quiet { color: var(--jp-content-font-color2, inherit); font-style: italic; }
.idt-error { border-left: 3px solid var(--jp-error-color1, #d32f2f); padding-left: .6em; }
</style>"""


def escaped(text: str) -> str:
    """``text`` for an HTML value: markup, quotes and control characters made harmless."""
    return html.escape(plain(text), quote=True)


def turns_html(history: Sequence[Turn], running: bool = False, name: str = "Model") -> str:
    """A conversation as HTML in which everything said is escaped; ``running`` marks an answer still to come."""
    blocks, said = [], pairs(history)
    for i, (question, answer) in enumerate(said):
        waiting = "…" if running and i == len(said) - 1 else "(no answer)"
        blocks.append(_turn_html("You", question, "idt-turn"))
        blocks.append(_turn_html(name, answer or "", "idt-turn idt-model", waiting))
    return "".join(blocks) or '<div class="idt-quiet">Nothing was asked yet.</div>'


def _turn_html(who: str, text: str, css: str, otherwise: str = "") -> str:
    quiet = "" if text else " idt-quiet"
    return (
        f'<div class="{css}"><div class="idt-who">{escaped(who)}</div>'
        f'<div class="idt-text{quiet}" dir="auto">{escaped(text or otherwise)}</div></div>'
    )


def status_html(text: str, error: bool = False) -> str:
    """A status line; ``error`` marks it as one that needs the reader."""
    return f'<div class="{"idt-error" if error else "idt-quiet"}" role="status">{escaped(text)}</div>'


def heading_html(text: str) -> str:
    """The heading of a column."""
    return f'<div class="idt-who">{escaped(text)}</div>'
