"""Observations kept for pipelines like the one that was probed: in this process, and on disk.

A probe of a large offloaded pipeline takes minutes, and every command is a process of its own. What
is kept are shapes, orders of calls and branches: no weights, no pictures, nothing that runs.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import nn

from clerestory.errors import ClerestoryError, ModelError
from clerestory.io.caches import cache_folder
from clerestory.io.reading import read_json
from clerestory.io.writing import atomic_file
from clerestory.models.core.pipeline_state import pipeline_parts
from clerestory.models.core.probe import ModuleTrace, StagePattern
from clerestory.models.families.observations import Mode, Observations

__all__ = ["find_observations", "keep_observations"]

LIBRARIES = ("clerestory", "diffusers", "torch", "transformers")
"""Whose versions decide how a pipeline runs, and what is learned of it."""

_OBSERVATIONS: dict[str, Observations] = {}
"""By digest of a pipeline."""


@dataclass
class _Record:
    """Observations as JSON has them: its objects have no keys but strings."""

    options: dict[str, int]
    modules: dict[str, ModuleTrace]
    inputs: dict[str, list[tuple[str | int, tuple[int, ...]]]]
    patterns: list[tuple[Mode, dict[str, StagePattern]]]
    batch_modes: list[Mode]


_RECORDS = TypeAdapter(_Record)


def find_observations(pipeline: Any) -> Observations | None:
    """What is known already of pipelines of the same class, configuration and modules.

    Args:
        pipeline: A pipeline.

    Returns:
        Their observations; None where none was probed.
    """
    digest = _digest(pipeline)
    if digest not in _OBSERVATIONS:
        try:
            kept = _RECORDS.validate_python(read_json(_path(digest), ModelError))
        except (ClerestoryError, OSError, ValidationError):
            # Absent or damaged: the pipeline is probed again.
            return None
        _OBSERVATIONS[digest] = Observations(
            options=kept.options,
            modules=kept.modules,
            inputs={stage: dict(shapes) for stage, shapes in kept.inputs.items()},
            patterns=dict(kept.patterns),
            batch_modes=set(kept.batch_modes),
        )
    return _OBSERVATIONS[digest]


def keep_observations(pipeline: Any, observations: Observations) -> None:
    """Keep what was learned of a pipeline; nothing where that failed.

    Args:
        pipeline: The pipeline.
        observations: What was learned.
    """
    if observations.failure:
        return
    digest = _digest(pipeline)
    _OBSERVATIONS[digest] = observations
    record = _Record(
        options=observations.options,
        modules=dict(observations.modules),
        inputs={stage: list(shapes.items()) for stage, shapes in observations.inputs.items()},
        patterns=list(observations.patterns.items()),
        batch_modes=sorted(observations.batch_modes),
    )
    path = _path(digest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as part:
            part.write_bytes(_RECORDS.dump_json(record))
    except (ClerestoryError, OSError):
        # A home that cannot be written to costs later commands a probe of their own.
        return


def _path(digest: str) -> Path:
    return cache_folder("probes") / f"{digest}.json"


def _digest(pipeline: Any) -> str:
    """A digest of the classes, configurations and modules of a pipeline's parts, and of code."""
    parts = {
        name: (
            type(part).__qualname__,
            _source_digest(type(part)),
            str(getattr(part, "config", "")),
            # A LoRA adds modules and leaves the configuration as it is.
            [path for path, _ in part.named_modules()] if isinstance(part, nn.Module) else [],
        )
        for name, part in pipeline_parts(pipeline).items()
    }
    kind = type(pipeline)
    libraries = [version(name) for name in LIBRARIES]
    described = [kind.__module__, kind.__qualname__, _source_digest(kind), parts, libraries]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _source_digest(kind: type) -> str:
    """A digest of a class's source; "" where there is none, as of builtin classes.

    A pipeline of somebody's own is edited between two commands, and keeps its name.
    """
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(source.encode()).hexdigest()
