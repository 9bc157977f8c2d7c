"""The base classes of edits: application, serialization, and the form as an affine map.

A new edit is one file and one registration:

    @edits.register("add")
    @dataclass(frozen=True, eq=False)
    class Add(SiteEdit): ...

A plug-in package names its module as an entry point of the group `clerestory.edits`.
"""

from __future__ import annotations

import functools
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from torch import Tensor
from typing_extensions import override

from clerestory.arguments import checked
from clerestory.checks import number_array
from clerestory.errors import EditError
from clerestory.models.core.addresses import parse
from clerestory.models.core.regions import MASK, REGION, as_region, split_region
from clerestory.models.core.types import Branch, Edit
from clerestory.registry import Registry

__all__ = [
    "Affine",
    "DirectionEdit",
    "Edit",
    "EditBranch",
    "SiteEdit",
    "UnitEdit",
    "affine_identity",
    "edits",
    "name_of",
    "normalised_direction",
    "rescaled",
    "single_precision",
    "site_direction",
]

MAX_NUMBER = float(np.finfo(np.float32).max)
"""Limit of settings: edits compute in float32."""
EditBranch = Branch | Literal["both"]
Positions = Annotated[str, Field(pattern=r"^(all|last|tokens|tokens:.+)$")]


class Affine(NamedTuple):
    """The map `matrix @ x + bias` of every position, in float64.

    Attributes:
        matrix: `[unit, unit]`.
        bias: `[unit]`.
    """

    matrix: Tensor
    bias: Tensor


