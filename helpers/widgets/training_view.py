"""The live view of a training: two charts and a line of text over `watch.Progress`, which the trainer calls."""

import ipywidgets as widgets

from helpers.training.watch import Progress
from helpers.widgets.render import STYLE, status_html
from helpers.widgets.svg import line_chart

CHARTS = """<style>
.idt-charts { display: flex; flex-flow: row wrap; gap: 12px; }
.idt-chart { flex: 1 1 280px; max-width: 480px; fill: none; }
.idt-chart text { fill: var(--jp-content-font-color1, currentColor); font: 11px var(--jp-ui-font-family, sans-serif); }
.idt-chart .idt-chart-title { font-weight: bold; }
.idt-chart line { stroke: var(--jp-border-color1, #888); }
.idt-chart polyline { stroke-width: 2; stroke-linejoin: round; }
</style>"""


class TrainingView(widgets.VBox):
    """Loss and memory while a training goes on. ``progress`` is the callback to give to the trainer."""

    def __init__(self):
        super().__init__()
        self.charts, self.line = widgets.HTML(), widgets.HTML()
        style = widgets.HTML(STYLE + CHARTS, layout={"display": "none"})
        self.progress = Progress(self.draw)
        self.children = [style, self.charts, self.line]
        self.add_class("idt-box")
        self.draw(self.progress)

    def draw(self, progress: Progress) -> None:
        """Show where the training is."""
        last = max(progress.steps, 1)
        mib = [(step, used / 2**20) for step, used in progress.memory]
        loss = line_chart("Loss (nats a token)", progress.losses, last, "#d55e00", "nats")
        used = line_chart("Memory in use (MiB)", mib, last, "#0072b2", "MiB")
        self.charts.value = f'<div class="idt-charts">{loss}{used}</div>'
        line = status_html(progress.line())
        # A screen reader is to speak the end, not every second before it.
        self.line.value = (
            line if progress.state in ("done", "stopped") else line.replace("<div ", '<div aria-live="off" ', 1)
        )
