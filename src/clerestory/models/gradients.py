"""Gradients of any objective with respect to any earlier sites: `Model.gradients`.

found = model.gradients(label("lancet:style", "stained glass"), "text.*/mlp", prompts, seeds)
found.read("text.blocks.2/mlp")         # Dataset with value and gradient, dims as in a run
found.table()                           # units by the size of their gradient
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clerestory.errors import OptionError
from clerestory.models.core.activations import Batch, Readings, collect, stack_steps
from clerestory.models.core.addresses import SiteSelection, parse
from clerestory.models.core.family import SiteHook
from clerestory.models.core.finiteness import check_gradient
from clerestory.models.core.gradient_questions import (
    DifferentiableObjective,
    GradientQuestion,
    ObjectiveSite,
)
from clerestory.models.core.gradients import BatchGradients, PoolerOfSites, differentiate
from clerestory.models.core.requests import Request
from clerestory.models.core.runner import Sweep
from clerestory.models.core.runs import VALUE, Run
from clerestory.models.core.types import Step
from clerestory.types import Floats

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from clerestory.models.model import Model

__all__ = ["Gradients", "as_differentiable", "read_gradients"]

GRADIENT = "gradient"
"""The variable of a site's group beside `value`."""
PICTURES = "pictures"
"""What an objective names to get the pictures."""


@dataclass(frozen=True, eq=False)
class FunctionObjective:
    """A function of what a run reads.

    Attributes:
        function: Called with tensors `[sample, step, position, unit]` by address, and `pictures`.
        read: Addresses of sites, and `pictures`.
    """

    function: Callable[[Mapping[str, Tensor]], Tensor] = field(repr=False)
    read: tuple[str, ...]

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    @property
    def sites(self) -> Sequence[ObjectiveSite]:
        """What is read, with all positions."""
        # An address that is given twice is read once.
        return [ObjectiveSite(each) for each in dict.fromkeys(self.read) if each != PICTURES]

    @property
    def reads_pictures(self) -> bool:
        """Whether it names the pictures."""
        return PICTURES in self.read

    def __call__(self, values: Mapping[ObjectiveSite, Tensor], pictures: Tensor | None) -> Tensor:
        """The function's value."""
        named = {site.address: value for site, value in values.items()}
        return self.function(named if pictures is None else {**named, PICTURES: pictures})


@dataclass(frozen=True)
class UnitObjective:
    """The mean activation of the units that an address names, at the last token."""

    address: str

    @property
    def name(self) -> str:
        """The address."""
        return self.address

    @property
    def sites(self) -> Sequence[ObjectiveSite]:
        """The one site."""
        return [ObjectiveSite(self.address, "last")]

    @property
    def reads_pictures(self) -> bool:
        """Never."""
        return False

    def __call__(self, values: Mapping[ObjectiveSite, Tensor], pictures: Tensor | None) -> Tensor:
        """The mean over steps and units."""
        (value,) = values.values()
        return value.mean((1, 2))


def as_differentiable(objective: Any, read: Sequence[str] = ()) -> DifferentiableObjective:
    """What autograd can differentiate, of anything that may be an objective.

    Args:
        objective: An `Objective` of units, directions and labels, the address of a unit, or a
            function.
        read: What a function reads: addresses, and `pictures`.

    Returns:
        The objective.

    Raises:
        OptionError: It is none of these, or a function without `read`.
        ModelError: A classifier in it has no gradients.
    """
    if isinstance(objective, DifferentiableObjective):
        return objective
    # `evaluation.Objective` stands above the models, which do not know it.
    make = getattr(objective, "differentiable", None)
    if make is not None:
        made: DifferentiableObjective = make()
        return made
    if isinstance(objective, str):
        if "=" in objective or parse(objective).is_whole:
            raise OptionError(
                f"The objective {objective!r:.80} is not the address of a unit; write one like "
                "text.blocks.2/mlp[311], or use clerestory.evaluation.objectives: label, direction."
            )
        return UnitObjective(objective)
    if not callable(objective):
        raise OptionError(f"{objective!r:.80} is not an objective.")
    if not read:
        raise OptionError(
            "A function as objective needs read=: the sites whose values it is called with, and "
            "'pictures'."
        )
    return FunctionObjective(objective, tuple(read))


