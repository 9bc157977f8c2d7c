"""Every command, with every argument wrong in every way that its kind allows.

A case fails fast: one line that names what is wrong, status 1 (2 where typer says it), and every
file is as it was. The commands and parameters are those that there are, so that a new one is tried
too; it fails until `kinds.py` says what it takes.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.kinds import (
    ENDINGS,
    FILES,
    FOLDERS,
    INSTEAD,
    NEEDED,
    OUTPUTS,
    TEXTS,
    WITH,
    kind_of,
)
from cli.valid import Valid
from cli.wrong import Case, Command, Parameter, cases, commands

from clerestory.cli.main import main

PATIENCE = 3.0
"""Seconds of computing by which a wrong argument must have been refused."""


class TooLongError(BaseException):
    """Work was begun although an argument was wrong."""


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Valid:
    return Valid(tmp_path_factory.mktemp("valid"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, and home, of a call."""
    for name in ("COLUMNS", "TERMINAL_WIDTH"):
        monkeypatch.setenv(name, "500")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.txt").write_text("so that the working directory is not empty")
    return tmp_path


@pytest.mark.parametrize("command", [*commands()], ids=lambda command: command.name)
def test_every_parameter_has_a_kind(command: Command) -> None:
    missing = [
        one.name
        for one in command.parameters
        if one.type is not bool
        and getattr(one.type, "__args__", None) is None
        and kind_of(command.name, one.name) not in {*FILES, *FOLDERS, *OUTPUTS, *TEXTS}
    ]
    assert not missing, f"say in tests/cli/kinds.py what `{command.name}` takes as {missing}"


@pytest.mark.parametrize("case", [*cases()], ids=str)
def test_a_wrong_argument_is_refused_in_one_line_and_nothing_is_touched(
    case: Case, valid: Valid, place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {} if case.make is None else {case.parameter: case.make(valid, place)}
    words = line(case, valid, place, made)
    before = snapshot(place, valid.root)
    status = called(words, monkeypatch)
    streams = capsys.readouterr()
    said = f"{' '.join(words)}\nstatus {status}\n{streams.out}{streams.err}"
    wrongs = list(wrong_with(status, streams.out, streams.err))
    if not mentioned(case, made.get(case.parameter), streams.err):
        wrongs.append("the message names neither the value nor the parameter")
    touched = set(before.items()) ^ set(snapshot(place, valid.root).items())
    wrongs += [f"touched: {name}" for name, _ in sorted(touched)]
    if wrongs:
        pytest.fail("\n".join((*wrongs, said)), pytrace=False)


def wrong_with(status: int, out: str, err: str) -> Iterator[str]:
    """What is wrong with how a call ended."""
    if status not in (1, 2):
        yield f"status {status}, not 1 or 2"
    if "Traceback" in err or out:
        yield "a traceback, or something on stdout"
    told = [one for one in err.splitlines() if one.startswith("clerestory: ")]
    if status == 1 and (len(told) != 1 or not err.endswith(told[0] + "\n")):
        yield "not one line that tells it, the last"
    elif status == 1 and not told[0].endswith((".", "?", "!")):
        yield "the message is no sentence"


def line(case: Case, valid: Valid, place: Path, made: dict[Parameter, object]) -> list[str]:
    """The command with what it needs, good but for what was made."""
    command, wrong = case.command.name, case.parameter
    words, last = command.split(), []
    told = (*WITH.get(command, ()), *WITH.get(f"{command} {wrong.name}", ()))
    more = [str(getattr(valid, one[1:-1])) if one[0] == "{" else one for one in told]
    if wrong.name in more:
        at = more.index(wrong.name)
        del more[at : at + 2]
    needed = ["--out", "--model"]
    if wrong.name not in INSTEAD:
        needed += [name.rpartition(" ")[2] for name in NEEDED if name.startswith(f"{command} ")]
    for one in case.command.parameters:
        if one in made:
            given = one.given(made[one])
        elif one == wrong or one.name in more:
            continue
        elif one.required or one.name in needed:
            given = one.given(good(command, one, valid, place))
        else:
            continue
        words += given if one.option else []
        last += [] if one.option else given
    words += more
    return [*words, "--", *last]


def good(command: str, one: Parameter, valid: Valid, place: Path) -> object:
    kind = kind_of(command, one.name)
    if kind in OUTPUTS:
        return place / ("out" + ENDINGS.get(kind, ""))
    return TEXTS[kind][0] if kind in TEXTS else getattr(valid, str(kind))


def called(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The status with which a call ends."""

    def stop(*_: object) -> None:
        raise TooLongError(" ".join(words))

    monkeypatch.setattr("sys.argv", ["clerestory", *words])
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE, 1.0)
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return 0


def mentioned(case: Case, value: object, said: str) -> bool:
    """Whether the message names the value, or the parameter."""
    name = case.parameter.name.strip("-").removesuffix("s").lower()
    names = {name, "empty"} if value == "" else {name}
    if isinstance(value, Path):
        names |= {value.name.lower(), str(value.parent).lower()}
    elif value:
        names |= {one.lower() for one in re.split(r"[]:=,[]", str(value)[:40]) if len(one) > 2}
    if (
        value
        and not isinstance(value, Path)
        and re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", said)
    ):
        return True
    return any(one in said.lower() for one in names)


def snapshot(*roots: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time, every folder."""
    return dict(_files(roots))


def _files(roots: tuple[Path, ...]) -> Iterator[tuple[str, tuple[int, int]]]:
    for root in roots:
        for folder, _, names in os.walk(root):
            yield folder, (0, 0)
            for name in names:
                if name.endswith(("-shm", "-wal")):  # of a database that is read
                    continue
                path = Path(folder, name)
                told = path.lstat()
                at = 0 if name.endswith(".sqlite") else told.st_mtime_ns
                yield str(path), (told.st_size, at)
