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
        ("clerestory study list >&-", 1, "stdout cannot be written to: Bad file descriptor"),
        ("clerestory study list --json 1< /dev/null", 1, "stdout cannot be written to"),
        # Before the prompts are read, and so before hours of work.
        ("clerestory draw 'a cat' --model none --out drawn >&-", 1, "stdout cannot be written to"),
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
    assert not list(tmp_path.iterdir())


def test_a_file_never_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code, out, _ = shell("clerestory study new mine --like mood 2>&-", tmp_path)
    (written,) = tmp_path.glob("*.toml")
    assert code == 0 and "name = " in written.read_text(), out
    # What the command says on stderr.
    assert "is a study that runs" not in written.read_text()
