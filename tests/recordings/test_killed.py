"""A recorder killed at any moment leaves a folder that the same call makes whole, bit for bit.

Also where a chunk is removed or cut short after the kill, or a marker truncated.

`CLERESTORY_KILLS` says how often it is tried; `make soak` tries 500 times.
"""

import multiprocessing
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clerestory.errors import RecordingError
from clerestory.recordings import Recording, Store, verify
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


def started(out, cut="", at=0):
    process = CONTEXT.Process(target=record_and_exit, args=(str(out), cut, at))
    process.start()
    return process


def remove(path):
    path.unlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = (
    (None, ""),
    (remove, "activations.zarr/**/value/c.*"),
    (truncate, "done/*.json"),
    (truncate, "activations.zarr/**/value/c.*"),
    (remove, "activations.zarr/complete/c.*"),
    (truncate, "activations.zarr/**/zarr.json"),
    (remove, "samples.parquet"),
)
"""What is done to up to two files after the kill."""


def killed(out, rng, seconds):
    """Record, and be killed: at any time, or at a moment between data and marker."""
    cut = str(rng.choice(["", "data", "marker", "complete"], p=[0.4, 0.2, 0.2, 0.2]))
    process = started(out, cut, int(rng.integers(5) if cut else 0))
    if not cut:
        time.sleep(rng.uniform(0.02, seconds))
        process.kill()
    process.join()
    return cut


def damaged(out, rng):
    """Damage files of one kind; returns whether there were any."""
    attack, pattern = DAMAGE[rng.integers(len(DAMAGE))]
    files = sorted(out.glob(pattern)) if attack else []
    for index in rng.permutation(len(files))[:2]:
        attack(files[index])
    return bool(files)


def check_reading(out, expected):
    """What a marker counts as complete is read as it was recorded, or refused."""
    try:
        recording = Recording.open(out)
        for site in recording.sites:
            values = recording.read(site).to_numpy().astype(np.float16)
            whole = np.frombuffer(expected[site], np.float16).reshape(-1, *values.shape[1:])
            assert np.array_equal(values, whole[recording.rows])
    except RecordingError as error:
        assert "\n" not in str(error)


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
def test_killed_at_any_moment_and_damaged_it_resumes_to_the_undisturbed_recording(
    undisturbed, tmp_path
):
    expected, seconds = undisturbed
    rng = np.random.default_rng(5)
    moments: Counter[str] = Counter()
    for trial in range(KILLS):
        out = tmp_path / str(trial)
        cut = killed(out, rng, seconds)
        begun = (out / "manifest.json").exists()
        done = len(list((out / "done").glob("*.json")))
        moment = "before the plan" if not begun else "on the way" if done < 5 else "after the end"
        moments[moment] += 1
        if begun:
            recording = Recording.open(out)
            # Not more, whatever else was written; without damage all of it is whole.
            assert recording.samples["done"].sum() == 4 * done
            assert verify(recording.store) == []
            if damaged(out, rng):
                moments["damaged"] += 1
                check_reading(out, expected)
        process = started(out)
        process.join()
        assert process.exitcode == 0
        assert contents(out) == expected, f"trial {trial}, killed {moment} {cut}"
        assert verify(Store(out)) == []
        assert not list(out.rglob("*.partial"))
    assert moments["on the way"] >= KILLS // 5, moments
    assert moments["damaged"] >= KILLS // 5, moments


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
