"""Shares out the parts of a call among workers, and replaces workers that are lost."""

from __future__ import annotations

import itertools
import weakref
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from clerestory.checks import check_minimum
from clerestory.errors import ModelError, describe_error
from clerestory.models.core.module_states import is_offloaded
from clerestory.models.core.parts import Part, PartWork
from clerestory.models.core.pipeline_state import pipeline_parts
from clerestory.models.core.weight_digests import weight_versions
from clerestory.models.provenance import dictionary_digests, model_identity, settings_digest
from clerestory.models.workers.alignment import alignments
from clerestory.models.workers.cluster import cause, check_address, join, leave, loss_errors
from clerestory.models.workers.worker import Failure, PartWorker, pack, unpack

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["PoolSettings", "WorkerPool"]

TRIES = 4
"""How often a part is computed whose worker is lost, before its samples are tried one by one."""
STARTS = 3
"""How many workers may end in a row before they have started."""
START = 600.0
"""Seconds in which a first worker must start; a cluster that grows takes minutes."""
LEAD = 8
"""Parts per worker that may be computed ahead of one that is waited for."""


@dataclass(frozen=True)
class PoolSettings:
    """What workers are asked for.

    Attributes:
        workers: Their number.
        address: Address of a cluster, or `auto` for one that runs on this machine; None starts one
            and ends it with the pool.
        gpus_per_worker: GPUs that Ray reserves for each; a fraction shares one.

    Raises:
        ModelError: Ray is not installed, nothing like Ray answers at the address, or there would be
            no worker.
    """

    workers: int
    address: str | None = None
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        check_minimum(ModelError, 1, workers=self.workers)
        check_minimum(ModelError, 0, gpus_per_worker=self.gpus_per_worker)
        check_address(self.address, ModelError)

    @classmethod
    def of(
        cls,
        device: torch.device,
        *,
        workers: int | None = None,
        ray: str | None = None,
        gpus_per_worker: float | None = None,
    ) -> PoolSettings | None:
        """The settings that arguments of `load` mean.

        Args:
            device: The model's device.
            workers: As for `load`.
            ray: As for `load`.
            gpus_per_worker: As for `load`.

        Returns:
            The settings; None where no workers are asked for.

        Raises:
            ModelError: As this class, or workers of a model on a GPU would have none.
        """
        if workers is None and ray is None:
            if gpus_per_worker is None:
                return None
            raise ModelError(f"gpus_per_worker is {gpus_per_worker:g}, and there are no workers.")
        is_cuda = device.type == "cuda"
        if is_cuda and gpus_per_worker == 0:
            # Ray hides GPUs from such workers, which would draw in another precision on a CPU.
            raise ModelError(
                "gpus_per_worker is 0, and the model is on a GPU: give workers GPUs, or open the "
                "model on the device cpu."
            )
        gpus = float(is_cuda) if gpus_per_worker is None else gpus_per_worker
        address = None if ray == "local" else ray
        return cls(2 if workers is None else workers, address, gpus)


@dataclass(eq=False)
class _Task:
    """A part that a worker was given; its index is None once nobody waits for it."""

    reference: Any
    index: int | None


@dataclass(eq=False)
class _Worker:
    """An actor; `starting` is a reference until it runs, `tasks` are computed one by one."""

    actor: Any
    starting: Any
    tasks: deque[_Task] = field(default_factory=deque)


class _Crew:
    """The workers, and the connection to the cluster that they are on; outlives its pool."""

    def __init__(self, settings: PoolSettings) -> None:
        self.size, self._settings = settings.workers, settings
        self.ray: Any = None
        self.workers: list[_Worker] = []

    def start(self) -> Any:
        """Join the cluster and start the workers, unless they run; the module `ray`."""
        if self.ray is None:
            self.ray = join(self._settings.address, self.size, ModelError)
            self._check_resources()
            self.workers = [self.hire() for _ in range(self.size)]
        return self.ray

    def hire(self) -> _Worker:
        """Start a worker."""
        # Lost workers are replaced here, which tells the part that they were at from those that
        # waited behind it.
        options = {"num_cpus": 1, "num_gpus": self._settings.gpus_per_worker, "max_restarts": 0}
        actor = self.ray.remote(**options)(PartWorker).remote()
        return _Worker(actor, actor.start.remote())

    def replace(self, worker: _Worker) -> _Worker:
        """Start a worker in the place of one that was lost."""
        new = self.hire()
        self.workers[self.workers.index(worker)] = new
        return new

    def close(self) -> None:
        """End all workers, and a cluster that was started for them."""
        ray, self.ray = self.ray, None
        workers, self.workers = self.workers, []
        if ray is None:
            return
        # At the end of the process Ray may have ended them before.
        if ray.is_initialized():
            for worker in workers:
                ray.kill(worker.actor)
        leave(ray)

    def _check_resources(self) -> None:
        found = self.ray.cluster_resources().get("GPU", 0.0)
        asked = self._settings.gpus_per_worker
        # A cluster elsewhere may grow.
        if self._settings.address is None and found < asked:
            self.close()
            raise ModelError(
                f"gpus_per_worker is {asked:g}, and Ray finds {found:g} GPUs on this machine."
            )


