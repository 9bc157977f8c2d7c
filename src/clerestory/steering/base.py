"""What an edit is, and how edits are written down.

An edit is a value: frozen, callable `[sample, position, unit]` to the same, free of hooks. One file
an edit, one registration:

    @edits.register("add")
    @dataclass(frozen=True, eq=False)
    class Add: ...
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from clerestory.errors import EditError
from clerestory.models.addresses import parse
from clerestory.models.base import Branch, Edit
from clerestory.registry import Registry

__all__ = ["Edit", "SavedEdit", "check_width", "edits", "name_of", "vector_of"]


class SavedEdit(Protocol):
    """An edit that can be written down: settings to JSON, tensors to safetensors."""

    @property
    def site(self) -> str:
        """The address of the site that it changes."""

    @property
    def branch(self) -> Branch:
        """The branch of guidance that it changes."""

    def __call__(self, value: Tensor) -> Tensor:
        """The changed activation, of the same shape."""

    def settings(self) -> dict[str, Any]:
        """All of it that is no tensor, for JSON."""

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""

    @classmethod
    def restored(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit again, from what `settings` and `tensors` gave."""


def vector_of(site: str, direction: ArrayLike | Tensor) -> NDArray[np.float64]:
    """A direction `[unit]` for a whole site; EditError for anything else."""
    if parse(site).units is not None:
        raise EditError(f"An edit changes a whole site, not single units: got {site!r}.")
    given = direction.detach().cpu().numpy() if isinstance(direction, Tensor) else direction
    vector = np.array(given, dtype=np.float64)
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise EditError(
            f"The direction for {site} has shape {list(vector.shape)} or is not finite; expected "
            "one finite number for each unit."
        )
    return vector


def check_width(site: str, vector: Tensor, value: Tensor) -> None:
    """EditError where an activation has another number of units than a direction."""
    if value.shape[-1] != len(vector):
        raise EditError(
            f"The direction for {site} has {len(vector)} units and the site has {value.shape[-1]}."
        )


edits: Registry[type[SavedEdit]] = Registry("edit")
"""The kinds of edits by the name that a saved model knows them by."""


def name_of(edit: Edit) -> str:
    """The name that an edit's kind is registered under; EditError where it is not."""
    for name, kind in edits.items():
        if type(edit) is kind:
            return name
    raise EditError(
        f"A {type(edit).__name__} cannot be saved: its kind is not registered. "
        f"Kinds that can: {', '.join(sorted(edits))}."
    )
