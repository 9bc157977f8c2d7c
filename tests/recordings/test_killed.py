"""A recorder killed at any moment leaves a folder that the same call makes whole, bit for bit.

`CLERESTORY_KILLS` says how often it is tried; `make soak` tries 500 times.
"""

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from clerestory.recordings import Recording, verify
from recordings.small import contents, record_and_exit

KILLS = int(os.environ.get("CLERESTORY_KILLS", "12"))
CONTEXT = multiprocessing.get_context("forkserver")
"""Its children begin with everything imported and the model built, in no time."""
CONTEXT.set_forkserver_preload(
    [
        "recordings.preload",
        "recordings.small",
        "clerestory.recordings",
        "clerestory.recordings.tree",
    ]
)


TESTS = str(Path(__file__).parents[1])


def started(out):
    process = CONTEXT.Process(target=record_and_exit, args=(str(out),))
    process.start()
    return process


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The recording that nobody disturbed, and how long it took."""
    with pytest.MonkeyPatch.context() as patch:
        # Where the server finds what it is to import: before Python 3.13 it knows no other path.
        patch.setenv("PYTHONPATH", TESTS, prepend=os.pathsep)
        first = started(tmp_path_factory.mktemp("first") / "rec")
        first.join()
    out = tmp_path_factory.mktemp("whole") / "rec"
    began = time.monotonic()
    process = started(out)
    process.join()
    assert process.exitcode == 0
    return contents(out), time.monotonic() - began


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_it_is_the_undisturbed_recording(
    undisturbed, tmp_path
):
    expected, seconds = undisturbed
    rng = np.random.default_rng(5)
    killed = {"before the plan": 0, "on the way": 0, "after the end": 0}
    for trial in range(KILLS):
        out = tmp_path / str(trial)
        process = started(out)
        time.sleep(rng.uniform(0.02, seconds))
        process.kill()
        process.join()
        begun = (out / "manifest.json").exists()
        done = len(list((out / "done").glob("*.json"))) if (out / "done").exists() else 0
        moment = "before the plan" if not begun else "on the way" if done < 5 else "after the end"
        killed[moment] += 1
        if begun:
            recording = Recording.open(out)
            assert recording.samples["done"].sum() == 4 * done
            assert verify(recording.store) == []
        process = started(out)
        process.join()
        assert process.exitcode == 0
        assert contents(out) == expected, f"trial {trial}, killed {moment}"
        assert not list(out.rglob("*.partial"))
    assert killed["on the way"] >= KILLS // 5, killed


@pytest.mark.slow
def test_the_lock_ends_with_a_killed_process(undisturbed, tmp_path):
    process = started(tmp_path / "rec")
    while not (tmp_path / "rec" / "manifest.json").exists():
        time.sleep(0.01)
    other = started(tmp_path / "rec")
    other.join()
    assert other.exitcode == 1
    process.kill()
    process.join()
    third = started(tmp_path / "rec")
    third.join()
    assert third.exitcode == 0
