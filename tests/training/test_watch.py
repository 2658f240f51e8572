"""The live view of a training: what it shows is what happened, and it costs next to nothing."""

import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from types import SimpleNamespace

import pytest

from helpers.training.train import train_identity
from helpers.training.watch import EVERY, Progress, span
from helpers.widgets import show
from helpers.widgets.show import training_view
from helpers.widgets.training_view import HEIGHT, MOST, RIGHT, WIDTH, line_chart
from tests.fixtures import QUIET, ROWS


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def run(progress, clock, steps, seconds, start=0):
    at = SimpleNamespace(global_step=start, max_steps=steps, log_history=[])
    progress.on_train_begin(None, at, None)
    for step in range(start + 1, steps + 1):
        clock.now += seconds
        at.global_step = step
        progress.on_step_end(None, at, None)
        if step % 2 == 0:
            at.log_history += [{"step": step, "loss": 4.0 / step}, {"step": step, "eval_loss": 9.0}]
        yield step
    progress.on_train_end(None, at, None)


def test_it_draws_at_most_once_a_second_and_at_both_ends():
    clock, drawn = Clock(), []
    progress = Progress(lambda p: drawn.append((clock.now, p.step, p.state)), clock)
    list(run(progress, clock, steps=100, seconds=0.13))
    gaps = [b[0] - a[0] for a, b in pairwise(drawn[:-1])]
    assert min(gaps) >= EVERY and 10 <= len(drawn) <= 15
    assert drawn[0][2] == "training" and drawn[-1][1:] == (100, "done")
    assert progress.losses == [(step, 4.0 / step) for step in range(2, 101, 2)]


def test_a_stop_is_said_and_a_resumed_training_keeps_the_losses_it_had():
    clock, drawn = Clock(), []
    progress = Progress(lambda p: drawn.append(p.line()), clock)
    steps = run(progress, clock, steps=100, seconds=1.0)
    while next(steps) < 30:
        pass
    logs = [{"step": 30, "loss": 0.13}]
    progress.redraw("stopped", SimpleNamespace(global_step=30, max_steps=100, log_history=logs))
    assert drawn[-1] == progress.line() and "Stopped after step 30 of 100, loss 0.13" in progress.line()
    logs = [{"step": 6, "loss": 2.0}, {"step": 6, "eval_loss": 1.0}, {"step": 12, "loss": "1.5"}]
    progress.on_train_begin(None, SimpleNamespace(global_step=12, max_steps=100, log_history=logs), None)
    assert progress.losses == [(6, 2.0), (12, 1.5)] and "Step 12 of 100" in progress.line()


@pytest.mark.parametrize("start", [0, 40])
def test_the_time_left_goes_by_the_steps_of_this_run(start):
    clock = Clock()
    progress = Progress(lambda p: None, clock)
    steps = run(progress, clock, steps=100, seconds=3.0, start=start)
    assert "not begun" in progress.line()
    while next(steps) < 50:
        pass
    assert "Step 50 of 100" in progress.line() and "about 2 min 30 s left" in progress.line()
    list(steps)
    clock.now += 1000  # reading it later does not lengthen it
    assert f"Done: 100 of 100 steps in {span(3.0 * (100 - start))}" in progress.line()


def test_the_charts_are_sound_svg_whatever_was_measured():
    for points in ([], [(0, 0.0)], [(i, 1.0 / (i + 1)) for i in range(5000)]):
        chart = ElementTree.fromstring(line_chart("Loss <b> & co", points, 5000, "#000", "nats"))
        line = chart.find("polyline").get("points").split()
        assert len(line) <= MOST + 1 and chart.get("aria-label").startswith("Loss <b> & co")
        for x, y in (map(float, place.split(",")) for place in line):
            assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
    assert x == pytest.approx(WIDTH - RIGHT, abs=0.2)  # the last point is drawn, however many there are


def test_a_real_training_is_followed_to_its_end(tiny, identity, tmp_path, monkeypatch):
    monkeypatch.setattr(show, "is_static", lambda: False)
    shown = []
    monkeypatch.setattr(show, "put", shown.append)
    progress = training_view()
    train_identity(*tiny, ROWS, [], tmp_path / "run", callbacks=[progress], identity=identity, max_steps=8,
                   **{**QUIET, "logging_strategy": "steps", "logging_steps": 2})  # fmt: skip
    [view] = shown
    assert progress.state == "done" and [step for step, _ in progress.losses] == [2, 4, 6, 8]
    assert "Done: 8 of 8 steps" in view.line.value and view.charts.value.count("<svg") == 2


def test_without_a_browser_it_is_a_bar_and_a_sentence(capsys):
    assert type(training_view()).__name__ == "ProgressBar"
    assert "in JupyterLab" in capsys.readouterr().out
