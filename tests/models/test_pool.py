"""A pool of two workers gives what one process gives, bit by bit, whatever happens to the workers.

All tests share one pool, since Ray takes seconds to start.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from helpers.dictionaries import small_dictionary
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_model, tiny_pipeline

from clerestory.edits import Add, Patch
from clerestory.errors import ClerestoryError, ModelError, SiteError
from clerestory.evaluation import Condition, Design, Evaluator
from clerestory.models import load
from clerestory.models.core.parts import split_into_parts
from clerestory.models.provenance import model_identity
from clerestory.models.workers import pool as pools
from clerestory.models.workers.pool import PoolSettings, WorkerPool
from clerestory.models.workers.worker import _check_identity

cloudpickle = pytest.importorskip("ray").cloudpickle
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
PROMPTS = ["a cat", "a dog", "a cat dog", "dog", "cat"]
OPTIONS: dict[str, Any] = {
    **{"height": 16, "width": 16, "steps": 2, "prior_steps": 2},
    "batch": 2,
    "progress": False,
}
READ = ["text.*/mlp", "prior/embedding", "denoiser.mid.*"]
EMBEDDING = "prior/embedding"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def one(folder: Path) -> Any:
    return load(folder, device="cpu")


@pytest.fixture(scope="module")
def many(folder: Path) -> Iterator[Any]:
    # Workers know what is installed, and this file is not.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with load(folder, device="cpu", workers=2) as model:
        yield model
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    # Nothing is left of the cluster that was started for it.
    until = time.monotonic() + 30
    while ray_processes() and time.monotonic() < until:
        time.sleep(0.2)
    assert not ray_processes()


def ray_processes() -> list[psutil.Process]:
    """What this process has started of Ray; other tests may have clusters of their own."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        # Those that have ended and wait for their parent have no command.
        if any("ray" in word for word in command[:2]):
            found.append(process)
    return found


def workers() -> list[psutil.Process]:
    """The workers that are at a part, or wait for one."""
    return [each for each in ray_processes() if each.cmdline()[0].startswith("ray::PartWorker")]


def same(first: Any, second: Any) -> None:
    assert first.sample_list == second.sample_list
    assert np.array_equal(first.pictures, second.pictures)
    assert list(first.site_values) == list(second.site_values)
    for site, values in first.site_values.items():
        assert np.array_equal(values.array(), second.site_values[site].array(), equal_nan=True)
        # Ray hands out arrays that cannot be written to.
        assert second.site_values[site].batches[0].flags.writeable


def edit_sets(samples: int) -> list[list[Any]]:
    vector, each = np.linspace(-1, 1, 32, dtype="f4"), np.ones((samples, 1, 32), "f4")
    return [
        [],
        [Add(EMBEDDING, vector)],
        [Add("text.blocks.0/mlp", vector[:1].repeat(48))],
        [Patch(EMBEDDING, each * np.arange(samples, dtype="f4")[:, None, None])],
    ]


@pytest.mark.slow
def test_two_workers_give_the_pictures_and_values_of_one_process(one: Any, many: Any) -> None:
    sets, counts = edit_sets(10), list[int]()
    options = {**OPTIONS, "read": READ}
    expected = one.sweep(PROMPTS, range(2), sets, **options)
    options["progress"] = lambda _, completed, total: counts.append(completed) or total
    for first, second in zip(expected, many.sweep(PROMPTS, range(2), sets, **options), strict=True):
        same(first, second)
    assert counts == list(range(2, 41, 2))
    assert many.pool._crew.workers


@pytest.mark.slow
def test_maps_of_attention_and_gradients_are_those_of_one_process(one: Any, many: Any) -> None:
    asked = {"words": ["cat"], "layers": "prior.*", "keep": ["step"], "denoising_steps": 2}
    asked |= {name: OPTIONS[name] for name in OPTIONS if name != "steps"}
    prompts = ["a cat", "a cat dog", "cat"]
    maps = [model.attention(prompts, range(2), **asked).array for model in (one, many)]
    assert maps[0].identical(maps[1])
    found = [
        model.gradients(
            lambda values: values[EMBEDDING][:, 0, 0, :4].square().sum(1),
            "text.*/mlp",
            PROMPTS,
            read=EMBEDDING,
            pool="mean",
            **OPTIONS,
        )
        for model in (one, many)
    ]
    assert np.array_equal(found[0].objective_values, found[1].objective_values)
    assert found[0].tree.identical(found[1].tree)
    with pytest.raises(SiteError, match="does not depend on denoiser"):
        many.gradients(f"{EMBEDDING}[0]", "denoiser.mid.res.0/out", PROMPTS, **OPTIONS)


