"""Whether everything that a model computes for a sample is finite.

A picture of NaN would be black, and a classifier would give it a class like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clerestory.errors import EditError, ModelError
from clerestory.models.core.activations import Batch
from clerestory.models.core.hooks import watch_outputs
from clerestory.models.core.types import Edit, Sample
from clerestory.types import Bools, Floats, Pictures

__all__ = ["StageCheck", "check_finite", "check_gradient", "is_finite", "to_pictures"]


class StageCheck:
    """Notes the samples of a batch for which a stage gives a value that is not finite.

    Args:
        rows: The samples of the batch, by their numbers in the run.
    """

    def __init__(self, rows: range) -> None:
        self.rows = rows
        self._rows: Counter[str] = Counter()
        self._finite: list[tuple[str, Tensor, list[int]]] = []

    def watch(self, stage_modules: Mapping[str, nn.Module]) -> AbstractContextManager[None]:
        """Check what these modules return, for as long as the context is open.

        Args:
            stage_modules: The modules by stage.

        Returns:
            The context.
        """
        return watch_outputs(stage_modules, self._note)

    def reasons(self) -> dict[int, str]:
        """The samples that are not finite, each with the first stage at which that showed."""
        reasons: dict[int, str] = {}
        for stage, finite, rows in self._finite:
            # Copied here, after the run: a copy at each step would make an accelerator wait.
            for row, good in zip(rows, finite.tolist(), strict=True):
                if not good:
                    reasons.setdefault(row, f"{stage}: not finite")
        return reasons

    def _note(self, stage: str, output: Any) -> None:
        finite = _finite_rows(output)
        if finite is None:
            return
        start, count = self._rows[stage], len(finite)
        self._rows[stage] += count
        # Branches of guidance follow each other, each with a row for each sample; a sliced
        # autoencoder is called for some of the samples at a time.
        rows = [self.rows[(start + row) % len(self.rows)] for row in range(count)]
        self._finite.append((stage, finite, rows))


def _finite_rows(output: Any) -> Tensor | None:
    """Whether each row of a module's output is finite; None for an output without numbers."""
    if isinstance(output, Mapping):
        output = next(iter(output.values()), None)
    elif isinstance(output, tuple):
        output = output[0] if output else None
    if isinstance(output, list):
        # Some transformers return a tensor for each sample.
        parts = [part for part in output if isinstance(part, Tensor)]
        return torch.stack([part.isfinite().all() for part in parts]) if parts else None
    if not isinstance(output, Tensor) or not output.is_floating_point() or not output.ndim:
        return None
    return output.detach().isfinite().reshape(len(output), -1).all(1)


def is_finite(values: Floats) -> bool:
    """Whether all values are finite, by their sum, which takes one pass without a copy.

    Args:
        values: Numbers of any shape.

    Returns:
        False also where the sum of finite values overflows, so that False needs an exact check.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.isfinite(values.sum(dtype=np.float32)))


def to_pictures(values: NDArray[Any]) -> tuple[Pictures, Bools]:
    """Pictures as bytes, with the samples whose values are finite.

    Args:
        values: `[sample, height, width, 3]`, from 0 to 1, or uint8 already.

    Returns:
        uint8, black where a value is not finite, and a flag for each sample.
    """
    if values.dtype == np.uint8:
        return values, np.ones(len(values), bool)
    finite = np.ones(len(values), bool)
    if not is_finite(values):
        finite = np.isfinite(values).reshape(len(values), -1).all(1)
        values = np.where(np.isfinite(values), values, 0)
    # Clipped: some pipelines return values a little beyond 0 to 1, which would wrap around.
    pictures: Pictures = (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
    return pictures, finite


def check_finite(
    samples: Sequence[Sample],
    rows: range,
    bad: Mapping[int, str],
    read: Batch,
    edits: Sequence[Edit],
) -> None:
    """Check that everything that was drawn and read of a batch is finite.

    Args:
        samples: The samples of the run.
        rows: Those of the batch.
        bad: Samples that are not finite, as `StageCheck.reasons`.
        read: What was read.
        edits: The edits of the run, for the message.

    Raises:
        EditError: Values are not finite, and there are edits.
        ModelError: Values are not finite without an edit.
    """
    reasons = dict(bad)
    for address, (_, values) in read.items():
        if not is_finite(values):
            finite = np.isfinite(values).reshape(len(values), -1).all(1)
            for row in np.flatnonzero(~finite).tolist():
                reasons.setdefault(rows[row], f"{address}: not finite")
    if not reasons:
        return
    row = min(reasons)
    text = (
        f"Values of {len(reasons)} of {len(rows)} samples are not finite, first at "
        f"{reasons[row].partition(':')[0]} of {samples[row].prompt[:60]!r} with seed "
        f"{samples[row].seed}"
    )
    if edits:
        sites = ", ".join(dict.fromkeys(edit.site for edit in edits))
        raise EditError(f"{text}: lower the strength of the edit at {sites}.")
    raise ModelError(
        f"{text}: the weights have NaN, or their precision cannot hold the values; open the model "
        "with another dtype, such as float32."
    )


def check_gradient(address: str, kept: Floats) -> None:
    """Check what a sink keeps of a gradient.

    Args:
        address: The site.
        kept: The gradient, or what was made of it.

    Raises:
        ModelError: It is not finite.
    """
    # Of what is kept alone: the whole gradient is much larger.
    if np.isfinite(kept).all():
        return
    raise ModelError(
        f"The gradient at {address} is not finite: the objective has none there, the weights have "
        "NaN, or their precision cannot hold the values; open the model with another dtype, such "
        "as float32."
    )
