"""The values that a model takes and gives: samples, sites, steps, edits, runs.

Nothing here runs anything. Axis names are the same everywhere: `sample step position unit`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from clerestory.errors import ModelError, SiteError
from clerestory.models.core.addresses import Selection, of_heads, parse, select
from clerestory.registry import suggest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = [
    "Activations",
    "Branch",
    "Edit",
    "Noted",
    "Options",
    "PerSample",
    "Pool",
    "Run",
    "Sample",
    "Site",
    "Sites",
    "Step",
]

Branch = Literal["cond", "uncond"]
Pool = str
"""What becomes of positions: `mean`, `max`, `last`, `none`, or `tokens:WORD`."""


@dataclass(frozen=True)
class Options:
    """How samples are drawn; a model's `defaults` are one of these.

    `guidance` and `prior_guidance` of 1 or less draw without the empty prompt. Models that take
    guidance as an input (Flux) have no second branch, unless there is a `negative` prompt: then
    `true_guidance` is how far they are led away from it. `prior_steps` and `prior_guidance` are for
    models with a prior; there are 2 steps at least. With a prior and without a `negative` prompt
    the denoiser is guided away from the embedding of an empty picture, with one from the prior's
    embedding of it.
    """

    height: int = 512
    width: int = 512
    steps: int = 50
    guidance: float = 4.0
    prior_steps: int = 25
    prior_guidance: float = 4.0
    true_guidance: float = 4.0
    negative: str = ""

    def __post_init__(self) -> None:
        for name, least in (("height", 1), ("width", 1), ("steps", 1), ("prior_steps", 2)):
            if getattr(self, name) < least:
                raise ModelError(f"{name} is {getattr(self, name)}; it must be {least} or more.")

    def replace(self, **options: Any) -> Options:
        """The same with some options changed; ModelError for an option that there is not."""
        known = [one.name for one in fields(self)]
        for name in options:
            if name not in known:
                raise ModelError(f"No option of a sample is called {name!r}.{suggest(name, known)}")
        return replace(
            self, **{name: value for name, value in options.items() if value is not None}
        )


@dataclass(frozen=True)
class Sample:
    """One picture to be drawn: a prompt, a seed, and how."""

    prompt: str
    seed: int
    options: Options = Options()


@dataclass(frozen=True)
class Site:
    """An activation of a model that can be read and edited.

    Attributes:
        address: `stage.path/tap`.
        shape: (positions, units); None where the number depends on the picture's size or is not
            known before a run.
        path: The dotted path of the torch module that makes the value.
        affects_output: False where nothing reads the value, so that an edit changes no picture;
            None where that is not known.
        heads: Number of attention heads, whose units follow one another; None without heads.
        module: The torch module itself; None for a value that goes from one part of the model to
            the next.
    """

    address: str
    shape: tuple[int | None, int | None]
    path: str
    affects_output: bool | None = True
    heads: int | None = None
    module: Any = field(default=None, repr=False, compare=False)

    @property
    def stage(self) -> str:
        """The part of the model: `text`, `text_2`, `prior`, `denoiser`, `vae`, …"""
        return self.address.split("/")[0].split(".")[0]

    @property
    def tap(self) -> str:
        """What is tapped there: `mlp`, `self_attn`, `resid`, `out`, …"""
        return self.address.split("/")[1]


class Sites(Mapping[str, Site]):
    """A model's sites by address, stage by stage."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._sites = {site.address: site for site in sites}
        self._units = {site.address: site.shape[1] for site in sites}
        self._heads = {site.address: site.heads for site in sites}

    def __getitem__(self, address: str) -> Site:
        return self._sites[next(iter(self.select(address, single=True)))]

    def __contains__(self, address: object) -> bool:
        return address in self._sites

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)

    def match(self, patterns: str | Sequence[str]) -> list[Site]:
        """The sites that patterns like `text.*/mlp` name; SiteError where one names none."""
        return [self._sites[address] for address in self.select(patterns)]

    def select(
        self, patterns: str | Sequence[str], *, single: bool = False
    ) -> dict[str, Selection]:
        """Sites by address with the units and steps that the patterns ask for."""
        return select(patterns, self._units, single=single, heads=self._heads)


