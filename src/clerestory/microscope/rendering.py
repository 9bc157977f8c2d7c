"""Renders templates for the server and for static sites, which differ in their addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

from clerestory.reporting.pages import environment

__all__ = ["STATIC", "Renderer", "rooted"]

STATIC = Path(__file__).parent / "static"
SHAPE = 200, 44
"""Width and height of a histogram in its SVG's units."""


class Renderer:
    """Renders templates, in which `url` returns the address of a path under the root.

    Args:
        model: The model's name in addresses, to which every page links.
    """

    def __init__(self, model: str) -> None:
        self.pages = environment("clerestory.microscope")
        self.pages.globals |= {"home": model, "fresh": lambda: uuid4().hex}
        self.pages.filters |= {"number": number, "bars": bars, "flow": flow, "name": unquote}

    def __call__(self, template: str, **context: Any) -> str:
        """The page; links start at the root unless the context has another `url`."""
        defaults = {"url": rooted, "rater": "", "live": False, "job": None}
        return self.pages.get_template(f"{template}.html").render({**defaults, **context})


def rooted(path: str) -> str:
    """A path's address on the server.

    Args:
        path: A path under the root, not yet quoted.

    Returns:
        The address, from `/`.
    """
    return "/" + quote(path, safe="/")


def number(value: float) -> str:
    """A number with three significant digits: 0.123, 12.3, 1230.

    Args:
        value: The number.

    Returns:
        The text; no exponent below 1e15.
    """
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def flow(stages: list[dict[str, Any]]) -> dict[str, Any]:
    """Coordinates of the diagram of stages, whose sites are bars with their share of themes.

    Args:
        stages: Stages with their sites, as `Views.model` gives them.

    Returns:
        Coordinates in the SVG's units.
    """
    gap, pitch, bar = 34, 720 / max(len(stages), 1), 11
    rows = max((len(stage["sites"]) for stage in stages), default=1)
    width = pitch - gap
    boxes = []
    for at, stage in enumerate(stages):
        x = round(at * pitch, 1)
        sites = [
            {
                **site,
                "x": x + 8,
                "y": 30 + row * (bar + 4),
                "width": width - 16,
                "height": bar,
                # At least three units wide, so that a single theme is visible.
                "part": site["named"]
                and max(3.0, round((width - 16) * site["named"] / site["units"], 1)),
            }
            for row, site in enumerate(stage["sites"])
        ]
        height = len(sites) * (bar + 4) + 12
        boxes.append(
            {"stage": stage["stage"], "x": x, "width": width, "height": height, "sites": sites}
        )
    height = rows * (bar + 4) + 36
    return {"stages": boxes, "width": 720, "height": height, "gap": gap, "middle": 40}


def bars(counts: list[int]) -> list[dict[str, float]]:
    """Rectangles of a histogram.

    Args:
        counts: Counts of the bins.

    Returns:
        Coordinates in the SVG's units, a rectangle a bin.
    """
    width, height = SHAPE
    highest = max(max(counts), 1)
    pitch = width / len(counts)
    return [
        {
            "x": round(index * pitch, 2),
            "y": round(height * (1 - count / highest), 2),
            "width": round(pitch - 0.6, 2),
            "height": round(height * count / highest, 2),
        }
        for index, count in enumerate(counts)
    ]
