"""How the values of a site, or pictures, lie on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from clerestory.errors import RecordingError, SiteError
from clerestory.io.reading import check_count, check_relative_path
from clerestory.io.validation import validate
from clerestory.models.core.addresses import parse

if TYPE_CHECKING:
    from clerestory.recordings.plan import Plan

__all__ = ["MOST_SAMPLE", "PICTURES", "Layout", "layouts_of"]

PICTURES = "pictures"
DTYPES = ("float16", "float32")
MOST_SAMPLE = 4 * 2**30
"""Bytes of one sample at one site."""
MOST_UNITS = 2**24
"""Along any axis: a coordinate has as many numbers."""


@dataclass(frozen=True)
class Layout:
    """How one array lies on disk.

    Attributes:
        dtype: `float16` or `float32` of a site, `uint8` of pictures.
        shape: Without `sample`.
        dims: The dimensions' names, without `sample`.
        labels: The steps with their timesteps and sigmas, and the units where not all are read.
    """

    dtype: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    labels: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """How much one sample takes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def layouts_of(arrays: Any, where: str, plan: Plan) -> dict[str, Layout]:
    """The arrays of a manifest.

    Args:
        arrays: What the manifest has under `arrays`, perhaps altered.
        where: The manifest, for error messages.
        plan: The recording's plan.

    Returns:
        Layouts by site, and of `pictures`.

    Raises:
        RecordingError: They could not have been recorded.
    """
    found: dict[str, Layout] = validate(dict[str, Layout], arrays, where, RecordingError)
    for name, layout in found.items():
        check_relative_path(name, where, RecordingError)
        # An unknown dtype counts as nothing and is refused below; numpy would raise at its name.
        size = layout.bytes if layout.dtype in (*DTYPES, "uint8") else 0
        check_count(f"{where}: {name[:80]}", RecordingError, size, MOST_SAMPLE, "bytes a sample")
        sizes = layout.shape or (0,)
        fine = size > 0 and min(sizes) >= 1 and max(sizes) <= MOST_UNITS
        if not fine or len(layout.shape) != len(layout.dims):
            raise RecordingError(
                f"{where} was altered: {name[:80]!r} is {layout.dtype[:20]!r} {layout.shape[:8]} "
                "a sample; expected positive sizes of float16, float32 or uint8."
            )
        _check_dims(name, layout, where)
    return found


def _check_dims(name: str, layout: Layout, where: str) -> None:
    """RecordingError where an array's dims or their labels are others than the recorder's."""
    if name == PICTURES:
        fine = layout.dims == ("height", "width", "channel") and layout.dtype == "uint8"
        fine = fine and layout.shape[-1] == 3
    else:
        fine = layout.dims in (("step", "unit"), ("step", "position", "unit"))
        fine = fine and layout.dtype in DTYPES and _is_site(name) and "step" in layout.labels
        sizes = dict(zip(layout.dims, layout.shape, strict=True))
        for label, values in layout.labels.items():
            axis = "unit" if label == "unit" else "step"
            fine = fine and label in LABELS and isinstance(values, list)
            fine = fine and len(values) == sizes[axis] and all(map(LABELS[label], values))
    if not fine:
        raise RecordingError(
            f"{where} was altered: the dims or labels of {name[:80]!r} do not fit."
        )


def _is_site(name: str) -> bool:
    try:
        read = parse(name)
    except SiteError:
        return False
    # A site is a group's name: what a pattern or a part of a site is written with would name
    # another one when it is read.
    return read.site == name and not any(sign in name for sign in "*?[]@")


def _is_index(value: Any) -> bool:
    # bool is a subclass of int, and JSON has both.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


LABELS = {"step": _is_index, "unit": _is_index, "timestep": _is_number, "sigma": _is_number}
"""What labels an array's dims may have."""
