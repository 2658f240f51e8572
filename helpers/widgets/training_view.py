"""The live view of a training: two small charts as SVG text, and a line, over `helpers.training.watch.Progress`."""

from collections.abc import Sequence

import ipywidgets as widgets

from helpers.training.watch import Progress
from helpers.widgets.render import STYLE, escaped, status_html

WIDTH, HEIGHT = 340, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 22, 30
MOST = 400  # points of a line at most; more could not be told apart


def line_chart(title: str, points: Sequence[tuple[float, float]], last: float, colour: str, unit: str) -> str:
    """SVG of a line over training steps from 0 to ``last``, its axis from 0 to the largest value, with alt text.

    Light enough to be drawn anew every second, which a figure of matplotlib is not.
    """
    top = max((y for _, y in points), default=1.0) or 1.0
    base, end = HEIGHT - BOTTOM, WIDTH - RIGHT
    thinned = [*points[:: len(points) // MOST + 1], *points[-1:]]
    path = " ".join(
        f"{LEFT + (end - LEFT) * x / max(last, 1):.1f},{TOP + (base - TOP) * (1 - y / top):.1f}" for x, y in thinned
    )
    now = f", now {_figure(points[-1][1])} {unit}" if points else ", nothing measured yet"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" class="idt-chart" role="img" aria-label="{escaped(title + now)}">'
        f'<text x="{LEFT}" y="14" class="idt-chart-title">{escaped(title)}</text>'
        f'<line x1="{LEFT}" y1="{base}" x2="{end}" y2="{base}"/><line x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{base}"/>'
        f'<text x="{LEFT - 4}" y="{TOP + 5}" text-anchor="end">{_figure(top)}</text>'
        f'<text x="{LEFT - 4}" y="{base}" text-anchor="end">0</text>'
        f'<text x="{end}" y="{base + 14}" text-anchor="end">{last:.0f}</text>'
        f'<text x="{(LEFT + end) // 2}" y="{HEIGHT - 4}" text-anchor="middle">optimiser steps</text>'
        f'<polyline points="{path}" style="stroke:{colour}"/></svg>'
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


class TrainingView(widgets.VBox):
    """Loss and memory while a training goes on. ``progress`` is the callback to give to the trainer."""

    def __init__(self):
        self.charts, self.line = widgets.HTML(), widgets.HTML()
        super().__init__([widgets.HTML(STYLE, layout={"display": "none"}), self.charts, self.line])
        self.add_class("idt-box")
        self.progress = Progress(self.draw)
        self.draw(self.progress)

    def draw(self, progress: Progress) -> None:
        """Show where the training is."""
        last = max(progress.steps, 1)
        mib = [(step, used / 2**20) for step, used in progress.memory]
        loss = line_chart("Loss (nats a token)", progress.losses, last, "#d55e00", "nats")
        used = line_chart("Memory in use (MiB)", mib, last, "#0072b2", "MiB")
        self.charts.value = f'<div class="idt-charts">{loss}{used}</div>'
        line = status_html(progress.line())
        if progress.state not in ("done", "stopped"):  # a screen reader speaks the end, not every second before it
            line = line.replace("<div ", '<div aria-live="off" ', 1)
        self.line.value = line
