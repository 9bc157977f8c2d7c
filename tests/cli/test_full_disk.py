"""Commands that write, where nothing more can be written: one line, and nothing half-written."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib  # noqa: F401  # which tries the disk when it is imported
import pytest
from cli import test_bad_input
from cli.test_bad_input import called, snapshot, wrong_with
from cli.valid import SITE, Valid

valid, place = test_bad_input.valid, test_bad_input.place
QUICK = ["--steps", "1", "--size", "16", "--model", "{model}"]
SIDES = ["--shown", "style == 'cat'", "--absent", "style == 'dog'", "--match", "subject"]
WRITING = {
    "draw": ["draw", "a cat", "--seeds", "0", *QUICK, "--out", "out"],
    "record": ["record", "--prompts", "{prompts}", "--sites", SITE, *QUICK, "--out", "out"],
    "find": ["find", "{recording}", *SIDES, "--out", "out"],
    "classifier check": ["classifier", "check", "colour:light", "{recording}", "--out", "out"],
    "excite": [
        *("excite", f"{SITE}[0]", "--search", "random", "--budget", "4", "--null", "4"),
        *("--model", "{model}", "--out", "out"),
    ],
    "microscope build": ["microscope", "build", "{recording}", "--out", "out"],
    "microscope export": ["microscope", "export", "{scope}", "--out", "out"],
    "microscope backup": ["microscope", "backup", "{scope}", "out"],
}
"""A command line that ends soon, for commands that write in each way that there is."""
GOES_ON = {"record", "excite", "microscope build"}
"""Commands that leave a folder in which the same command goes on."""


@contextmanager
def full() -> Iterator[None]:
    """No file may be longer than a few bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", WRITING)
def test_a_full_disk_is_told_in_one_line_and_leaves_nothing_half_written(
    name: str, valid: Valid, place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [str(getattr(valid, word[1:-1])) if word[0] == "{" else word for word in WRITING[name]]
    before = snapshot(place, valid.root)
    monkeypatch.setattr(test_bad_input, "PATIENCE", 60.0)
    with full():
        status = called(words, monkeypatch)
    streams = capsys.readouterr()
    wrongs = list(wrong_with(status, streams.out, streams.err))
    touched = set(before.items()) ^ set(snapshot(place, valid.root).items())
    if name in GOES_ON:
        touched = {one for one in touched if not one[0].startswith(str(place / "out"))}
    wrongs += [f"touched: {one}" for one, _ in sorted(touched)]
    if wrongs:
        pytest.fail("\n".join((*wrongs, f"status {status}", streams.err)), pytrace=False)
