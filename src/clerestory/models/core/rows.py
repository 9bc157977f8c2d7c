"""Activations as `[sample, position, unit]`, from tensors of any layout and lists of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

import torch
from torch import Tensor

from clerestory.errors import SiteError
from clerestory.models.core.family import SiteHook

__all__ = [
    "JoinedRows",
    "Rows",
    "copy_layout",
    "flatten_positions",
    "is_row_list",
    "join_rows",
    "merge_branches",
    "restore_shape",
    "split_branches",
]

Rows: TypeAlias = Tensor | list[Tensor] | tuple[Tensor, ...]
"""A batch of activations: one tensor, or a tensor without a batch axis for each row."""


def flatten_positions(value: Tensor, channels_last: bool | None = None) -> Tensor:
    """View any activation as `[sample, position, unit]`.

    Args:
        value: `[sample, unit]` (one position), `[sample, position, unit]`, or a map
            `[sample, unit, height, width]` (height × width positions).
        channels_last: Whether the last of three axes or more is the units', rather than the second;
            None for maps, of four axes or more, with the second.

    Returns:
        `[sample, position, unit]`; a view where torch can make one.
    """
    if value.ndim < 3:
        return value.reshape(-1, 1, value.shape[-1] if value.ndim else 1)
    last = value.ndim < 4 if channels_last is None else channels_last
    return value.flatten(1, -2) if last else value.flatten(2).transpose(1, 2)


def restore_shape(value: Tensor, shape: Sequence[int], channels_last: bool | None = None) -> Tensor:
    """Invert `flatten_positions`.

    Args:
        value: `[sample, position, unit]`.
        shape: The shape before, of two dimensions or more.
        channels_last: As in `flatten_positions`.

    Returns:
        A tensor of that shape; a view where torch can make one.
    """
    last = len(shape) < 4 if channels_last is None else channels_last
    return value.reshape(shape) if last or len(shape) < 3 else value.transpose(1, 2).reshape(shape)


def copy_layout(value: Tensor) -> Tensor:
    """Copy a tensor with its dtype and strides, so that the same kernels run on the copy.

    Args:
        value: Any tensor.

    Returns:
        The copy.
    """
    return torch.empty_like(value, memory_format=torch.preserve_format).copy_(value)


def merge_branches(value: Tensor, samples: int) -> Tensor:
    """Rearrange `[branch × sample, position, unit]` as `[sample, branch × position, unit]`.

    Args:
        value: The rows of all branches of guidance.
        samples: The number of samples.

    Returns:
        One row for each sample; the same tensor where the rows are no multiple of the samples, and
        so cannot be assigned to them.
    """
    if len(value) % samples:
        return value
    _, positions, units = value.shape
    by_sample = value.reshape(-1, samples, positions, units).transpose(0, 1)
    return by_sample.reshape(samples, -1, units)


def split_branches(value: Tensor, rows: int) -> Tensor:
    """Invert `merge_branches`.

    Args:
        value: `[sample, branch × position, unit]`.
        rows: The number of rows before.

    Returns:
        `[branch × sample, position, unit]`.
    """
    samples, _, units = value.shape
    if rows == samples:
        return value
    by_branch = value.reshape(samples, rows // samples, -1, units).transpose(0, 1)
    return by_branch.reshape(rows, -1, units)


def is_row_list(value: Any) -> TypeGuard[list[Tensor] | tuple[Tensor, ...]]:
    """Whether a value is a list of tensors, one for each row.

    Args:
        value: Any value.

    Returns:
        True for a list or tuple of tensors that is not empty.
    """
    is_sequence = isinstance(value, list | tuple) and bool(value)
    return is_sequence and all(isinstance(row, Tensor) for row in value)


@dataclass(frozen=True)
class JoinedRows:
    """The tensors of a list as one.

    Attributes:
        tensor: `[row, …]`, or `[1, position, unit]` where rows have different shapes.
        channels_last: Whether its last axis is the units'.
        split: From a tensor of that shape to a list like the one before.
    """

    tensor: Tensor
    channels_last: bool
    split: Callable[[Tensor], list[Tensor]]


def join_rows(site_hook: SiteHook, rows: Sequence[Tensor], *, ragged: bool) -> JoinedRows:
    """Join the tensors that a module takes or gives, one for each row.

    Args:
        site_hook: The hook of the site.
        rows: Tensors without a batch axis.
        ragged: Whether all rows are one sample's, so that their positions may follow one another.

    Returns:
        The joined rows.

    Raises:
        SiteError: The rows have different shapes and are of several samples, or have different
            numbers of units.
    """
    shapes = [tuple(row.shape) for row in rows]
    channels_last = site_hook.has_channels_last((1, *shapes[0]))
    if len(set(shapes)) == 1:
        return JoinedRows(torch.stack(list(rows)), channels_last, lambda joined: [*joined])
    flat = [flatten_positions(row[None], channels_last)[0] for row in rows]
    if not ragged or len({part.shape[-1] for part in flat}) > 1:
        raise SiteError(
            f"{site_hook.site.address} is a list of tensors of the shapes "
            f"{', '.join(str(list(shape)) for shape in shapes)}, which are no activations of one "
            "site; draw one sample at a time (batch=1)."
        )

    def split(joined: Tensor) -> list[Tensor]:
        parts = joined[0].split([len(part) for part in flat])
        return [
            restore_shape(part[None], (1, *shape), channels_last)[0]
            for part, shape in zip(parts, shapes, strict=True)
        ]

    return JoinedRows(torch.cat(flat)[None], True, split)