@dataclass(frozen=True)
class Step:
    """When a site is read: an index into the scheduler's timesteps, and a branch of guidance.

    Stages without steps (text, vae) have index 0 and neither timestep nor sigma.
    """

    index: int
    branch: Branch = "cond"
    timestep: float | None = None
    sigma: float | None = None


class Edit(Protocol):
    """A change of one site: takes and gives `[sample, position, unit]`, and keeps no hook.

    `site` is an address without units; with a step (`denoiser.mid.res.0/out@5`) the edit is made at
    that step only. Edits act on the conditional branch, unless they have a `branch` that says
    otherwise.
    """

    @property
    def site(self) -> str:
        """The address of the site that it changes."""

    def __call__(self, value: Tensor) -> Tensor:
        """The changed activation, of the same shape."""


@runtime_checkable
class PerSample(Protocol):
    """An edit that differs from sample to sample."""

    def at(self, rows: Sequence[int]) -> Edit:
        """The edit for a batch that holds these samples of the run."""


class Noted(Protocol):
    """What was read at one site, before anybody asked for it with labels."""

    @property
    def steps(self) -> Sequence[Step]:
        """The steps that it was read at."""

    def values(self) -> NDArray[np.float32]:
        """The numbers alone, `[sample, step, unit]` or with `position` before `unit`."""

    def labelled(self) -> xr.DataArray:
        """The same with coordinates."""


class Activations(Mapping[str, "xr.DataArray"]):
    """What was read, by address: dims `sample step unit`, or `sample step position unit`.

    A mapping and not a Dataset, because sites differ in the number of their steps and units, and a
    Dataset has one length for each axis name. Labels cost more time than reading does, so an array
    gets its own when it is first asked for; `unlabelled` has the values without them.
    """

    def __init__(self, arrays: Mapping[str, Noted]) -> None:
        self.unlabelled = dict(arrays)
        self._arrays = {
            address: functools.cache(noted.labelled) for address, noted in arrays.items()
        }

    def __getitem__(self, address: str) -> xr.DataArray:
        asked = parse(address)
        names: dict[str, int | None] = dict.fromkeys(self._arrays)
        found = next(iter(select(asked.site, names, single=True, noun="site that was read")))
        array = self._arrays[found]()
        units = of_heads(asked, found, array.attrs.get("units"), array.attrs.get("heads"))
        for axis, wanted in (("unit", units), ("step", asked.steps)):
            if wanted is not None:
                lacking = sorted(set(wanted) - set(array[axis].to_numpy().tolist()))
                if lacking:
                    raise SiteError(f"{axis} {lacking[0]} of {found} was not read.")
                array = array.sel({axis: list(wanted)})
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        lines = [f"  {name}  {dict(self[name].sizes)}" for name in self]
        return "\n".join(["Activations:", *lines])


@dataclass(frozen=True, eq=False)
class Run:
    """What came of running a model on prompts × seeds, prompt by prompt.

    `drawn` are the samples, `samples` a table of them; `pictures` is `[sample, height, width, 3]`,
    or None where none were asked for.
    """

    drawn: Sequence[Sample] = field(repr=False)
    pictures: NDArray[np.uint8] | None = field(repr=False)
    activations: Activations

    @functools.cached_property
    def samples(self) -> pd.DataFrame:
        """A row for each sample: its prompt, its seed and its options."""
        import pandas as pd

        table = {
            "prompt": [sample.prompt for sample in self.drawn],
            "seed": [sample.seed for sample in self.drawn],
            **asdict(self.drawn[0].options),
        }
        return pd.DataFrame(table).rename_axis("sample")
