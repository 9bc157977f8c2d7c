"""Files with one thing a line: read within bounds, or refused in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_model

from clerestory.cli.lines import read_lines
from clerestory.errors import EvidenceError, SearchError
from clerestory.maximization import prompt_space


@pytest.fixture(params=["pipe", "device", "sparse", "no text", "not there"])
def wrong(request: Any, tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "device":
        return Path("/dev/zero")
    elif request.param == "sparse":
        path.touch()
        os.truncate(path, 2**32)
    elif request.param == "no text":
        path.write_bytes(b"\xff\xfe")
    return path


def test_lines_that_cannot_be_read_are_refused_in_one_line(wrong: Path):
    with pytest.raises(EvidenceError) as caught:
        read_lines(wrong)
    assert "\n" not in str(caught.value) and str(wrong) in str(caught.value)


def test_a_vocabulary_that_cannot_be_read_is_refused_in_one_line(wrong: Path):
    with pytest.raises(SearchError) as caught:
        prompt_space(tiny_model(), vocabulary=wrong)
    assert "\n" not in str(caught.value) and str(wrong) in str(caught.value)


def test_lines_are_read_without_empty_ones(tmp_path: Path):
    (tmp_path / "words.txt").write_text("a cat\n\n  ein Kätzchen \n")
    assert read_lines(tmp_path / "words.txt") == ["a cat", "ein Kätzchen"]
