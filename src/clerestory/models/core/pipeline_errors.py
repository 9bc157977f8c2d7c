"""Errors of pipelines as one line of Clerestory's, with what to change."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from clerestory.errors import ModelError, describe_error
from clerestory.models.core.family import Family
from clerestory.models.core.types import Options

__all__ = ["PIPELINE_ERRORS", "is_out_of_memory", "pipeline_error"]

PIPELINE_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What code of other libraries raises for options, inputs or parts that do not fit."""

MESSAGES = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""What torch says in errors of no class of their own: its CPU and MPS allocators, cuBLAS."""


def pipeline_error(family: Family, options: Options, batch: int, error: Exception) -> ModelError:
    """What to say where a pipeline fails.

    Args:
        family: The family.
        options: How it was to draw.
        batch: How many samples together.
        error: What it raised.

    Returns:
        The error, with the options.
    """
    given = {name: getattr(options, name) for name in family.option_names}
    listed = ", ".join(f"{name}={value!r:.40}" for name, value in given.items())
    advice = "change these options, or the pipeline"
    if is_out_of_memory(error):
        lower = f"lower batch ({batch}) or the size" if batch > 1 else "lower the size"
        advice = f"memory ran out: {lower}, or open the model with offload"
    return ModelError(
        f"{type(family.pipeline).__name__} failed with {type(error).__name__} "
        f"({describe_error(error, 300)}) when it drew with {listed}: {advice}."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that caused it, says that memory ran out.

    Args:
        error: The error.

    Returns:
        True for errors of Python, of torch's allocators, and of those whose cause is one.
    """
    return any(
        isinstance(each, MemoryError | torch.OutOfMemoryError)
        or (isinstance(each, RuntimeError) and any(text in str(each) for text in MESSAGES))
        for each in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
