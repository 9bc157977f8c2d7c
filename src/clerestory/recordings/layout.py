"""How an array of a recording lies on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from clerestory.errors import RecordingError, SiteError
from clerestory.io.fields import value_of
from clerestory.io.reading import check_count, relative
from clerestory.models.core.addresses import parse

if TYPE_CHECKING:
    from clerestory.recordings.plan import Plan

__all__ = ["MOST_CHUNK", "MOST_SAMPLE", "PICTURES", "Layout", "layouts_of"]

PICTURES = "pictures"
DTYPES = ("float16", "float32")
MOST_SAMPLE = 4 * 2**30
"""Bytes of one sample at one site."""
MOST_CHUNK = 4 * 2**30
"""Bytes that one chunk of pictures may unpack to."""


@dataclass(frozen=True)
class Layout:
    """One array: its dtype, its shape without the samples, its axes, their labels.

    `labels` has the steps with their timesteps and sigmas, and the units where not all are read.
    """

    dtype: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    labels: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """How much one sample takes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def layouts_of(told: Any, where: str, plan: Plan) -> dict[str, Layout]:
    """The arrays of a manifest; RecordingError where they could not have been recorded."""
    found: dict[str, Layout] = value_of(Mapping[str, Layout], told, where, RecordingError)
    for name, layout in found.items():
        relative(name, where, RecordingError)
        size = layout.bytes if layout.dtype in (*DTYPES, "uint8") else 0
        check_count(f"{where}: {name[:80]}", RecordingError, size, MOST_SAMPLE, "bytes a sample")
        if size <= 0 or min(layout.shape, default=0) < 1 or len(layout.shape) != len(layout.axes):
            raise RecordingError(
                f"{where} was altered: {name[:80]!r} is {layout.dtype[:20]!r} {layout.shape[:8]} "
                "a sample; expected positive sizes of float16, float32 or uint8."
            )
        if name == PICTURES:
            size *= min(plan.chunk, len(plan))
            check_count(f"{where}: {name}", RecordingError, size, MOST_CHUNK, "bytes a chunk")
        _check_axes(name, layout, where)
    return found


def _check_axes(name: str, layout: Layout, where: str) -> None:
    """RecordingError where an array's axes or their labels are others than the recorder's."""
    if name == PICTURES:
        fine = layout.axes == ("height", "width", "channel") and layout.dtype == "uint8"
        fine = fine and layout.shape[-1] == 3
    else:
        fine = layout.axes in (("step", "unit"), ("step", "position", "unit"))
        fine = fine and layout.dtype in DTYPES and _is_site(name) and "step" in layout.labels
        sizes = dict(zip(layout.axes, layout.shape, strict=True))
        for label, values in layout.labels.items():
            axis = "unit" if label == "unit" else "step"
            fine = fine and label in LABELS and isinstance(values, list)
            fine = fine and len(values) == sizes[axis] and all(map(LABELS[label], values))
    if not fine:
        raise RecordingError(
            f"{where} was altered: the axes or labels of {name[:80]!r} do not fit."
        )


def _is_site(name: str) -> bool:
    try:
        read = parse(name)
    except SiteError:
        return False
    return read.site == name and not any(sign in name for sign in "*?[]@")


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


LABELS = {"step": _is_index, "unit": _is_index, "timestep": _is_number, "sigma": _is_number}
"""What labels an array's axes may have."""
