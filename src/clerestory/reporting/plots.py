"""Altair charts to SVG and PNG, whatever prompts, names and classes are written in them."""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import Any

from markupsafe import Markup

from clerestory.reporting.escaping import visible

__all__ = ["png", "svg"]


def svg(chart: Any) -> Markup:
    """The chart as an SVG element, for a page.

    Args:
        chart: An Altair chart.

    Returns:
        Markup, which templates do not escape.
    """
    # Imported late: it loads a JavaScript engine.
    import vl_convert

    specification = _clean(chart.to_dict())
    digest = blake2b(json.dumps(specification, sort_keys=True, default=str).encode(), digest_size=4)
    return Markup(_stable_ids(vl_convert.vegalite_to_svg(specification), digest.hexdigest()))


def png(chart: Any) -> bytes:
    """The chart as a PNG, two pixels for one.

    Args:
        chart: An Altair chart.

    Returns:
        The bytes of the file.
    """
    import vl_convert

    image: bytes = vl_convert.vegalite_to_png(_clean(chart.to_dict()), scale=2)
    return image


def _stable_ids(image: str, name: str) -> str:
    """An SVG whose ids depend on the chart alone.

    Vega numbers gradients and clips on through the whole process, so that the same page would
    differ from call to call.
    """
    numbers = dict.fromkeys(re.findall(r'\bid="((?:gradient|clip)_?\d+)"', image))
    for number, old in enumerate(numbers):
        image = re.sub(rf"\b{old}\b", f"id-{name}-{number}", image)
    return image


def _clean(value: Any) -> Any:
    """A value of a specification without control characters, at all depths."""
    # vl_convert ends the whole process at a control character.
    if isinstance(value, dict):
        return {_clean(name): _clean(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_clean(entry) for entry in value]
    return visible(value.replace("\n", " ")) if isinstance(value, str) else value
