"""What running a model gives: samples, pictures, and activations with names.

Taps fill plain arrays (`SiteValues`), since labels cost more time than reading does. `Run` adds
labels where they are asked for: to one site by `read`, to all of them by `activations`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import SiteError
from clerestory.models.core.addresses import Address, head_units, parse, select
from clerestory.models.core.types import Sample, Step
from clerestory.types import Floats, Pictures

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Run", "SiteValues", "select_labels", "step_coordinates"]

VALUE = "value"
"""The variable of a site's group."""


@dataclass(frozen=True, eq=False)
class SiteValues:
    """What was read at one site: numbers without labels.

    Attributes:
        address: The site's address.
        steps: The steps that it was read at.
        batches: An array for each batch, float32 `[sample, step, unit]`, or
            `[sample, step, position, unit]` where positions are kept.
        units: Which units were read; None for all.
        width: The site's number of units; None where it was not known before the run.
        heads: The site's number of attention heads; None without heads.
        lengths: How many positions each sample has, where batches differ in their number of
            positions; else None.
    """

    address: str
    steps: Sequence[Step]
    batches: Sequence[Floats] = field(repr=False)
    units: tuple[int, ...] | None = None
    width: int | None = None
    heads: int | None = None
    lengths: NDArray[np.int64] | None = None

    def array(self) -> Floats:
        """All batches joined: float32 `[sample, step, unit]`, or with positions before units.

        Positions that a sample does not have are NaN.

        Raises:
            SiteError: Batches have different numbers of positions, and of an unknown pipeline it
                is not known which of these match.
        """
        if self.lengths is not None:
            return _pad(self.batches, self.lengths)
        counts = {batch.shape[2:-1] for batch in self.batches}
        if len(counts) > 1:
            fewest, most = min(counts)[0], max(counts)[0]
            raise SiteError(
                f"Samples have {fewest} to {most} positions at {self.address}, and it is not known "
                "which of these match: pool them (pool='mean'), or run prompts of one length."
            )
        # A single batch is not copied.
        return self.batches[0] if len(self.batches) == 1 else np.concatenate(self.batches)

    def by_step(self) -> dict[int, Floats]:
        """Values `[sample, unit]`, or with positions before units, by the index of the step.

        Raises:
            SiteError: The module is called several times in a step, so that a step has no one
                value.
        """
        if any(step.call for step in self.steps):
            raise SiteError(
                f"{self.address} is called several times in a step, so that it cannot be patched "
                "step by step."
            )
        values = self.array()
        return {step.index: values[:, position] for position, step in enumerate(self.steps)}

    def dataset(self) -> xr.Dataset:
        """The variable `value` with coordinates of its steps and units, none of its samples."""
        import xarray as xr

        values = self.array()
        units = range(values.shape[-1]) if self.units is None else self.units
        positions = ("position",) if values.ndim == 4 else ()
        return xr.Dataset(
            {VALUE: (("sample", "step", *positions, "unit"), values)},
            coords={**step_coordinates(self.steps), "unit": np.array(units)},
            # The width is saved with the heads because both are needed to split units into heads
            # after only some were read.
            attrs={"units": self.width, "heads": self.heads} if self.heads else {},
        )


def _pad(batches: Sequence[Floats], lengths: NDArray[np.int64]) -> Floats:
    """Batches `[sample, step, position, unit]` joined; NaN beyond the positions of a sample."""
    _, steps, _, units = batches[0].shape
    joined = np.full((len(lengths), steps, lengths.max(), units), np.nan, np.float32)
    start = 0
    for batch in batches:
        for values, length in zip(batch, lengths[start : start + len(batch)], strict=True):
            joined[start, :, :length] = values[:, :length]
            start += 1
    return joined


def step_coordinates(steps: Sequence[Step]) -> dict[str, Any]:
    """Coordinates along `step`: its indices, and timesteps and sigmas where all steps have them.

    A module that is called several times in a step has as many entries of that step, numbered by a
    coordinate `call`.

    Args:
        steps: The steps that were read.

    Returns:
        By name, `step` as a list and the others as pairs of dimension and values, as xarray takes
        them.
    """
    coordinates: dict[str, Any] = {"step": [step.index for step in steps]}
    for name in ("timestep", "sigma"):
        if all(getattr(step, name) is not None for step in steps):
            coordinates[name] = ("step", [getattr(step, name) for step in steps])
    if any(step.call for step in steps):
        coordinates["call"] = ("step", [step.call for step in steps])
    return coordinates


