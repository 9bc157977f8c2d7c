"""The page of a search: its curve, random prompts, and the best prompts with their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clerestory.maximization.results import MaximizationResult
from clerestory.reporting.pages import environment
from clerestory.reporting.pictures import data_address
from clerestory.reporting.plots import png, svg

__all__ = ["write_gallery"]


def write_gallery(result: MaximizationResult, folder: Path) -> Path:
    """Save a result with `gallery.html` and `curve.png`.

    Args:
        result: The result.
        folder: A folder; it may hold the trail of this search.

    Returns:
        The path of the page.
    """
    result.save(folder)
    plot = result.plot()
    (folder / "curve.png").write_bytes(png(plot))
    # Without pictures each prompt still has its row.
    pictures: Any = result.pictures if result.pictures is not None else [[] for _ in result.best]
    rows = [
        {"best": prompt, "pictures": [data_address(picture) for picture in row]}
        for prompt, row in zip(result.best, pictures, strict=True)
    ]
    template = environment("clerestory.maximization").get_template("gallery.html")
    path = folder / "gallery.html"
    path.write_text(template.render(result=result, rows=rows, plot=svg(plot)), encoding="utf-8")
    return path