@dataclass(frozen=True, eq=False, repr=False)
class Gradients:
    """Values and gradients of sites.

    Attributes:
        objective: The name of the objective.
        objective_values: Its value of each sample, `[sample]`.
        values: A run with the values of the sites.
        gradients: A run with the gradients in their place, of the same shape.
        independent: Sites that the objective does not depend on at any step, all zeros.
        last_steps: How many of the last denoising steps have gradients; None for all. At the others
            a gradient is NaN, and nothing of the objective that goes through them is in the
            gradients of earlier sites.
        imprecise: Sites whose gradients are so small that float16 has fewer digits of them.
    """

    objective: str
    objective_values: NDArray[np.float64]
    values: Run
    gradients: Run
    independent: tuple[str, ...] = ()
    last_steps: int | None = None
    imprecise: tuple[str, ...] = ()

    def __repr__(self) -> str:
        count = len(self.values.site_values)
        steps = "" if self.last_steps is None else f", of the last {self.last_steps} steps only"
        return (
            f"Gradients of {self.objective}: {len(self.objective_values)} samples, {count} "
            f"site{'s' * (count != 1)}{steps}{_imprecise_text(self.imprecise)}"
        )

    def read(self, address: str) -> xr.Dataset:
        """Values and gradients of one site, or of some of its units or steps.

        Args:
            address: As in `Run.read`.

        Returns:
            The variables `value` and `gradient`, `[sample, step, unit]`, or with positions.

        Raises:
            SiteError: As in `Run.read`.
        """
        gradient = self.gradients.read(address)
        value = self.values.read(address).rename(VALUE)
        return value.to_dataset().assign({GRADIENT: gradient.rename(GRADIENT)})

    @property
    def tree(self) -> xr.DataTree:
        """Everything as a tree with a group per site, which `to_zarr` and `to_netcdf` save."""
        import xarray as xr

        coordinates = self.values.sample_coordinates()
        values = {"objective": ("sample", self.objective_values)}
        attributes = {**self.values.attributes, "objective": self.objective}
        attributes["last_steps"] = "all" if self.last_steps is None else str(self.last_steps)
        groups: dict[str, xr.Dataset] = {"/": xr.Dataset(values, coordinates, attributes)}
        for address, read in self.values.site_values.items():
            gradient = self.gradients.site_values[address].dataset()[VALUE]
            groups[address] = read.dataset().assign({GRADIENT: gradient})
        return xr.DataTree.from_dict(groups)

    def table(self) -> pd.DataFrame:
        """A row for each unit: its address, its mean gradient, the mean size of its gradient.

        Means are over samples, steps and positions; the largest first.
        """
        import pandas as pd

        frames = []
        for address, values in self.gradients.site_values.items():
            array = values.array().astype(np.float64)
            flat = array.reshape(-1, array.shape[-1])
            units = range(flat.shape[1]) if values.units is None else values.units
            frame = {
                "unit": [f"{address}[{unit}]" for unit in units],
                "gradient": np.nanmean(flat, 0),
                "size": np.nanmean(np.abs(flat), 0),
            }
            frames.append(pd.DataFrame(frame))
        joined = pd.concat(frames, ignore_index=True)
        return joined.sort_values("size", ascending=False, ignore_index=True, kind="stable")


def read_gradients(model: Model, request: Request, question: GradientQuestion) -> Gradients:
    """Differentiate, and label what comes out as a run labels it.

    Args:
        model: The model.
        request: The samples, edits, branch, pool and batch.
        question: What is differentiated.

    Returns:
        Values and gradients.

    Raises:
        OptionError: Gradients cannot be pooled so.
        ClerestoryError: As `Model.gradients`.
    """
    if request.pool == "max":
        raise OptionError("A gradient has no maximum over positions: pool by mean, last or none.")
    sweep, batches = differentiate(model, request, question, partial(_PooledSink, question.sites))
    joined = [_batch_arrays(batch, sweep.hooks) for batch in batches]
    connected = {
        address for batch in batches for address, steps in batch.connected.items() if steps
    }
    return Gradients(
        question.objective.name,
        np.concatenate([batch.objective for batch in batches]),
        _run(sweep, question, [values for values, _ in joined]),
        _run(sweep, question, [gradients for _, gradients in joined]),
        tuple(address for address in question.sites if address not in connected),
        question.last_steps,
        tuple(
            address
            for address in question.sites
            if any(address in batch.imprecise for batch in batches)
        ),
    )


def _imprecise_text(sites: Sequence[str]) -> str:
    """What float16 did, as the end of a sentence; "" for nothing."""
    if not sites:
        return ""
    return f"; below 6e-5 at {', '.join(sites[:3])}{', …' * (len(sites) > 3)}, where float16 rounds"


class _PooledSink:
    """Pools values and gradients where they are, and keeps what remains in the CPU's memory."""

    def __init__(self, sites: Mapping[str, SiteSelection], sweep: Sweep, rows: range) -> None:
        self._sites = sites
        self._pool = PoolerOfSites(sweep, rows, sweep.request.pool, sweep.request.branch)
        self.readings: Readings = {address: [] for address in sites}
        self.gradients: dict[str, dict[Step, Floats]] = {address: {} for address in sites}

    def __getstate__(self) -> dict[str, Any]:
        # What was taken leaves the process without the sweep, which holds the model.
        return {"readings": self.readings, "gradients": self.gradients}

    def value(self, address: str, value: Tensor, step: Step) -> None:
        self.readings[address].append((step, self._pooled(address, value)))

    def gradient(self, address: str, gradient: Tensor, step: Step) -> None:
        pooled = self._pooled(address, gradient)
        check_gradient(address, pooled)
        self.gradients[address][step] = pooled

    def _pooled(self, address: str, value: Tensor) -> Floats:
        with torch.no_grad():
            pooled = self._pool(address, value, self._sites[address].units)
        array: Floats = pooled.cpu().numpy()
        return array


def _batch_arrays(batch: BatchGradients, hooks: Mapping[str, SiteHook]) -> tuple[Batch, Batch]:
    """Values and gradients of a batch, with the same steps."""
    sink: _PooledSink = batch.sink
    gradients: Readings = {}
    for address, steps in sink.readings.items():
        found = sink.gradients[address]
        gradients[address] = [
            (step, found[step] if step in found else _absent(value, hooks[address], step, batch))
            for step, value in steps
        ]
    return stack_steps(sink.readings), stack_steps(gradients)


def _absent(value: Floats, hook: SiteHook, step: Step, batch: BatchGradients) -> Floats:
    """NaN at a step without a graph, zeros where the objective does not depend on the site."""
    return np.full_like(value, np.nan if batch.is_truncated(hook, step) else 0)


def _run(sweep: Sweep, question: GradientQuestion, batches: Sequence[Batch]) -> Run:
    request = sweep.request
    read = collect(batches, question.sites, sweep.hooks, request.branch)
    values = {
        address: replace(found, lengths=sweep.lengths(found)) for address, found in read.items()
    }
    return Run(request.samples, None, values, sweep.attributes)
