"""A training killed at any moment is continued by the same call to the same dictionary.

`CLERESTORY_KILLS` says how many trainings are killed, each up to three times.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from planted_factors import ACTIVE, SITE, planted, recording

from clerestory.dictionaries import Dictionary, training

pytestmark = pytest.mark.exhaustive
pytest.importorskip("sae_lens", reason="training needs the extra `dictionaries`")
TRAININGS = int(os.environ.get("CLERESTORY_KILLS", "9"))
KINDS = ("batchtopk", "topk", "jumprelu")
HOW = {"site": SITE, "k": ACTIVE, "latents": 48, "rows": 128, "updates": 40, "rate": 5e-3}
HOW |= {"buffer": 1000, "dead_after": 5}
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["killed_training"])


def start(recorded, out, how):
    from killed_training import train_and_exit

    process = CONTEXT.Process(target=train_and_exit, args=(str(recorded), str(out), how))
    process.start()
    return process


def finish(recorded, out, how):
    process = start(recorded, out, how)
    process.join()
    assert process.exitcode == 0
    return Dictionary.load(out)


def losses(out):
    return [row["loss"] for row in json.loads((out / "curves.json").read_text())]


def number(checkpoint):
    return int(checkpoint.name.split("-")[1])


def wait_for_update(process, out, update):
    """Until a training has come so far, or has ended."""
    while process.is_alive() and max(map(number, training._checkpoints(out)), default=0) < update:
        time.sleep(0.002)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # Where the server finds what it is to import: before Python 3.13 it knows no other path.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        folder = tmp_path_factory.mktemp("planted") / "rec"
        recording(folder, planted(60, 2, 10))
        finish(folder, folder.parent / "first", HOW | {"updates": 1})
    return folder


def test_a_training_killed_at_any_moment_ends_as_one_that_nobody_disturbed(recorded, tmp_path):
    rng, moments = np.random.default_rng(0), []
    whole, seconds = {}, {}
    for kind in KINDS[:TRAININGS]:
        began = time.monotonic()
        whole[kind] = finish(recorded, tmp_path / kind, HOW | {"kind": kind})
        seconds[kind] = time.monotonic() - began
    for trial in range(TRAININGS):
        kind, out = KINDS[trial % len(KINDS)], tmp_path / str(trial)
        for _ in range(3):
            process = start(recorded, out, HOW | {"kind": kind})
            if rng.random() < 0.7:
                wait_for_update(process, out, int(rng.integers(1, HOW["updates"])))
                time.sleep(rng.uniform(0, 0.02))
            else:
                time.sleep(rng.uniform(0.05, seconds[kind]))
            process.kill()
            process.join()
            moments += map(number, training._checkpoints(out))
        continued = finish(recorded, out, HOW | {"kind": kind})
        for name, tensor in whole[kind].tensors().items():
            other = continued.tensors()[name]
            assert torch.allclose(tensor, other, rtol=0, atol=1e-5), (trial, kind, name)
        assert losses(out) == pytest.approx(losses(tmp_path / kind), abs=1e-5)
        # What was half written is gone.
        names = {"training.json", "curves.json", "curves.png", "config.json", "weights.safetensors"}
        assert {each.name for each in out.iterdir()} == names, trial
    # They were killed in the middle of the updates, not before or after all of them.
    assert len(set(moments)) >= min(3, TRAININGS)