class WorkerPool:
    """Workers of Ray that hold the model of this process; see `PartPool`.

    They start with the first call that has more than one part. A model whose weights, settings or
    dictionaries have changed since is sent to them anew.

    Args:
        settings: What is asked for.
    """

    def __init__(self, settings: PoolSettings) -> None:
        self._crew = _Crew(settings)
        self._sent = _SentModel()
        # Also at the end of the process, and where a model is no longer used.
        self._finalizer = weakref.finalize(self, self._crew.close)

    @property
    def workers(self) -> int:
        """Their number."""
        return self._crew.size

    def close(self) -> None:
        """End the workers; the next call would start them again."""
        self._crew.close()
        self._sent = _SentModel()

    def compute(self, model: Model, work: PartWork, parts: Sequence[Part]) -> Iterator[Any]:
        """Have parts computed; see `PartPool`."""
        # Pickled here, not by Ray, whose message about what it cannot pickle is a page long.
        packed = _pack_work(work)
        ray = self._crew.start()
        self._sent = self._sent.updated(ray, model)
        reference = ray.put(packed)
        call = _Call(self._crew, self._sent.argument, (_key(), [reference]), work, parts)
        return call.results()


class _Call:
    """One call: which parts are computed, by whom, and which are still to come."""

    def __init__(
        self,
        crew: _Crew,
        model: tuple[str, list[Any]],
        reference: tuple[str, list[Any]],
        work: PartWork,
        parts: Sequence[Part],
    ) -> None:
        self._crew, self._ray, self._work, self._parts = crew, crew.ray, work, parts
        self._arguments = (model, reference, torch.get_num_threads())
        self._lost = loss_errors(crew.ray)
        self._queue = deque(range(len(parts)))
        self._done: dict[int, Any] = {}
        self._losses: Counter[int] = Counter()
        # Nothing after a part that failed is needed.
        self._end = len(parts)
        self._failed_starts = 0

    def results(self) -> Iterator[Any]:
        """The results in order."""
        try:
            for index in range(len(self._parts)):
                while index not in self._done:
                    self._hand_out(index)
                    self._collect()
                result = self._done.pop(index)
                if isinstance(result, Failure):
                    raise result.error
                yield result
        finally:
            # What workers are at is finished and dropped, so that they keep their models.
            for worker in self._crew.workers:
                for task in worker.tasks:
                    task.index = None

    def _hand_out(self, first: int) -> None:
        """Give parts to workers that are free, and a second one while there is enough for all."""
        running = [worker for worker in self._crew.workers if worker.starting is None]
        limit = min(self._end, first + LEAD * self._crew.size)
        for depth in (1, 2):
            for worker in running:
                spare = len(self._queue) if depth == 1 else len(self._queue) - len(running) + 1
                if len(worker.tasks) < depth and spare > 0 and self._queue[0] < limit:
                    index = self._queue.popleft()
                    reference = self._submit(worker, self._parts[index])
                    worker.tasks.append(_Task(reference, index))

    def _submit(self, worker: _Worker, part: Part) -> Any:
        return worker.actor.compute.remote(*self._arguments, part)

    def _collect(self) -> None:
        """Wait for a worker that starts, or finishes the part that it is at."""
        waited = {}
        for worker in self._crew.workers:
            if worker.starting is not None:
                waited[worker.starting] = worker
            elif worker.tasks:
                waited[worker.tasks[0].reference] = worker
        none_runs = all(worker.starting is not None for worker in self._crew.workers)
        # One after the other: a result is in this process's memory before the next is fetched.
        done, _ = self._ray.wait(list(waited), timeout=START if none_runs else None)
        if not done:
            raise ModelError(
                f"No worker has started within {START / 60:.0f} minutes: the cluster has "
                f"{self._ray.cluster_resources()}, and a worker needs 1 CPU and its GPUs."
            )
        worker = waited[done[0]]
        if worker.starting is not None:
            self._note_start(worker)
        else:
            self._note_result(worker, worker.tasks.popleft())

    def _note_start(self, worker: _Worker) -> None:
        try:
            self._ray.get(worker.starting)
        except self._ray.exceptions.RayTaskError as error:
            raise cause(error, ModelError) from error
        except self._lost as error:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                raise ModelError(f"Workers cannot start: {_reason(error)}") from error
            self._crew.replace(worker)
        else:
            worker.starting, self._failed_starts = None, 0

    def _note_result(self, worker: _Worker, task: _Task) -> None:
        result: Any
        try:
            result = unpack(self._ray.get(task.reference))
        except self._ray.exceptions.RayTaskError as error:
            result = Failure(cause(error, ModelError))
        except self._lost as error:
            self._note_loss(worker, task, error)
            return
        if task.index is not None:
            self._keep(task.index, result)

    def _keep(self, index: int, result: Any) -> None:
        self._done[index] = result
        if isinstance(result, Failure):
            self._end = min(self._end, index)

    def _note_loss(self, worker: _Worker, task: _Task, error: Exception) -> None:
        """Have the parts of a lost worker computed by others."""
        indices = [task.index]
        # A result may also be lost with the machine that kept it, while its worker goes on.
        if not isinstance(error, self._ray.exceptions.ObjectLostError):
            indices += [waiting.index for waiting in worker.tasks]
            worker = self._crew.replace(worker)
        again = [index for index in indices if index is not None]
        if task.index is not None:
            self._losses[task.index] += 1
            if self._losses[task.index] >= TRIES:
                again.remove(task.index)
                self._keep(task.index, Failure(self._blame(task.index, worker, error)))
        self._queue = deque(sorted([*self._queue, *again]))

    def _blame(self, index: int, worker: _Worker, error: Exception) -> ModelError:
        """An error that names the sample at which workers are lost, which one more may be for."""
        part = self._parts[index]
        rows, samples = part.rows, self._work.samples
        reason = _reason(error)
        row = rows[0] if len(rows) == 1 else self._find_culprit(part, worker)
        if row is not None:
            sample = samples[row]
            return ModelError(
                f"Sample {row} ({sample.prompt[:60]!r} with seed {sample.seed}) ended its worker "
                f"{TRIES} times: {reason}"
            )
        return ModelError(
            f"Samples {rows[0]} to {rows[-1]} ended their worker {TRIES} times, and none of them "
            f"alone; draw fewer together, with a smaller batch: {reason}"
        )

    def _find_culprit(self, part: Part, worker: _Worker) -> int | None:
        """The sample of a part that ends a worker by itself; None where none does."""
        for row in part.rows:
            single = replace(part, rows=range(row, row + 1))
            try:
                self._ray.get(self._submit(worker, single))
            except self._lost:
                self._crew.replace(worker)
                return row
        return None