# Compared by identity (`eq=False`): tensors compare element by element, so a generated `__eq__`
# would fail, and edits could not be keys.
@dataclass(frozen=True, eq=False)
class SiteEdit:
    """Base class of edits of one site.

    A subclass implements `__call__` and, if it is affine, `as_affine`.

    Attributes:
        site: Address of the site, perhaps at some steps (`denoiser.mid.res.0/out@3,4`).
        branch: Branch of guidance that is changed.
        positions: `all`, padding included; at text sites also `tokens` (the prompt's own, without
            padding), `last` (end of text) or `tokens:WORD`.
        region: Where in the picture, at sites with positions of the picture: a mask `[y, x]` of the
            whole picture (booleans, or shares from 0 to 1), resampled by area; a name (`left half`,
            `right half`, `top half`, `bottom half`, `centre`); or a word of the prompt, whose
            attention map is the mask (`word:centre` for a word that is also a name). None for
            everywhere. A share between 0 and 1 goes so far from the value to the edited one.
    """

    site: str
    branch: EditBranch = field(default="cond", kw_only=True)
    positions: Positions = field(default="all", kw_only=True)
    region: ArrayLike | Tensor | None = field(default=None, kw_only=True, repr=False)
    tensor_fields: ClassVar[Mapping[str, str]] = {}
    """Fields that are saved as tensors, and the attribute that holds each as a tensor."""

    def __post_init__(self) -> None:
        # The usual way around `frozen`. A copy: the caller may change the array later.
        object.__setattr__(self, "region", as_region(self.region, self.site))

    @property
    def address(self) -> str:
        """The address that the constructor takes, with the unit of an edit of one unit."""
        return self.site

    @property
    def units(self) -> int | None:
        """Number of units that the site must have; None for any number."""
        return None

    def __call__(self, value: Tensor) -> Tensor:
        """Apply the edit.

        Args:
            value: Activations, `[sample, position, unit]`.

        Returns:
            The changed activations: a new tensor of the same shape, dtype and device.

        Raises:
            EditError: The edit does not fit the activations.
        """
        raise NotImplementedError

    def as_affine(self, units: int) -> Affine | None:
        """The edit as an affine map, which steering folds into weights.

        Args:
            units: Number of units of the site.

        Returns:
            The map in float64, or None if the edit is not affine or differs between samples.
        """
        return None

    def nearest_affine(self, units: int) -> SiteEdit | None:
        """The most similar affine edit, suggested if this one cannot be folded into weights.

        Args:
            units: Number of units of the site.

        Returns:
            An edit whose `as_affine` is a map, or None if there is none.
        """
        return None if self.as_affine(units) is None else self

    def check_units(self, units: int) -> None:
        """Check that a site has the number of units that the edit was made for.

        Args:
            units: Number of units of the site.

        Raises:
            EditError: They differ.
        """
        if self.units not in (None, units):
            raise EditError(
                f"The edit at {self.site} is for {self.units} units and the site has {units}."
            )

    def everywhere(self, branch: EditBranch) -> Self:
        """The same edit at all steps, all positions and in all of the picture.

        Args:
            branch: Branch of guidance that is changed.

        Returns:
            A copy.
        """
        # `address` has the unit of an edit of one unit, which its constructor needs.
        site = self.address.partition("@")[0]
        return replace(self, site=site, branch=branch, positions="all", region=None)

    @property
    def tensor_digest(self) -> str | None:
        """A digest of `tensors()` where one is known already; None where it takes reading them."""
        return None

    def tensors(self) -> dict[str, Tensor]:
        """The fields that are saved as tensors, by name; the region where it is a mask."""
        saved = {name: getattr(self, attribute) for name, attribute in self.tensor_fields.items()}
        mask = self.region
        return {**saved, REGION: torch.from_numpy(mask)} if isinstance(mask, np.ndarray) else saved

    def to_dict(self) -> dict[str, Any]:
        """The other fields, ready for JSON; the region where there is one."""
        settings = {name: getattr(self, name) for name in self._setting_names()}
        return {**settings, "site": self.address, **self._region_settings()}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Restore an edit from what `to_dict` and `tensors` returned.

        Args:
            settings: The settings, perhaps from an untrusted file.
            tensors: The tensors by name.

        Returns:
            The edit, checked by its constructor.

        Raises:
            EditError: A field is missing, unknown, of another type, or invalid.
        """
        region, settings, tensors = split_region(settings, tensors)
        if set(tensors) != set(cls.tensor_fields):
            raise EditError(
                f"{cls.__name__} has the tensors {sorted(cls.tensor_fields)}, and the saved one "
                f"{sorted(name[:80] for name in tensors)}."
            )
        try:
            kind: Any = cls  # mypy does not take a class for hashable, as the cache needs
            restored: dict[str, Any] = dict(_settings_type(kind).model_validate(settings))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])[:80]
            raise EditError(f"{cls.__name__}.{place}: {first['msg']}.") from error
        # Copied: those of a file lie in memory at other alignments, and then a product may differ
        # from that of the saved edit in its last bit.
        copies = {name: tensor.clone() for name, tensor in tensors.items()}
        # The constructor checks restored values in `__post_init__`.
        return cls(**(restored | copies), region=region)

    def _region_settings(self) -> dict[str, Any]:
        """The region ready for JSON, of a mask its shape alone; empty without a region."""
        if self.region is None:
            return {}
        is_mask = isinstance(self.region, np.ndarray)
        return {REGION: {MASK: [*np.shape(self.region)]} if is_mask else self.region}

    def _set_finite(self, *names: str) -> None:
        """Convert fields to floats; EditError where one is not a finite number."""
        for name in names:
            value = getattr(self, name)
            try:
                number = float(value)
            except (TypeError, ValueError, OverflowError):
                number = math.nan
            # Edits compute in float32.
            if not abs(number) <= MAX_NUMBER:
                raise EditError(
                    f"The {name} at {self.address} must be a finite number, not {value!r}."
                )
            # The usual way around `frozen` in `__post_init__`.
            object.__setattr__(self, name, number)

    @classmethod
    def _setting_names(cls) -> list[str]:
        return [
            each.name
            for each in fields(cls)
            if each.init and each.name not in (*cls.tensor_fields, REGION)
        ]


@functools.cache
def _settings_type(kind: type[SiteEdit]) -> type[BaseModel]:
    """The validator of an edit's settings, made from the annotations of its fields."""
    hints = typing.get_type_hints(kind, include_extras=True)
    shape: dict[str, Any] = {name: (hints[name], ...) for name in kind._setting_names()}
    # Strict: a wrong type or an unknown field means that the file was altered or is of another
    # version.
    strict = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    return create_model(kind.__name__, __config__=strict, **shape)


@dataclass(frozen=True, eq=False)
class DirectionEdit(SiteEdit):
    """Base class of edits along one direction of a site.

    Attributes:
        direction: `[unit]`, of any length other than zero.
        vector: The direction as a float32 tensor of length one.
    """

    tensor_fields: ClassVar[Mapping[str, str]] = {"direction": "vector"}
    direction: ArrayLike | Tensor = field(repr=False)
    vector: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "vector", normalised_direction(self.site, self.direction))

    @property
    @override
    def units(self) -> int:
        return len(self.vector)


@dataclass(frozen=True, eq=False)
class UnitEdit(SiteEdit):
    """Base class of edits of one unit, `text.blocks.2/mlp[311]`.

    Attributes:
        site: Address of the site; the unit of the constructor's argument is removed.
        unit: Index of the unit.
    """

    unit: int = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        selection = parse(self.site)
        if selection.units is None or len(selection.units) != 1:
            raise EditError(f"{self.site!r} is not one neuron, such as text.blocks.2/mlp[311].")
        steps = "" if selection.steps is None else f"@{','.join(map(str, selection.steps))}"
        object.__setattr__(self, "unit", selection.units[0])
        object.__setattr__(self, "site", selection.site + steps)

    @property
    @override
    def address(self) -> str:
        site, at, steps = self.site.partition("@")
        return f"{site}[{self.unit}]{at}{steps}"

    def column(self, value: Tensor) -> Tensor:
        """The activations of the unit, as a view.

        Args:
            value: Activations, `[sample, position, unit]`.

        Returns:
            `[sample, position]`, which shares memory with `value`.

        Raises:
            EditError: The site has no unit of this index.
        """
        if self.unit >= value.shape[-1]:
            raise EditError(
                f"{self.site} has {value.shape[-1]} units and none of number {self.unit}."
            )
        return value[..., self.unit]

    def unit_affine(self, units: int, factor: float, shift: float) -> Affine:
        """The affine map that changes this unit to `factor * x + shift`, and no other.

        Args:
            units: Number of units of the site.
            factor: Factor of the unit.
            shift: Term that is added afterwards.

        Returns:
            The map in float64.
        """
        matrix, bias = affine_identity(units)
        matrix[self.unit, self.unit] = factor
        bias[self.unit] = shift
        return Affine(matrix, bias)


