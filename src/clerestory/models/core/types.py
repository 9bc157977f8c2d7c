"""The values that a model takes: samples and their options, sites, steps, edits.

Nothing here runs anything. Axis names are the same everywhere: `sample step position unit`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from clerestory.arguments import checked, unknown_name
from clerestory.checks import check_minimum
from clerestory.errors import OptionError, SiteError
from clerestory.models.core.addresses import SiteSelection, select
from clerestory.models.core.extras import Extra

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "OPTION_NAMES",
    "Branch",
    "Edit",
    "Options",
    "PerSample",
    "Pool",
    "Sample",
    "Site",
    "Sites",
    "Step",
]

Branch = Literal["cond", "uncond"]
Pool = str
"""How positions are pooled: `mean`, `max`, `last`, `none`, or `tokens:WORD`."""


@checked(OptionError)
@dataclass(frozen=True)
class Options:
    """How samples are drawn; a model's `defaults` are one of these.

    Attributes:
        height: Pixels.
        width: Pixels.
        steps: Denoising steps.
        guidance: Classifier-free guidance scale; 1 or less disables guidance. With a prior, the
            unconditional input is the zero-image embedding. Guidance-distilled models (Flux) take
            it as an input and have no second branch.
        prior_steps: Denoising steps of the prior, in models with one; at least 2.
        prior_guidance: Guidance scale of the prior.
        true_guidance: `true_cfg_scale` of diffusers: classifier-free guidance against the negative
            prompt, for guidance-distilled models (Flux).
        perturbed_guidance: `pag_scale` of diffusers: guidance away from a prediction whose
            self-attention is perturbed (PAG); 0 disables it.
        negative: Negative prompt, in place of the empty one; "" for none. With a prior, the
            unconditional input is then the prior's embedding of it.
        extra: Further arguments of the pipeline's call by name, such as a ControlNet's picture;
            of a function, what it gives for the prompts of a batch.
    """

    height: int = 512
    width: int = 512
    steps: int = 50
    guidance: float = 4.0
    prior_steps: int = 25
    prior_guidance: float = 4.0
    true_guidance: float = 4.0
    perturbed_guidance: float = 3.0
    negative: str = ""
    extra: Mapping[str, Any] = field(default_factory=Extra)

    def __post_init__(self) -> None:
        object.__setattr__(self, "extra", Extra(self.extra))
        for name in ("guidance", "prior_guidance", "true_guidance", "perturbed_guidance"):
            if not math.isfinite(getattr(self, name)):
                raise OptionError(f"{name} is {getattr(self, name)}; write a finite number.")
        check_minimum(OptionError, 1, height=self.height, width=self.width, steps=self.steps)
        check_minimum(OptionError, 2, prior_steps=self.prior_steps)

    def replace(self, **options: Any) -> Options:
        """A copy with some options changed.

        Args:
            **options: New values by name; None leaves an option as it is.

        Returns:
            The copy.

        Raises:
            OptionError: An option is unknown or out of range.
        """
        for name in options:
            if name not in OPTION_NAMES:
                raise OptionError(unknown_name("A sample", name, OPTION_NAMES))
        return replace(
            self, **{name: value for name, value in options.items() if value is not None}
        )


OPTION_NAMES = tuple(field.name for field in fields(Options))
"""Names that options of a sample may have."""


@dataclass(frozen=True)
class Sample:
    """One picture to draw.

    Attributes:
        prompt: Its text.
        seed: The seed of its noise, 0 to 2⁶³ - 1.
        options: How it is drawn.
    """

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
        idle: Whether its module was never called in a short run with default options; patterns
            with `*` leave it out.
        base: Of latents: the address of the site whose values they encode; "" for a value of the
            model. Patterns with `*` leave latents out, unless they have the colon of their address.
    """

    address: str
    shape: tuple[int | None, int | None]
    path: str
    affects_output: bool | None = True
    heads: int | None = None
    # Neither shown nor compared: two loads of one model have equal sites but different modules.
    module: Any = field(default=None, repr=False, compare=False)
    idle: bool = False
    base: str = ""

    @property
    def stage(self) -> str:
        """The part of the model: `text`, `text_2`, `prior`, `denoiser`, `vae`, …"""
        return self.address.split("/")[0].split(".")[0]

    @property
    def tap(self) -> str:
        """The value that is tapped there: `mlp`, `self_attn`, `resid`, `out`, …"""
        return self.address.split("/")[1]

    @property
    def stream(self) -> str | None:
        """The stream of a joint-attention block, `text` or `image`; None elsewhere."""
        _, *inside = self.address.split("/")[0].split(".")
        return inside[-1] if inside and inside[-1] in ("text", "image") else None