@dataclass(frozen=True)
class _SentModel:
    """The model that workers hold or will fetch.

    Attributes:
        fingerprint: What torch counts of changes of its weights, and its settings.
        identity: Digests of all of it, which are computed where the fingerprint has changed.
        argument: A key, and a reference to the pickled model.
    """

    fingerprint: Any = None
    identity: Any = None
    argument: tuple[str, list[Any]] = ("", [])

    def updated(self, ray: Any, model: Model) -> _SentModel:
        """Send a model, unless it is the one that was sent."""
        fingerprint = _fingerprint(model)
        if fingerprint == self.fingerprint:
            return self
        identity = {**model_identity(model), "defaults": model.defaults}
        if identity == self.identity:
            return replace(self, fingerprint=fingerprint)
        reference = ray.put(pack((model, identity, alignments(model))))
        return _SentModel(fingerprint, identity, (_key(), [reference]))


def _fingerprint(model: Model) -> Any:
    parts = pipeline_parts(model.pipeline).values()
    networks = [part for part in parts if isinstance(part, nn.Module)]
    # Weights that are moved are new tensors each time; the model's own digests have to do.
    moved = any(is_offloaded(module) for network in networks for module in network.modules())
    versions = () if moved else weight_versions(networks)
    return versions, settings_digest(model.pipeline), dictionary_digests(model), model.defaults


_KEYS = itertools.count(1)


def _key() -> str:
    return str(next(_KEYS))


def _pack_work(work: PartWork) -> bytes:
    try:
        return pack(work)
    # What pickle raises for locks, generators, files and modules in turn, from any `__reduce__`.
    except Exception as error:
        raise ModelError(
            "What is asked for cannot be sent to workers: an edit, option or objective cannot be "
            f"pickled ({describe_error(error, 200)}). Open the model without workers for it."
        ) from error


def _reason(error: Exception) -> str:
    """One line of what Ray tells about a loss."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
