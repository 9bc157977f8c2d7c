"""How a class of a classifier is said in a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lancet.world.table import World

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["FACTORS_SAID", "words_for"]

FACTORS_SAID = ("style", "mood", "place", "perspective", "artwork", "hair", "clothes", "scarf")
FOLLOWING = ("hair", "clothes", "scarf", "place")
"""Those whose words stand after what they are said of."""


def words_for(model: Model, judge: str, shows: str) -> str:
    """How to say a class of a classifier of what is in place of `{x}`.

    In Lancet's captions' first way where they have one, else after a comma.
    """
    factor = judge.removeprefix("lancet:")
    if model.name == "lancet" and factor in FACTORS_SAID:
        level = World.load().factor(factor).get(shows)
        said = getattr(level, "words", ())
        if said and "{x}" in said[0]:
            return str(said[0])
        if said and factor in FOLLOWING:
            return f"{{x}} {said[0]}"
    return f"{{x}}, {shows}"