@pytest.mark.slow
def test_an_evaluation_draws_the_same_cells(one: Any, many: Any) -> None:
    design = Design.crossed(PROMPTS, range(2))
    conditions = [
        Condition("plain", options=SMALL),
        Condition("edited", edits=(Add(EMBEDDING, np.ones(32, "f4")),), options=SMALL),
    ]
    drawn = [Evaluator(model, False, batch=2).draw(conditions, design) for model in (one, many)]
    for first, second in zip(*drawn, strict=True):
        assert np.array_equal(first.pictures, second.pictures)


SMALL = {name: OPTIONS[name] for name in ("height", "width", "steps", "prior_steps")}


@dataclass(frozen=True)
class Broken:
    """Fails at the batch that begins with a sample."""

    site: str
    first: int
    samples: int
    rows: tuple[int, ...] = ()

    def at(self, rows: Any) -> Broken:
        return replace(self, rows=tuple(rows))

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        if self.rows[0] >= self.first:
            raise ZeroDivisionError(f"no value for sample {self.rows[0]}")
        return value


class OddError(Exception):
    """Is not made of its arguments, as pickle expects."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} is not {two}")


class Odd(Broken):
    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        raise OddError(1, 2)


@pytest.mark.slow
def test_an_error_on_a_worker_is_that_of_one_process(one: Any, many: Any) -> None:
    edits, nan = [Broken(EMBEDDING, 4, 5)], [Add(EMBEDDING, np.full(32, 3e38, "f4"))]
    for edited, kind in ((edits, ZeroDivisionError), (nan, ClerestoryError)):
        messages = []
        for model in (one, many):
            with pytest.raises(kind) as raised:
                model.run(PROMPTS, 0, edits=edited, **OPTIONS)
            messages.append(str(raised.value))
            assert type(raised.value) is kind or kind is ClerestoryError
        assert messages[0] == messages[1]
    with pytest.raises(ModelError, match=r"A worker failed: .*1 is not 2"):
        many.run(PROMPTS, 0, edits=[Odd(EMBEDDING, 0, 5)], **OPTIONS)
    # The workers go on, and drop what was left of the calls before.
    same(one.run(PROMPTS, 0, **OPTIONS), many.run(PROMPTS, 0, **OPTIONS))


@pytest.mark.slow
def test_what_cannot_be_pickled_is_one_line(many: Any) -> None:
    class Locked(Broken):
        lock = Lock()

        def __call__(self, value: torch.Tensor) -> torch.Tensor:
            return value

    edit = Locked(EMBEDDING, 0, 5)
    object.__setattr__(edit, "held", Lock())
    with pytest.raises(ModelError, match="cannot be sent to workers") as raised:
        many.run(PROMPTS, 0, edits=[edit], **OPTIONS)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_weights_and_dictionaries_reach_workers_when_they_change(folder: Path, many: Any) -> None:
    one = load(folder, device="cpu")
    weight = [model.pipeline.prior_prior.proj_in.weight for model in (one, many)]
    before = weight[1].detach().clone()
    try:
        for model, each in zip((one, many), weight, strict=True):
            with torch.no_grad():
                each[0] = 0.5
            model.attach(small_dictionary(32, site=EMBEDDING), "glass")
        options = {**OPTIONS, "read": f"{EMBEDDING}:glass"}
        first, second = (model.run(PROMPTS, 0, **options) for model in (one, many))
        same(first, second)
    finally:
        with torch.no_grad():
            weight[1].copy_(before)
        many.detach("glass")


@pytest.mark.slow
def test_a_worker_that_is_killed_on_the_way_changes_nothing(one: Any, many: Any) -> None:
    many.run(PROMPTS, 0, **OPTIONS)
    killed = []

    def kill(label: str, completed: int, total: int) -> None:
        if not killed:
            killed.append(workers()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    expected = one.sweep(PROMPTS, range(2), edit_sets(10), **OPTIONS)
    found = many.sweep(PROMPTS, range(2), edit_sets(10), **{**OPTIONS, "progress": kill})
    assert killed
    for first, second in zip(expected, found, strict=True):
        same(first, second)


class Fatal(Broken):
    """Ends its process at one sample."""

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        if self.first in self.rows:
            os.kill(os.getpid(), signal.SIGKILL)
        return value


@pytest.mark.exhaustive
def test_a_sample_that_ends_its_workers_is_named(
    one: Any, many: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "TRIES", 2)
    with pytest.raises(ModelError, match=r"Sample 3 \('dog' with seed 0\) ended its worker 2"):
        many.run(PROMPTS, 0, edits=[Fatal(EMBEDDING, 3, 5)], **OPTIONS)
    same(one.run(PROMPTS, 0, **OPTIONS), many.run(PROMPTS, 0, **OPTIONS))


def test_taps_and_single_batches_run_here(folder: Path) -> None:
    seen = []
    with load(folder, device="cpu", workers=2) as model:
        taps = {EMBEDDING: lambda value, step: seen.append(len(value))}
        model.run(PROMPTS, 0, taps=taps, **OPTIONS)
        model.run(PROMPTS[0], 0, **OPTIONS)
        assert seen == [2, 2, 1]
        assert model.pool._crew.ray is None
    assert model.workers == 1


def test_a_wrong_address_or_number_is_one_line_within_seconds(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    started = time.monotonic()
    for options, message in (
        ({"ray": f"127.0.0.1:{port}"}, "cannot be joined"),
        ({"ray": "nonsense"}, "write HOST:PORT"),
        ({"workers": 0}, "workers is 0"),
        ({"workers": 2, "gpus_per_worker": -1.0}, "gpus_per_worker is -1"),
        ({"gpus_per_worker": 1.0}, "there are no workers"),
    ):
        with pytest.raises(ModelError, match=message) as raised:
            load(folder, device="cpu", **options)
        assert "\n" not in str(raised.value)
    assert time.monotonic() - started < 20


def test_workers_of_a_model_on_a_gpu_have_gpus() -> None:
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert PoolSettings.of(cuda, workers=8) == PoolSettings(8, None, 1.0)
    assert PoolSettings.of(cpu, ray="local") == PoolSettings(2)
    assert PoolSettings.of(cpu) is None
    with pytest.raises(ModelError, match="gpus_per_worker is 0"):
        PoolSettings.of(cuda, workers=8, gpus_per_worker=0)


def test_a_worker_refuses_another_model() -> None:
    identity = model_identity(tiny_model())
    _check_identity(tiny_model(), identity)
    with pytest.raises(ModelError, match=r"another .* than this process \(weights: \w+ there"):
        _check_identity(tiny_model(seed=1), identity)


def test_a_pool_that_was_not_started_is_closed_twice() -> None:
    pool = WorkerPool(PoolSettings(3))
    assert pool.workers == 3
    pool.close()
    pool.close()


@given(st.integers(0, 30), st.integers(1, 7), st.integers(1, 60), st.integers(1, 9))
def test_parts_hold_every_sample_and_set_once(
    samples: int, batch: int, sets: int, workers: int
) -> None:
    batches = [range(start, min(start + batch, samples)) for start in range(0, samples, batch)]
    parts = split_into_parts(batches, sets, workers)
    cells = [(row, index) for part in parts for row in part.rows for index in part.sets]
    assert sorted(cells) == [(row, index) for row in range(samples) for index in range(sets)]
    assert all(part.rows in batches for part in parts)
    if workers == 1:
        assert len(parts) == len(batches)
    elif batches:
        assert len(parts) >= min(len(batches) * sets, 2 * workers)


INTERRUPTED = """
import sys
from clerestory.cli import interrupts
from clerestory.models import load
with interrupts.handle_signals():
    model = load(sys.argv[1], device="cpu", workers=2)
    progress = lambda label, completed, total: print(completed, flush=True)
    options = {"height": 16, "width": 16, "steps": 2, "prior_steps": 2, "batch": 1}
    model.run("a cat", range(100_000), progress=progress, **options)
"""


@pytest.mark.exhaustive
def test_ctrl_c_leaves_no_process(folder: Path) -> None:
    words = [sys.executable, "-W", "ignore", "-c", INTERRUPTED, str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) > 3
    # As a terminal does, to all of its processes.
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    process.stdout.close()
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive
