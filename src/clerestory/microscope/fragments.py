"""Parts of pages: samples with their pictures, words, related units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clerestory.microscope import overlays
from clerestory.microscope.folder import Microscope, Unit

__all__ = ["related", "samples", "words"]


def samples(
    microscope: Microscope, unit: Unit, rows: Any, *, maps: bool = False
) -> list[dict[str, Any]]:
    """These samples with prompt, value, picture, and with `maps` where in it the unit is high.

    Args:
        microscope: The microscope.
        unit: The unit.
        rows: Numbers of samples; negative ones fill up and are left out.
        maps: Whether to add `overlay` and `crop`, addresses of pictures.

    Returns:
        An entry a sample, ready for JSON.
    """
    recording = unit.site.recording
    values, prompts = unit.figure("values"), microscope.prompts(recording)
    entries = []
    for row in rows:
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


def words(microscope: Microscope, unit: Unit, side: str) -> list[dict[str, Any]]:
    """Words that raise it (`up`) or lower it (`down`), with their effects.

    Args:
        microscope: The microscope.
        unit: The unit.
        side: `up` or `down`.

    Returns:
        Words with their effects in standard deviations of the unit, the largest first.
    """
    known = microscope.words(unit.site.recording)
    numbers, effects = unit.figure(f"{side}-word"), unit.figure(f"{side}-effect")
    return [
        {"word": known[number], "effect": float(effect)}
        for number, effect in zip(numbers, effects, strict=True)
        if number >= 0
    ]


def related(microscope: Microscope, unit: Unit, path: Callable[[str], str]) -> list[dict[str, Any]]:
    """The units that go with it, with the picture of the highest activation of each.

    Args:
        microscope: The microscope.
        unit: The unit.
        path: Turns a unit's path into that of its page.

    Returns:
        Units with their correlations, the closest first; those without any correlation are left
        out.
    """
    entries = []
    for number, r in zip(unit.figure("near"), unit.figure("near-r"), strict=True):
        # Units that never vary correlate with none: what stands there is only a filler.
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
