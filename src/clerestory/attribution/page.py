"""An attribution's page: what each piece brings, every combination drawn, the path, the layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from clerestory.attribution import charts
from clerestory.attribution.indices import coalitions
from clerestory.attribution.results import Attribution
from clerestory.reporting.escaping import to_json
from clerestory.reporting.pages import environment
from clerestory.reporting.pictures import data_address
from clerestory.reporting.plots import svg

__all__ = ["FILE", "keep"]

FILE, PAGE = "attribution.json", "attribution.html"


def keep(found: Attribution, folder: Path) -> Path:
    """Write figures and page into a folder that is there; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(to_json(found.told()) + "\n", "utf-8")
    path = folder / PAGE
    path.write_text(page(found), "utf-8")
    return path


def page(found: Attribution) -> str:
    """The page as HTML; whatever comes from prompts or names is escaped."""
    first = found.absence[0]
    made = environment("clerestory.attribution")
    made.filters["span"] = lambda one: f"{one.value:+.2f} ({one.low:+.2f} to {one.high:+.2f})"
    return made.get_template("attribution.html").render(
        found=found,
        splits=[
            {
                "name": name,
                "inner": name in found.inner,
                "ways": ways,
                "first": ways[first],
                "network": svg(charts.network(ways[first])),
            }
            for name, ways in found.of.items()
        ],
        paths={name: svg(charts.paths(found, name)) for name in found.path if found.path[name]},
        tokens=_tokens(found),
        drawn=_combinations(found),
        layers={
            site.split("/")[0]: [data_address(one) for one in pictures]
            for site, pictures in found.layers.items()
        },
    )


def _tokens(found: Attribution) -> list[tuple[str, Markup]]:
    """A chart for each value and text encoder, named by the latter where there are several."""
    several = len({one.stage for one in found.patched}) > 1
    charted = []
    for name, stage in dict.fromkeys((one.value, one.stage) for one in found.patched):
        own = [one for one in found.patched if (one.value, one.stage) == (name, stage)]
        title = f"{name}: tokens of {stage}" if several else name
        charted.append((title, svg(charts.tokens(own))))
    return charted


def _combinations(found: Attribution) -> list[dict[str, Any]]:
    """Each combination: its prompt, its pictures, its values."""
    if found.pictures is None:
        return []
    way = found.absence[0]
    rows = []
    for at, present in enumerate(coalitions(len(found.pieces))):
        means = {name: ways[way].means for name, ways in found.of.items()}
        rows.append(
            {
                "prompt": found.asked.text(present, way),
                "pieces": [name for name, here in zip(found.pieces, present, strict=True) if here],
                "pictures": [data_address(one) for one in found.pictures[at]],
                "values": {name: float(own[at]) for name, own in means.items() if own is not None},
            }
        )
    return rows
