"""Parts of pages: samples with pictures, words, related units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clerestory.microscope import overlays
from clerestory.microscope.folder import Microscope, Unit

__all__ = ["related", "samples", "words"]


def samples(
    microscope: Microscope, unit: Unit, rows: Any, *, maps: bool = False
) -> list[dict[str, Any]]:
    """Samples with their prompts, values and pictures.

    Args:
        microscope: The microscope.
        unit: The unit.
        rows: Numbers of samples; negative numbers are padding.
        maps: Whether to add the heat map, as addresses `overlay` and `crop`.

    Returns:
        An entry a sample, ready for JSON.
    """
    recording = unit.site.recording
    values, prompts = unit.figure("values"), microscope.prompts(recording)
    entries = []
    for row in rows:
        # −1 pads rows of units with fewer samples.
        if row < 0:
            continue
        entry = {
            "sample": int(row),
            "prompt": prompts[row],
            "value": float(values[row]),
            "picture": microscope.picture(recording, int(row)),
        }
        if maps:
            entry |= overlays.overlay_and_crop(microscope, unit, int(row), entry["picture"])
        entries.append(entry)
    return entries


def words(microscope: Microscope, unit: Unit, direction: str) -> list[dict[str, Any]]:
    """Words of prompts that raise or lower a unit.

    Args:
        microscope: The microscope.
        unit: The unit.
        direction: `up` or `down`.

    Returns:
        Words with their effects in standard deviations of the unit, the largest first.
    """
    vocabulary = microscope.words(unit.site.recording)
    numbers, effects = unit.figure(f"{direction}-word"), unit.figure(f"{direction}-effect")
    return [
        {"word": vocabulary[number], "effect": float(effect)}
        for number, effect in zip(numbers, effects, strict=True)
        if number >= 0
    ]


def related(microscope: Microscope, unit: Unit, path: Callable[[str], str]) -> list[dict[str, Any]]:
    """Units that correlate with a unit, each with the picture of its highest activation.

    Args:
        microscope: The microscope.
        unit: The unit.
        path: Returns the path of the page of a unit's path.

    Returns:
        Units with their correlations, the closest first.
    """
    entries = []
    for number, r in zip(unit.figure("near"), unit.figure("near-r"), strict=True):
        # Constant units correlate with none: these neighbours are arbitrary.
        if r == 0:
            continue
        other = microscope.at(int(number))
        first = samples(microscope, other, other.figure("most")[:1])
        entries.append(
            {
                "unit": other.address,
                "path": path(other.path),
                "r": float(r),
                "picture": first[0]["picture"] if first else None,
            }
        )
    return entries
