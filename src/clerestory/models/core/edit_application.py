"""Applies edits to values at a site, and checks what they return."""

from __future__ import annotations

from torch import Tensor

from clerestory.errors import EditError
from clerestory.models.core.regions import Layout, in_layout
from clerestory.models.core.rows import (
    flatten_positions,
    merge_branches,
    restore_shape,
    split_branches,
)
from clerestory.models.core.types import Edit

__all__ = ["apply_edit", "edit_in_place"]


def edit_in_place(edit: Edit, part: Tensor, merged_samples: int, channels_last: bool) -> None:
    """Let an edit change a part of a copy.

    Args:
        edit: The edit.
        part: A view into the copy.
        merged_samples: The number of samples where the rows of branches cannot be told apart, else
            0.
        channels_last: As in `flatten_positions`.

    Raises:
        EditError: As `apply_edit`.
    """
    flat = flatten_positions(part, channels_last)
    # Edits see one row for each sample, as taps do.
    before = merge_branches(flat, merged_samples) if merged_samples else flat
    layout = Layout.of(part.shape, channels_last, merged_samples)
    after = apply_edit(in_layout(edit, layout), before)
    after = split_branches(after, len(flat)) if merged_samples else after
    if after.untyped_storage().data_ptr() == part.untyped_storage().data_ptr():
        after = after.clone()  # torch refuses to copy a tensor onto another view of itself
    part.copy_(restore_shape(after, part.shape, channels_last))


def apply_edit(edit: Edit, before: Tensor) -> Tensor:
    """Apply an edit, and check what it returns.

    Args:
        edit: The edit.
        before: Activations, `[sample, position, unit]`.

    Returns:
        The changed activations.

    Raises:
        EditError: It is no tensor, or one of another shape.
    """
    after = edit(before)
    if not isinstance(after, Tensor):
        found = "None" if after is None else f"a value of type {type(after).__name__}"
        raise EditError(
            f"The edit at {edit.site!r} returned {found}; an edit must return a tensor of the "
            "shape that it was given."
        )
    if after.shape != before.shape:
        raise EditError(
            f"The edit at {edit.site!r} returned shape {list(after.shape)} for an activation "
            f"of shape {list(before.shape)}; an edit must keep the shape."
        )
    return after
