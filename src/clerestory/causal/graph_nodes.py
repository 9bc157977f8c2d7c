"""Nodes of a causal graph: heads, units or whole sites that are patched together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from clerestory.errors import OptionError, SiteError
from clerestory.models import Model

__all__ = ["DRAWING", "NodeKind", "SitePart", "default_sites", "list_parts", "units_by_site"]

NodeKind: TypeAlias = Literal["prompt", "head", "unit", "site", "objective"]
"""The words, what is inside the model, and the value that is explained."""
DRAWING = ("denoiser", "vae")
"""Stages that draw, of which no site is a node by default."""


@dataclass(frozen=True)
class SitePart:
    """Units of a site that are one node.

    Attributes:
        address: `text.blocks.2/z[h3]`, `text.blocks.2/mlp`, `prior/embedding[12]`.
        site: The address of its site.
        kind: Head, unit or the whole site.
        units: Indices of its units.
    """

    address: str
    site: str
    kind: NodeKind
    units: tuple[int, ...] = field(repr=False)


def default_sites(model: Model) -> list[str]:
    """The attention heads and MLPs before the denoiser, and the conditioning site.

    Every path from the words to the conditioning site goes through some of them or stays in the
    residual stream, which is no node: it is what edges run through.

    Args:
        model: The model.

    Returns:
        Addresses in the order in which they run.
    """
    found = [
        address
        for address, site in model.sites.items()
        if site.tap in ("z", "mlp")
        and site.stage not in DRAWING
        and site.affects_output is not False
        and not (site.idle or site.base)
    ]
    conditioning = model.conditioning_site
    return [*found, conditioning] if conditioning and conditioning not in found else found


def list_parts(
    model: Model, sites: str | Sequence[str], units: str | Sequence[str] = ()
) -> tuple[SitePart, ...]:
    """The parts that may become nodes.

    Args:
        model: The model.
        sites: Sites whose nodes are heads, where they have some, and otherwise whole sites.
        units: Sites each unit or latent of which may be a node; they need not be among `sites`.

    Returns:
        Parts in the order in which their sites run.

    Raises:
        SiteError: A pattern names no site.
        OptionError: An address names units or steps, or a site and its latents.
    """
    # An empty list of patterns is a way to have none.
    by_unit = model.sites.select(units) if units else {}
    whole = model.sites.select(sites) if sites else {}
    for site, selection in {**whole, **by_unit}.items():
        if selection.units is not None or selection.steps is not None:
            raise OptionError(f"A graph is made of whole sites: write {site}.")
        if model.sites[site].base in {**whole, **by_unit}:
            raise OptionError(f"{site} and {model.sites[site].base} are one site: choose one.")
    chosen = [site for site in model.sites if site in whole or site in by_unit]
    if not chosen:
        raise OptionError("There is no site to trace.")
    return tuple(part for site in chosen for part in _parts_of(model, site, site in by_unit))


def units_by_site(parts: Sequence[SitePart]) -> Mapping[str, tuple[int, ...]]:
    """The units of parts, joined by site.

    Args:
        parts: Parts.

    Returns:
        Rising indices by address.
    """
    found: dict[str, list[int]] = {}
    for part in parts:
        found.setdefault(part.site, []).extend(part.units)
    return {site: tuple(sorted(units)) for site, units in found.items()}


def _parts_of(model: Model, address: str, by_unit: bool) -> list[SitePart]:
    site = model.sites[address]
    width, heads = site.shape[1], site.heads
    if width is None:
        raise SiteError(f"{address} cannot be traced: its number of units is not known.")
    if by_unit:
        return [SitePart(f"{address}[{unit}]", address, "unit", (unit,)) for unit in range(width)]
    if not heads:
        return [SitePart(address, address, "site", tuple(range(width)))]
    size = width // heads
    return [
        SitePart(
            f"{address}[h{head}]", address, "head", tuple(range(head * size, (head + 1) * size))
        )
        for head in range(heads)
    ]