def site_direction(site: str, direction: ArrayLike | Tensor) -> NDArray[np.float64]:
    """A copy of a direction for a whole site.

    Args:
        site: Address of the site, without units.
        direction: `[unit]`, an array or a tensor on any device.

    Returns:
        float64 `[unit]`, not normalised.

    Raises:
        EditError: The address names units or heads, or the direction is not a finite vector.
    """
    if not parse(site).is_whole:
        raise EditError(f"An edit changes a whole site, not units or heads: got {site!r}.")
    # A copy: the edit is frozen, and the caller may change the array later.
    vector = number_array(EditError, f"The direction for {site}", direction)
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise EditError(
            f"The direction for {site} has shape {list(vector.shape)} or is not finite; expected "
            "one finite number for each unit."
        )
    return vector


def single_precision(site: str, values: NDArray[Any] | Tensor) -> NDArray[np.float32]:
    """Values as the edit computes with them.

    Args:
        site: Address of the site, for error messages.
        values: Numbers of any shape.

    Returns:
        float32 of the same shape.

    Raises:
        EditError: A value is not finite in float32.
    """
    with np.errstate(over="ignore"):
        numbers = number_array(EditError, f"The value of the edit at {site}", values)
        single = numbers.astype(np.float32)
    if not np.isfinite(single).all():
        raise EditError(
            f"The edit at {site} has values that are not finite, or beyond float32; activations "
            "beyond the end of a prompt are NaN: select the positions of its tokens."
        )
    return single


def normalised_direction(site: str, direction: ArrayLike | Tensor) -> Tensor:
    """A direction of length one.

    Args:
        site: Address of the site, for the check and error messages.
        direction: `[unit]`, of any length other than zero.

    Returns:
        float32 `[unit]` on the CPU.

    Raises:
        EditError: The direction is zero, not finite, or not a vector.
    """
    vector = site_direction(site, direction)
    # The length in float64: small directions would underflow in float32.
    length = float(np.linalg.norm(vector))
    if length == 0:
        raise EditError(f"The direction for {site} is zero: it has no orientation.")
    return torch.from_numpy((vector / length).astype(np.float32))


def rescaled(value: Tensor, before: Tensor) -> Tensor:
    """Scale each position to the length that it had.

    Args:
        value: `[sample, position, unit]`.
        before: Activations of the same shape, with the target lengths.

    Returns:
        The scaled activations; zero where a position of `value` is zero.
    """
    # The clamp avoids division by zero: a position that is zero stays zero.
    length: Tensor = torch.linalg.vector_norm(value, dim=-1, keepdim=True).clamp_min(1e-12)
    target: Tensor = torch.linalg.vector_norm(before, dim=-1, keepdim=True)
    return value * (target / length)


def affine_identity(units: int) -> Affine:
    """The identity as an affine map.

    Args:
        units: Number of units of the site.

    Returns:
        Identity matrix and zero bias, float64; new tensors, which may be changed.
    """
    return Affine(torch.eye(units, dtype=torch.float64), torch.zeros(units, dtype=torch.float64))


class _Edits(Registry[type[SiteEdit]]):
    """Checks what the constructors of its classes are given."""

    @override
    def add(self, name: str, entry: type[SiteEdit]) -> type[SiteEdit]:
        return super().add(name, checked(EditError)(entry))


edits: Registry[type[SiteEdit]] = _Edits(
    "edit", package="clerestory.edits", group="clerestory.edits"
)
"""Classes of edits by their names in saved steered models."""


def name_of(edit: Edit) -> str:
    """The name under which the class of an edit is registered.

    Args:
        edit: Any edit.

    Returns:
        The name, such as `add`.

    Raises:
        EditError: Its class is not registered.
    """
    for name, kind in edits.items():
        # Not isinstance: an unregistered subclass would be saved as its parent, without its own
        # fields.
        if type(edit) is kind:
            return name
    raise EditError(
        f"A {type(edit).__name__} cannot be saved: its kind is not registered. "
        f"Kinds that can: {', '.join(sorted(edits))}."
    )
