"""Layout of arrays on disk: dtype, shape and labels of a site's values or of the pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict

from clerestory.errors import RecordingError, SiteError
from clerestory.io.reading import check_count, check_relative_path
from clerestory.io.validation import validate
from clerestory.models.core.addresses import parse

if TYPE_CHECKING:
    from clerestory.recordings.plan import Plan

__all__ = ["MAX_SAMPLE_BYTES", "PICTURES", "Layout", "layouts_of"]

PICTURES = "pictures"
DTYPES = ("float16", "float32")
MAX_SAMPLE_BYTES = 4 * 2**30
"""Limit of the bytes of one sample at one site."""
MAX_AXIS = 2**24
"""Limit of the length of an axis: a coordinate has as many numbers."""

Index = Annotated[int, Field(ge=0, lt=2**31)]


class Labels(TypedDict, total=False):
    """Labels of dimensions: all of `step`, and of `unit` if not all units are read.

    A step has several entries, numbered by `call`, where the site's module is called so often.
    """

    step: Sequence[Index]
    call: Sequence[Index]
    timestep: Sequence[int | float | None]
    sigma: Sequence[float | None]
    unit: Sequence[Index]


@dataclass(frozen=True)
class Layout:
    """Layout of one array.

    Attributes:
        dtype: `float16` or `float32` for a site, `uint8` for pictures.
        shape: Sizes of the dimensions without `sample`.
        dims: Names of the dimensions without `sample`.
        labels: Steps with their timesteps and sigmas, and the units if not all are read.
        units: Number of units of a site with attention heads, recorded or not; else None.
        heads: Number of attention heads, whose units follow one another; None without heads.
    """

    dtype: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    labels: Labels = field(default_factory=Labels)
    units: Index | None = None
    heads: Index | None = None

    @property
    def bytes(self) -> int:
        """Bytes of one sample."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def layouts_of(arrays: Any, where: str, plan: Plan) -> dict[str, Layout]:
    """Check the layouts of a manifest.

    Args:
        arrays: The value of `arrays` in the manifest, perhaps altered.
        where: The manifest, for error messages.
        plan: The recording's plan.

    Returns:
        Layouts by site, and of `pictures`.

    Raises:
        RecordingError: No recording has such layouts.
    """
    layouts: dict[str, Layout] = validate(dict[str, Layout], arrays, where, RecordingError)
    for name, layout in layouts.items():
        check_relative_path(name, where, RecordingError)
        # An unknown dtype counts as zero bytes, which is refused below; numpy would raise for it.
        size = layout.bytes if layout.dtype in (*DTYPES, "uint8") else 0
        check_count(
            f"{where}: {name[:80]}", RecordingError, size, MAX_SAMPLE_BYTES, "bytes a sample"
        )
        sizes = layout.shape or (0,)
        valid = size > 0 and min(sizes) >= 1 and max(sizes) <= MAX_AXIS
        if not valid or len(layout.shape) != len(layout.dims):
            raise RecordingError(
                f"{where} was altered: {name[:80]!r} is {layout.dtype[:20]!r} {layout.shape[:8]} "
                "a sample; expected positive sizes of float16, float32 or uint8."
            )
        _check_dims(name, layout, where)
    return layouts


def _check_dims(name: str, layout: Layout, where: str) -> None:
    """RecordingError if the recorder does not write such dims or labels."""
    if name == PICTURES:
        valid = layout.dims == ("height", "width", "channel") and layout.dtype == "uint8"
        valid = valid and layout.shape[-1] == 3
    else:
        # These alone are written; other dims would be misread by every later call.
        valid = layout.dims in (("step", "unit"), ("step", "position", "unit"))
        valid = valid and layout.dtype in DTYPES and _is_site(name) and "step" in layout.labels
        sizes = dict(zip(layout.dims, layout.shape, strict=True))
        labels: Mapping[str, Any] = layout.labels
        for label, values in labels.items():
            valid = valid and len(values) == sizes["unit" if label == "unit" else "step"]
        valid = valid and (layout.units is None) == (layout.heads is None)
    if not valid:
        raise RecordingError(
            f"{where} was altered: the dims or labels of {name[:80]!r} do not fit."
        )


def _is_site(name: str) -> bool:
    try:
        selection = parse(name)
    except SiteError:
        return False
    # The characters of patterns and parts of sites: such a name would select another site.
    return selection.site == name and not any(character in name for character in "*?[]@")
