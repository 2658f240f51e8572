"""The live view of a training: two small charts as SVG text, and a line, over `helpers.training.watch.Progress`."""

from collections.abc import Sequence

import ipywidgets as widgets

from helpers.training.watch import Progress
from helpers.widgets.shell import Box
from helpers.widgets.transcript import escaped, status_html

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 170, 46, 8, 22, 30  # of a chart, and its margins
MOST = 400  # points of a line at most; more could not be told apart


def line_chart(title: str, points: Sequence[tuple[float, float]], last: float, colour: str, unit: str) -> str:
    """SVG of a line over steps 0 to ``last``, with alt text; quick enough to draw every second, unlike matplotlib."""
    top = max((y for _, y in points), default=1.0) or 1.0
    form = ",.0f" if top >= 100 else ".3g"
    base, end = HEIGHT - BOTTOM, WIDTH - RIGHT
    thinned = [*points[:: len(points) // MOST + 1], *points[-1:]]
    wide, high = (end - LEFT) / max(last, 1), (base - TOP) / top
    path = " ".join(f"{LEFT + wide * x:.1f},{base - high * y:.1f}" for x, y in thinned)
    now = f"now {points[-1][1]:{form}} {unit}" if points else "nothing measured yet"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" class="idt-chart" role="img" aria-label="{escaped(f"{title}, {now}")}">'
        f'<text x="{LEFT}" y="14" class="idt-chart-title">{escaped(title)}</text>'
        f'<line x1="{LEFT}" y1="{base}" x2="{end}" y2="{base}"/><line x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{base}"/>'
        f'<text x="{LEFT - 4}" y="{TOP + 5}" text-anchor="end">{top:{form}}</text>'
        f'<text x="{LEFT - 4}" y="{base}" text-anchor="end">0</text>'
        f'<text x="{end}" y="{base + 14}" text-anchor="end">{last:.0f}</text>'
        f'<text x="{(LEFT + end) // 2}" y="{HEIGHT - 4}" text-anchor="middle">optimiser steps</text>'
        f'<polyline points="{path}" style="stroke:{colour}"/></svg>'
    )


class TrainingView(Box):
    """Loss and memory while a training goes on. ``progress`` is the callback to give to the trainer."""

    def __init__(self):
        self.charts, self.line = widgets.HTML(), widgets.HTML()
        super().__init__([self.charts, self.line])
        self.progress = Progress(self.draw)
        self.draw(self.progress)

    def draw(self, progress: Progress) -> None:
        """Show where the training is."""
        last, mib = max(progress.steps, 1), [(step, used / 2**20) for step, used in progress.memory]
        loss = line_chart("Loss (nats a token)", progress.losses, last, "#d55e00", "nats")
        used = line_chart("Memory in use (MiB)", mib, last, "#0072b2", "MiB")
        self.charts.value = f'<div class="idt-charts">{loss}{used}</div>'
        line = status_html(progress.line())
        ended = progress.state in ("done", "stopped")  # a screen reader speaks the end, not every second before it
        self.line.value = line if ended else line.replace("<div ", '<div aria-live="off" ', 1)
