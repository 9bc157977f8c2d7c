"""A signal at several points of every long command: what is said is so, and it can be run again.

`CLERESTORY_INTERRUPTS` says at how many points.
"""

from __future__ import annotations

import json
import os
import signal
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from cli.valid import Valid

from clerestory.cli.main import app
from interrupts.points import Ended, ended
from interrupts.table import CASES, Case, Small, kept

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
POINTS = int(os.environ.get("CLERESTORY_INTERRUPTS", "4"))
NOTHING = "no unfinished output is left."
WRITES = {"out", "sheet", "work", "to", "repair"}
"""Names of parameters that say where a command writes, or that it does."""


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command, with what it is called by."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
        return
    for word, one in below.items():
        yield from commands(one, f"{name} {word}".strip())


def test_every_command_that_writes_is_in_the_table():
    for name, command in commands(typer.main.get_command(app)):
        if WRITES & {one.name for one in command.params}:
            assert name in CASES, (
                f"`{name}` writes: say in tests/interrupts/table.py how it is called, and whether "
                "it is resumable"
            )


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Valid:
    return Small(tmp_path_factory.mktemp("valid"))


@pytest.mark.parametrize("case", CASES.values(), ids=str)
def test_an_interrupt_leaves_what_is_said_and_the_same_command_then_does_all(
    case: Case, valid: Valid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    case.opened(valid, monkeypatch)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    whole = run(case, valid, tmp_path / "one", monkeypatch, json=takes_json(case))
    assert whole.status == 0, whole.err
    if takes_json(case):
        # One document of strict JSON, without progress, warnings or NaN.
        json.loads(whole.out, parse_constant=pytest.fail)
    expected = kept(written(tmp_path / "one"), case.vary)
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    points = {1, 2, whole.points, *rng.integers(1, whole.points + 1, POINTS - 3).tolist()}
    for turn, at in enumerate(sorted(points)):
        number = list(SIGNALS)[turn % 2]
        result = run(case, valid, tmp_path / "two", monkeypatch, at, number)
        if result.points < at:
            continue  # what was done before is not done again
        assert result.status == SIGNALS[number], (at, result)
        check(case, result, tmp_path / "two")
    again = run(case, valid, tmp_path / "two", monkeypatch)
    assert again.status == 0, again.err
    found = kept(written(tmp_path / "two"), case.vary)
    assert sorted(found) == sorted(expected)
    assert [name for name in found if found[name] != expected[name]] == []


def takes_json(case: Case) -> bool:
    """Whether its command has `--json`."""
    return any(
        one.name == "json"
        for name, command in commands(typer.main.get_command(app))
        if f"{case.name} ".startswith(f"{name} ")
        for one in command.params
    )


def run(
    case: Case,
    valid: Valid,
    place: Path,
    patch: Any,
    at: int = 0,
    number: int = 0,
    *,
    json: bool = False,
) -> Ended:
    words = case.words(valid, place / "out", patch)
    return ended([*words, "--json"] if json and "--json" not in words else words, place, at, number)


def written(place: Path) -> Path:
    """The output, which may be a file with an ending."""
    (found,) = place.iterdir()
    return found


def check(case: Case, result: Ended, place: Path) -> None:
    """What is said is true."""
    if case.resumable:
        # `verify` resumes from a folder beside its output.
        folders = (place / "out", place / "out.parts")
        assert result.words in (NOTHING, *(f"the same command resumes {each}." for each in folders))
        if result.words == NOTHING and case.name != "recording verify":
            assert not any(place.iterdir())
        return
    assert result.words == NOTHING
    assert not any(place.iterdir()), "something is left"
