"""Progress in a log file: a line when a piece of work begins, and one when it ends."""

import sys

import pytest

from clerestory.cli import console


def test_a_second_piece_of_work_under_one_label_has_its_own_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    times = iter([0.0, 100.0, 300.0, 304.0, 320.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    monkeypatch.setattr(console, "LOG_INTERVAL", 4.0)
    with console.progress_bars() as report:
        report("recording", 0, 8)
        report("recording", 8, 8)
        report("recording", 0, 20)
        report("recording", 4, 20)
        report("recording", 20, 20)
    assert capsys.readouterr().err.splitlines() == [
        "recording …",
        "recording: 8 in 1.7 min",
        "recording …",
        "recording: 4 of 20, about 16 s left",
        "recording: 20 in 20 s",
    ]
