"""Filling a recording with Ray: actors that each hold a model fill chunks of one plan.

Scheduling, retries and lost workers are Ray's. A chunk that is done twice is the same both times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clerestory.checks import check_minimum
from clerestory.errors import RecordingError
from clerestory.models.core.latents import AttachedDictionary
from clerestory.models.workers.cluster import cause, cluster
from clerestory.recordings.plan import check_model
from clerestory.recordings.store import Store
from clerestory.types import Progress

__all__ = ["fill_with_ray"]


class _Worker:
    """One model, one recording; the actor's class."""

    def __init__(
        self,
        where: str,
        name: str,
        load_options: Mapping[str, Any],
        dictionaries: Sequence[AttachedDictionary],
    ) -> None:
        from clerestory.models import load

        self.store = Store(where)
        # Each actor loads its own copy: models cannot be sent between processes.
        self.model = load(name, **load_options)
        for each in dictionaries:
            self.model.attach(each.dictionary, each.name, site=each.base)
        # Another machine may have another version of the weights.
        check_model(self.model, self.store.plan.model)

    def fill(self, chunk: int) -> int:
        """Fill one chunk, unless it is complete.

        Args:
            chunk: Index of the chunk.

        Returns:
            Number of samples of the chunk.
        """
        from clerestory.recordings.writer import fill_chunk

        # A task that Ray repeats may have been finished by the actor that was lost.
        if not self.store.markers.is_complete(chunk):
            fill_chunk(self.store, self.model, chunk)
        return len(self.store.plan.rows(chunk))


def fill_with_ray(
    store: Store,
    load_options: Mapping[str, Any],
    *,
    address: str | None = None,
    workers: int = 2,
    gpus_per_worker: float = 0.0,
    dictionaries: Sequence[AttachedDictionary] = (),
    progress: Progress | None = None,
) -> None:
    """Fill every missing chunk with Ray actors.

    Args:
        store: The recording, with its plan.
        load_options: Arguments of `load` besides the model's name.
        address: Address of a cluster, or `auto` for one that runs on this machine; None starts a
            local one and stops it at the end.
        workers: Number of actors, each with a model of its own; at most one per chunk to fill.
        gpus_per_worker: Resources that Ray reserves; a fraction shares a GPU.
        dictionaries: Dictionaries whose latents the plan reads.
        progress: Receives the number of complete samples.

    Raises:
        RecordingError: Ray is not installed, the cluster cannot be joined, `workers` is below 1, or
            a worker is lost for good.
        ClerestoryError: A worker raised it while it filled a chunk.
    """
    check_minimum(RecordingError, 1, workers=workers)
    missing = store.markers.incomplete_chunks()
    store.restore_complete(missing)
    if not missing:
        return
    count = min(workers, len(missing))
    with cluster(address, count, RecordingError) as ray:
        # Preemptible machines come and go, so actors restart without limit; a chunk whose actor is
        # lost is tried four times in all.
        actor_class = ray.remote(
            num_cpus=1, num_gpus=gpus_per_worker, max_restarts=-1, max_task_retries=3
        )(_Worker)
        name = store.plan.model.name
        where = store.folder.url
        pool = [
            actor_class.remote(where, name, dict(load_options), list(dictionaries))
            # No more actors than chunks: each takes the memory of a model.
            for _ in range(count)
        ]
        _fill_chunks(ray, pool, store, missing, progress)


def _fill_chunks(
    ray: Any,
    pool: list[Any],
    store: Store,
    missing: list[int],
    progress: Progress | None,
) -> None:
    from ray.util import ActorPool

    total = len(store.plan)
    completed = total - sum(len(store.plan.rows(chunk)) for chunk in missing)
    # In any order: chunks are independent, and some take longer.
    filled = ActorPool(pool).map_unordered(lambda actor, chunk: actor.fill.remote(chunk), missing)
    try:
        for rows in filled:
            completed += rows
            if progress is not None:
                progress("recording", completed, total)
    except ray.exceptions.RayTaskError as error:
        # The worker's own error is more specific than that a task failed.
        raise cause(error, RecordingError) from error
    except ray.exceptions.RayActorError as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else "it was lost"
        raise RecordingError(f"A worker cannot go on: {reason[:300]}") from error
