"""What an edit is, and how edits are written down.

An edit is a value: frozen, callable `[sample, position, unit]` to the same, free of hooks. One file
an edit, one registration:

    @edits.register("add")
    @dataclass(frozen=True, eq=False)
    class Add(Placed): ...

Its `site` may name steps (`denoiser.mid.res.0/out@3,4`). `branch` is the branch of guidance that it
changes, cond, uncond or both; `positions` are all, or at sites of text `last` (end-of-text) or
`tokens:WORD`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from clerestory.errors import EditError
from clerestory.models.core.addresses import parse
from clerestory.models.core.types import Branch, Edit
from clerestory.registry import Registry, filled

__all__ = [
    "Edit",
    "OfNeuron",
    "Placed",
    "SavedEdit",
    "check_width",
    "edits",
    "finite",
    "known_edits",
    "name_of",
    "renormed",
    "unit_vector",
    "vector_of",
]


class SavedEdit(Protocol):
    """An edit that can be written down: settings to JSON, tensors to safetensors."""

    @property
    def site(self) -> str:
        """The address of the site that it changes."""

    @property
    def branch(self) -> Branch | Literal["both"]:
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


@dataclass(frozen=True, eq=False)
class Placed:
    """Where an edit applies."""

    site: str
    branch: Branch | Literal["both"] = field(default="cond", kw_only=True)
    positions: str = field(default="all", kw_only=True)

    @property
    def place(self) -> dict[str, Any]:
        """The same for JSON."""
        return {"site": self.site, "branch": self.branch, "positions": self.positions}


@dataclass(frozen=True, eq=False)
class OfNeuron(Placed):
    """An edit of one neuron, `text.blocks.2/mlp[311]`; `site` is the site without it."""

    unit: int = field(init=False)

    def __post_init__(self) -> None:
        read = parse(self.site)
        if read.units is None or len(read.units) != 1:
            raise EditError(f"{self.site!r} is not one neuron, such as text.blocks.2/mlp[311].")
        steps = "" if read.steps is None else f"@{','.join(map(str, read.steps))}"
        object.__setattr__(self, "unit", read.units[0])
        object.__setattr__(self, "site", read.site + steps)

    @property
    def neuron(self) -> str:
        """The address with the neuron."""
        site, at, steps = self.site.partition("@")
        return f"{site}[{self.unit}]{at}{steps}"

    def column(self, value: Tensor) -> Tensor:
        """The neuron's own activations, `[sample, position]`; EditError where it has none."""
        if self.unit >= value.shape[-1]:
            raise EditError(
                f"{self.site} has {value.shape[-1]} units and none of number {self.unit}."
            )
        return value[..., self.unit]

    @property
    def place(self) -> dict[str, Any]:
        """Where it applies, for JSON."""
        return {**super().place, "site": self.neuron}

    def tensors(self) -> dict[str, Tensor]:
        """None: all of it is in its settings."""
        return {}


def finite(site: str, what: str, value: float) -> float:
    """The number; EditError where it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise EditError(f"The {what} at {site} must be a finite number, not {value!r}.")
    return number


def unit_vector(site: str, direction: ArrayLike | Tensor) -> Tensor:
    """A direction as a float32 tensor of length one; EditError where it is zero."""
    vector = vector_of(site, direction)
    length = float(np.linalg.norm(vector))
    if length == 0:
        raise EditError(f"The direction for {site} is zero; nothing reaches along it.")
    return torch.from_numpy((vector / length).astype(np.float32))


def renormed(value: Tensor, before: Tensor) -> Tensor:
    """The value with each position as long as it was before."""
    length: Tensor = torch.linalg.vector_norm(value, dim=-1, keepdim=True).clamp_min(1e-12)
    wanted: Tensor = torch.linalg.vector_norm(before, dim=-1, keepdim=True)
    return value * (wanted / length)


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


@functools.cache
def known_edits() -> Registry[type[SavedEdit]]:
    """The kinds of edits, with those of installed plug-ins (entry points `clerestory.edits`)."""
    return filled(edits, "clerestory.edits", "clerestory.edits")


def name_of(edit: Edit) -> str:
    """The name that an edit's kind is registered under; EditError where it is not."""
    for name, kind in known_edits().items():
        if type(edit) is kind:
            return name
    raise EditError(
        f"A {type(edit).__name__} cannot be saved: its kind is not registered. "
        f"Kinds that can: {', '.join(sorted(known_edits()))}."
    )
