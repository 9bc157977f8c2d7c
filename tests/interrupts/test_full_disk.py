"""Every long command where nothing more can be written: one line, and nothing half-written."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib  # noqa: F401  # which tries the disk when it is imported
import pytest
from cli.valid import Valid

from interrupts.points import ended
from interrupts.table import CASES, Case
from interrupts.test_in_process import valid

__all__ = ["valid"]
BYTES = 10
"""As long as a file may be."""


@contextmanager
def full() -> Iterator[None]:
    """No file may be longer than a few bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("case", CASES.values(), ids=str)
def test_a_full_disk_is_told_in_one_line_and_leaves_nothing_half_written(
    case: Case, valid: Valid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    case.opened(valid, monkeypatch)
    words = case.words(valid, tmp_path / "out", monkeypatch)
    with full():
        result = ended(words, tmp_path)
    lines = [line for line in result.err.splitlines() if line.startswith("clerestory: ")]
    assert result.status == 1, result.err
    assert len(lines) == 1 and lines[0].endswith("."), result.err
    assert "Traceback" not in result.err
    if not case.resumable:
        left = [one for one in tmp_path.rglob("*") if one.is_file()]
        assert not left
