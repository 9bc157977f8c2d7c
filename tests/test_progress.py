"""Progress in notebooks: a line that is updated in place, without rich's widgets."""

import sys

import pytest

from clerestory.reporting import progress
from clerestory.reporting.progress import progress_bars

ipython_display = pytest.importorskip("IPython.display")


class Handle:
    def __init__(self):
        self.contents = []

    def update(self, content, raw):
        assert raw
        self.contents.append(content["text/plain"])


@pytest.fixture
def handle(monkeypatch):
    """What a notebook's cell shows, one after the other."""
    shown = Handle()

    def display(content, raw, display_id):
        assert display_id
        shown.update(content, raw)
        return shown

    monkeypatch.setattr(ipython_display, "display", display)
    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    return shown


def test_a_notebook_shows_one_line_that_is_empty_at_the_end(handle, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    with progress_bars() as report:
        report("drawing", 16, 2000)
        report("drawing", 32, 2000)
    assert handle.contents == ["drawing: 16 of 2,000", "drawing: 32 of 2,000", ""]


def test_updates_in_quick_succession_are_left_out(handle):
    with progress_bars() as report:
        for completed in range(100):
            report("drawing", completed, 100)
    assert len(handle.contents) < 20 and handle.contents[-1] == ""


def test_a_silenced_notebook_shows_nothing(handle):
    with progress_bars(False) as report:
        report("drawing", 16, 2000)
    assert handle.contents == []