def select_labels(
    array: xr.DataArray, address: Address, width: int | None, heads: int | None
) -> xr.DataArray:
    """The units, heads and steps of a site's values that an address names.

    Args:
        array: The values, called as their site, with coordinates `unit` and `step`.
        address: The address; its site is not looked at.
        width: The site's number of units, read or not; None where it is not known.
        heads: The site's number of attention heads; None without heads.

    Returns:
        The part of the array; all of it for the address of a whole site.

    Raises:
        SiteError: The site has no such head, or the array lacks a unit or a step.
    """
    units = head_units(address, str(array.name), width, heads)
    for axis, selected in (("unit", units), ("step", address.steps)):
        if selected is not None:
            # By label: where only some units were read, a column's number is not the unit's.
            labels = array[axis].to_numpy()
            missing = sorted(set(selected) - set(labels.tolist()))
            if missing:
                raise SiteError(f"{axis} {missing[0]} of {array.name} was not read.")
            # Not by `sel`, since a module may be called several times in a step.
            array = array.isel({axis: np.isin(labels, selected)})
    return array


@dataclass(frozen=True, eq=False)
class Run:
    """Prompts × seeds through a model, prompt by prompt.

    Attributes:
        sample_list: The samples, in order.
        pictures: `[sample, height, width, 3]`, uint8; None where none were asked for.
        site_values: What was read, by address, without labels; the fast way in for code that
            needs numbers alone.
        attributes: The model's name and revision, the branch and the pool, for `activations`.
        bad: Samples whose values are not finite, with the place; none in what `Model.run` returns,
            which raises for them.
    """

    sample_list: Sequence[Sample] = field(repr=False)
    pictures: Pictures | None = field(repr=False)
    site_values: Mapping[str, SiteValues] = field(repr=False)
    attributes: Mapping[str, str] = field(default_factory=dict)
    bad: Mapping[int, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        size = "no pictures"
        if self.pictures is not None:
            size = f"pictures of {self.pictures.shape[2]}×{self.pictures.shape[1]}"
        sites = f"{len(self.site_values)} site{'s' * (len(self.site_values) != 1)}"
        return f"Run({len(self.sample_list)} samples, {size}, {sites})"

    def __getstate__(self) -> dict[str, Any]:
        # Tables and trees that were built from the fields would be saved twice.
        return {name: vars(self)[name] for name in self.__dataclass_fields__}

    @functools.cached_property
    def samples(self) -> pd.DataFrame:
        """A row for each sample: its prompt, its seed and its options."""
        import pandas as pd

        options = asdict(self.sample_list[0].options)
        extra = {f"extra.{name}": str(value) for name, value in options.pop("extra").items()}
        table = {
            "prompt": [sample.prompt for sample in self.sample_list],
            "seed": [sample.seed for sample in self.sample_list],
            **options,
            **extra,
        }
        return pd.DataFrame(table).rename_axis("sample")

    @functools.cached_property
    def activations(self) -> xr.DataTree:
        """The activations, as a tree with a group per site.

        The group `text.blocks.0/mlp` has the variable `value`, float32 `[sample, step, unit]`, or
        `[sample, step, position, unit]` with `pool="none"`, and coordinates `step`, `unit` and,
        where steps have them, `timestep` and `sigma`. All groups share the root's coordinate
        `sample`, beside which the root has `prompt` and `seed`. `to_zarr` and `to_netcdf` save it,
        and `xarray.open_datatree` opens it again.
        """
        import xarray as xr

        root = xr.Dataset(coords=self.sample_coordinates(), attrs=dict(self.attributes))
        sites = {address: values.dataset() for address, values in self.site_values.items()}
        return xr.DataTree.from_dict({"/": root, **sites})

    def read(self, address: str) -> xr.DataArray:
        """What was read at one site, or at some of its units or steps.

        Args:
            address: An address that one site of this run has, such as `text.blocks.0/mlp`,
                `text.blocks.0/mlp[3]`, `text.blocks.0/q[h2]` or `denoiser.mid.res.0/out@5`.

        Returns:
            `[sample, step, unit]`, or `[sample, step, position, unit]` with `pool="none"`, with
            prompts and seeds as coordinates of `sample`.

        Raises:
            SiteError: No site, or several, fit the address, or a unit or step was not read.
        """
        request = parse(address)
        names: dict[str, int | None] = dict.fromkeys(self.site_values)
        name = next(iter(select(request.site, names, single=True, noun="site that was read")))
        values = self.site_values[name]
        # Built for this site alone: labelling every site costs more than reading one.
        array = values.dataset()[VALUE].rename(name)
        array = array.assign_coords(self.sample_coordinates())
        # A run that was made by hand may lack attributes.
        if "branch" in self.attributes:
            array = array.assign_coords(branch=self.attributes["branch"])
        return select_labels(array, request, values.width, values.heads)

    def sample_coordinates(self) -> dict[str, Any]:
        """Coordinates of the samples, as xarray takes them: `sample`, `prompt` and `seed`."""
        # Texts are objects: Zarr has no format of its own for numpy's fixed-width strings.
        prompts = np.array([sample.prompt for sample in self.sample_list], dtype=object)
        return {
            "sample": np.arange(len(self.sample_list)),
            "prompt": ("sample", prompts),
            "seed": ("sample", [sample.seed for sample in self.sample_list]),
        }