class Sites(Mapping[str, Site]):
    """A model's sites by address, stage by stage.

    In patterns, `conditioning` stands for the model's conditioning site, and the path of a torch
    module for the one site that it makes.

    Args:
        sites: The sites, in the order in which they run.
        conditioning: The address of the conditioning site; "" where there is none.
    """

    def __init__(self, sites: Sequence[Site], conditioning: str = "") -> None:
        self._sites = {site.address: site for site in sites}
        self._aliases = {"conditioning": conditioning} if conditioning else {}
        for site in sites:
            if conditioning and site.base == conditioning:
                alias = site.address.replace(conditioning, "conditioning", 1)
                self._aliases[alias] = site.address
        self._units = {site.address: site.shape[1] for site in sites}
        self._heads = {site.address: site.heads for site in sites}
        self._paths = {site.address: site.path for site in sites if site.path}
        self._idle = {site.address for site in sites if site.idle}

    def __getitem__(self, address: str) -> Site:
        return self._sites[next(iter(self.select(address, single=True)))]

    def __contains__(self, address: object) -> bool:
        return address in self._sites

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)

    @property
    def units(self) -> Mapping[str, int | None]:
        """Numbers of units by address; None where a number is not known before a run."""
        return self._units

    @checked(SiteError)
    def match(self, patterns: str | Sequence[str]) -> list[Site]:
        """The sites that patterns name.

        Args:
            patterns: Addresses with `*` for anything, such as `text.*/mlp`.

        Returns:
            The sites, in the model's order.

        Raises:
            SiteError: A pattern names no site.
        """
        return [self._sites[address] for address in self.select(patterns)]

    @checked(SiteError)
    def select(
        self, patterns: str | Sequence[str], *, single: bool = False
    ) -> dict[str, SiteSelection]:
        """Sites by address with the units and steps that patterns ask for.

        Args:
            patterns: Addresses such as `text.*/mlp[0:4]@5`.
            single: Whether exactly one site is wanted.

        Returns:
            Selections by address, in the model's order.

        Raises:
            SiteError: A pattern names no site or unit, or several sites match and `single` is set.
        """
        return select(
            patterns,
            self._units,
            single=single,
            heads=self._heads,
            aliases=self._aliases,
            paths=self._paths,
            idle=self._idle,
        )


@dataclass(frozen=True)
class Step:
    """One denoising step of one guidance branch.

    Attributes:
        index: Index into the scheduler's timesteps; 0 in stages without steps (text, vae).
        branch: The guidance branch: conditional or unconditional.
        timestep: The scheduler's, None in stages without steps.
        sigma: Noise level: noise over signal, with flow matching the fraction of noise; None if
            unknown.
        call: Which call of the site's module within the step, for modules that are called several
            times.
    """

    index: int
    branch: Branch = "cond"
    timestep: float | None = None
    sigma: float | None = None
    call: int = 0


@runtime_checkable
class Edit(Protocol):
    """A change of one site; any callable with a `site` is one.

    Edits act on the conditional branch, unless an attribute `branch` says otherwise.
    """

    @property
    def site(self) -> str:
        """The address of the site, without units; with a step (`…/out@5`) at that step only."""

    def __call__(self, value: Tensor) -> Tensor:
        """Give the changed activations.

        Args:
            value: Activations, `[sample, position, unit]`, in the model's dtype.

        Returns:
            A tensor of the same shape; it may be `value` itself, changed.
        """


@runtime_checkable
class PerSample(Protocol):
    """An edit that differs from sample to sample."""

    @property
    def samples(self) -> int | None:
        """Number of samples that it is for; None for any number."""

    def at(self, rows: Sequence[int]) -> Edit:
        """The edit for a batch that holds these samples of the run.

        Args:
            rows: Indices of the batch's samples in the run.

        Returns:
            An edit whose first row is for the sample `rows[0]`.
        """
