"""The page of an attribution: shares, every coalition drawn, the path, tokens and layers."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from clerestory.attribution import charts
from clerestory.attribution.results import COALITIONS, Attribution
from clerestory.attribution.shapley import all_coalitions
from clerestory.reporting.pages import environment
from clerestory.reporting.pictures import data_address
from clerestory.reporting.plots import svg

__all__ = ["page"]


def page(result: Attribution) -> str:
    """One HTML file that needs no other; whatever comes from prompts or names is escaped.

    Args:
        result: The result.

    Returns:
        HTML.
    """
    return (
        environment("clerestory.attribution")
        .get_template("attribution.html")
        .render(
            result=result,
            networks={name: svg(charts.network(split)) for name, split in result.of.items()},
            paths={
                name: svg(charts.paths(result, name)) for name, path in result.path.items() if path
            },
            tokens=_tokens(result),
            coalitions=_coalitions(result),
            layers={
                site.split("/")[0]: [data_address(picture) for picture in pictures]
                for site, pictures in result.pictures.items()
                if site != COALITIONS
            },
        )
    )


def _tokens(result: Attribution) -> list[tuple[str, Markup]]:
    """A title and a chart for each target and text encoder."""
    # With one encoder its name says nothing to most readers.
    several = len({effect.stage for effect in result.patching}) > 1
    titled = []
    for name, stage in dict.fromkeys((each.target, each.stage) for each in result.patching):
        effects = [each for each in result.patching if (each.target, each.stage) == (name, stage)]
        title = f"{name}: tokens of {stage}" if several else name
        titled.append((title, svg(charts.tokens(effects))))
    return titled


def _coalitions(result: Attribution) -> list[dict[str, Any]]:
    """Each coalition that was drawn: its pieces, its prompt, its pictures, its mean values."""
    # Above four pieces coalitions are not drawn, and the page leaves the part out.
    if not result.coalition_prompts:
        return []
    return [
        {
            "prompt": prompt,
            "pieces": [piece for piece, here in zip(result.pieces, present, strict=True) if here],
            "pictures": [data_address(picture) for picture in pictures],
            "values": {
                name: split.values[index]
                for name, split in result.of.items()
                if split.values is not None
            },
        }
        for index, (prompt, present, pictures) in enumerate(
            zip(
                result.coalition_prompts,
                all_coalitions(len(result.pieces)),
                result.pictures[COALITIONS],
                strict=True,
            )
        )
    ]
