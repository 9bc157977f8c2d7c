"""What runs on a worker: it holds a model, and computes parts of calls with it."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from clerestory.errors import ModelError, describe_error
from clerestory.models.core.parts import Part, PartWork
from clerestory.models.core.pipeline_state import hold_pipeline
from clerestory.models.provenance import model_identity
from clerestory.models.workers.alignment import restore_alignments

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["COMPARED", "Failure", "PartWorker", "pack", "unpack"]

COMPARED = ("weights", "values", "settings", "dtype", "dictionaries")
"""What models of two processes must have in common, by the names of `model_identity`."""


@dataclass(frozen=True)
class Failure:
    """An error in the place of a result.

    Attributes:
        error: The error.
    """

    error: Exception


class PartWorker:
    """Computes parts; the actor's class. Model and work come with the first part that needs them.

    So a worker that is started again needs no more than the next part.
    """

    def __init__(self) -> None:
        self._model: Model | None = None
        self._model_key = self._work_key = ""
        self._opened = ExitStack()
        self._compute: Callable[[Part], Any] | None = None

    def start(self) -> None:
        """Answer that it runs."""

    def compute(
        self, model: tuple[str, list[Any]], work: tuple[str, list[Any]], threads: int, part: Part
    ) -> bytes:
        """Compute a part.

        Args:
            model: A key, and in a list, so that it is fetched only when needed, a reference to the
                pickled model, its identity, and the alignment of its weights.
            work: A key, and so the pickled work.
            threads: Threads of torch.
            part: The part.

        Returns:
            The packed result, or the packed `Failure`.
        """
        try:
            # Sums of another number of threads are rounded otherwise.
            torch.set_num_threads(threads)
            return pack(self._open(model, work)(part))
        # Whatever an edit, an objective or a pipeline raises is raised again where it was called.
        except Exception as error:
            self._close()
            return _pack_failure(error)

    def _open(
        self, model: tuple[str, list[Any]], work: tuple[str, list[Any]]
    ) -> Callable[[Part], Any]:
        import ray

        key, (reference,) = model
        if self._model is None or key != self._model_key:
            self._close()
            # Before the next one is opened, for which there may be no room beside it.
            self._model = None
            opened, identity, offsets = unpack(ray.get(reference))
            _check_identity(opened, identity)
            restore_alignments(opened, offsets)
            self._model, self._model_key = opened, key
        key, (reference,) = work
        if self._compute is None or key != self._work_key:
            self._close()
            self._opened.enter_context(hold_pipeline(self._model.pipeline))
            self._model.rebind()
            unpacked = _unpack_work(ray.get(reference))
            self._compute = self._opened.enter_context(unpacked.open(self._model))
            self._work_key = key
        return self._compute

    def _close(self) -> None:
        self._compute = None
        self._opened.close()


def pack(value: Any) -> bytes:
    """Pickle a value, functions that were defined on the way included.

    Args:
        value: The value.

    Returns:
        Bytes. Arrays that Ray itself pickles cannot be written to where they arrive.
    """
    from ray import cloudpickle

    packed: bytes = cloudpickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return packed


def unpack(data: bytes) -> Any:
    """Restore what `pack` gave.

    Args:
        data: The bytes.

    Returns:
        The value.
    """
    return pickle.loads(data)


def _unpack_work(data: bytes) -> PartWork:
    try:
        work: PartWork = unpack(data)
    # What unpickling raises for a module or name that is not on this machine.
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"What is asked for cannot be read on a worker ({describe_error(error, 200)}): edits "
            "and objectives must be of modules that are installed there, or be defined in the "
            "notebook or script itself."
        ) from error
    return work


def _pack_failure(error: Exception) -> bytes:
    error.add_note(f"On a worker:\n{traceback.format_exc()}")
    error = error.with_traceback(None)
    try:
        packed = pack(Failure(error))
        unpack(packed)
    # Errors of other libraries may hold what cannot be pickled, or not be made of their arguments.
    except Exception:
        packed = pack(Failure(ModelError(f"A worker failed: {describe_error(error, 300)}")))
    return packed


def _check_identity(model: Model, expected: Mapping[str, Any]) -> None:
    """ModelError for another model than that of the caller, as of other files at the same place."""
    found = model_identity(model)
    for name in COMPARED:
        if found.get(name) != expected.get(name):
            raise ModelError(
                f"A worker has opened another {model.name} than this process ({name}: "
                f"{found.get(name)} there, {expected.get(name)} here): give all machines the same "
                "files, and workers the same kind of device."
            )
