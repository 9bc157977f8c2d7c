"""Templates to pages, for the server and for a static site alike: only the addresses differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

from clerestory.reporting.pages import environment

__all__ = ["STATIC", "Renderer", "rooted"]

STATIC = Path(__file__).parent / "static"
SHAPE = 200, 44
"""A histogram's width and height."""


class Renderer:
    """Renders templates; their `url` turns a path under the root into an address for links."""

    def __init__(self, model: str) -> None:
        """Load the templates.

        Args:
            model: The model's name in addresses, where every page links to.
        """
        self.pages = environment("clerestory.microscope")
        self.pages.globals |= {"home": model, "fresh": lambda: uuid4().hex}
        self.pages.filters |= {"number": number, "bars": bars, "flow": flow, "name": unquote}

    def __call__(self, template: str, **told: Any) -> str:
        """The page; links are from the root, unless an `url` is told."""
        about = {"url": rooted, "rater": "", "live": False, "job": None}
        return self.pages.get_template(f"{template}.html").render({**about, **told})


def rooted(path: str) -> str:
    """A path's address on the server.

    Args:
        path: A path under the root, not yet quoted.

    Returns:
        The address, from `/`.
    """
    return "/" + quote(path, safe="/")


def number(value: float) -> str:
    """Three digits that tell: 0.123, 12.3, 1230."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def flow(stages: list[dict[str, Any]]) -> dict[str, Any]:
    """The stages as boxes from left to right, their sites as bars, filled as far as named."""
    gap, each, high = 34, 720 / max(len(stages), 1), 11
    most = max((len(stage["sites"]) for stage in stages), default=1)
    width, tall = each - gap, most * (high + 4) + 12
    drawn = []
    for at, stage in enumerate(stages):
        x = round(at * each, 1)
        sites = [
            {
                **site,
                "x": x + 8,
                "y": 30 + row * (high + 4),
                "width": width - 16,
                "height": high,
                "part": site["named"]
                and max(3.0, round((width - 16) * site["named"] / site["units"], 1)),
            }
            for row, site in enumerate(stage["sites"])
        ]
        height = len(sites) * (high + 4) + 12
        drawn.append(
            {"stage": stage["stage"], "x": x, "width": width, "height": height, "sites": sites}
        )
    return {"stages": drawn, "width": 720, "height": tall + 24, "gap": gap, "middle": 40}


def bars(counts: list[int]) -> list[dict[str, float]]:
    """Rectangles of a histogram, the highest as high as `SHAPE` has it."""
    width, height = SHAPE
    top = max(max(counts), 1)
    each = width / len(counts)
    return [
        {
            "x": round(place * each, 2),
            "y": round(height * (1 - count / top), 2),
            "width": round(each - 0.6, 2),
            "height": round(height * count / top, 2),
        }
        for place, count in enumerate(counts)
    ]
