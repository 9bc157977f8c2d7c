"""Signals as a shell sends them: to a process, or to its whole group, at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recordings.small import contents
from tiny import tiny_model

from interrupts.points import ended

TESTS = Path(__file__).parents[1]
RECORD = ["--sites", "text.*/mlp", "--batch", "1", "--chunk", "1", "--seeds", "0:30"]


def started(*words: object, module: str = "interrupts.child") -> subprocess.Popen[str]:
    """A process that leads a group of its own."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", module, *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ready(process: subprocess.Popen[str]) -> str:
    """The first line that it says."""
    assert process.stderr is not None
    return process.stderr.readline()


def last_line(process: subprocess.Popen[str], status: int) -> str:
    """The line on how it was interrupted; it is the only one but for progress."""
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Traceback" not in err, err
    (line,) = [one for one in err.splitlines() if one.startswith("clerestory: ")]
    return line


@pytest.mark.exhaustive
def test_a_recording_is_stopped_twice_and_is_then_the_undisturbed_one(
    tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
    words = ["record", "--prompts", tmp_path / "prompts.txt", *RECORD, "--out"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    monkeypatch.setattr("clerestory.load", lambda *_, **__: tiny_model())
    assert ended([*words, whole], tmp_path).status == 0
    rng = np.random.default_rng(3)
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        before = len(list(out.glob("done/*.json")))  # before one of its own it answers no signal
        process = started(*words, out)
        while len(list(out.glob("done/*.json"))) < before + 2 and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        os.killpg(process.pid, number)
        line = last_line(process, status)
        assert line.endswith(f"interrupted: the same command resumes {out}.")
    assert ended([*words, out], tmp_path).status == 0
    assert contents(out) == contents(whole)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the processes have it: another number is another plan."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_a_drawing_that_is_stopped_leaves_nothing(tmp_path: Path):
    process = started("draw", "a cat", "--out", tmp_path / "out", "--seeds", "0:400")
    ready(process)
    while not any(tmp_path.iterdir()):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGTERM)  # as `timeout` does: it counts once
    assert last_line(process, 143).endswith("interrupted: no unfinished output is left.")
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_second_signal_later_ends_it_at_once():
    code = (
        "import time\nfrom clerestory.cli import interrupts\nwith interrupts.handle_signals():\n"
        "    try:\n        print('ready', flush=True)\n        time.sleep(60)\n"
        "    finally:\n        time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    time.sleep(1.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT
    process.stdout.close()


@pytest.mark.slow
def test_a_signal_in_a_finalizer_is_not_lost():
    code = (
        "import signal, time\nfrom clerestory.cli import interrupts\n"
        "class Closing:\n    def __del__(self):\n        signal.raise_signal(signal.SIGTERM)\n"
        "with interrupts.handle_signals():\n    Closing()\n    time.sleep(1)\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 143
    assert process.stderr == "clerestory: interrupted: no unfinished output is left.\n"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_no_renderer_outlives_its_parent(number: Any, status: int):
    pytest.importorskip("cv2", reason="the world needs the extra `world`")
    process = started(module="interrupts.rendering")
    workers = [int(word) for word in ready(process).split()]
    assert len(workers) == 2 and all(map(alive, workers))
    time.sleep(1)  # they are starting meanwhile, or at work: both are fine
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    assert last_line(process, status) == "clerestory: interrupted: no unfinished output is left."
    until = time.monotonic() + 5
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(alive, workers))


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True
