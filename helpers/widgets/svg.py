"""Two small line charts as SVG text, light enough to be drawn anew every second. Numbers in, markup out."""

from collections.abc import Sequence

from helpers.widgets.render import escaped

WIDTH, HEIGHT = 340, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 22, 30
MOST = 400  # points of a line at most; more could not be told apart


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    stride = -(-len(points) // MOST)
    return [*points[:: stride or 1], *points[-1:]]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def line_chart(title: str, points: Sequence[tuple[float, float]], last: float, colour: str, unit: str) -> str:
    """A line over training steps from 0 to ``last``, its axis from 0 to the largest value, with a spoken summary."""
    top = max((y for _, y in points), default=1.0) or 1.0
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> str:
        return f"{LEFT + across * x / max(last, 1):.1f},{TOP + down * (1 - y / top):.1f}"

    path = " ".join(place(x, y) for x, y in _thin(points))
    now = f", now {_figure(points[-1][1])} {unit}" if points else ", nothing measured yet"
    base, end = HEIGHT - BOTTOM, WIDTH - RIGHT
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
