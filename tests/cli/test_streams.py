"""Closed, full and broken streams: one line or none, and nothing is written elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CLERESTORY = f"{sys.executable} -m clerestory"


def shell(line: str, folder: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        ["bash", "-c", line.replace("clerestory", CLERESTORY, 1)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "500"},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "status", "expected"),
    [
        ("clerestory study list >&-", 1, "Bad file descriptor"),
        ("clerestory study list --json > /dev/full", 1, "No space left on device"),
        ("clerestory study list --json >&- 2>&-", 1, ""),
    ],
)
def test_a_stream_that_cannot_be_written_to_is_one_line(
    line: str, status: int, expected: str, tmp_path: Path
) -> None:
    code, out, err = shell(line, tmp_path)
    assert "Traceback" not in err and "Exception ignored" not in err
    assert code == status
    assert out == "" and expected in err and err.count("\n") == bool(expected)


def test_a_file_never_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code, _, err = shell("clerestory study new mine --like mood >&- 2>err", tmp_path)
    assert code == 1 and "Bad file descriptor" in (tmp_path / "err").read_text(), err
    (written,) = tmp_path.glob("*.toml")
    assert written.read_text().startswith("#") or "name = " in written.read_text()
    assert "is a study that runs" not in written.read_text()
