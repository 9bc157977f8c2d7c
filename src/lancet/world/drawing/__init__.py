"""Scenes to pictures: a place, what stands in it, seen from somewhere, in a style.

    picture = draw(art, world, scene)     # [64, 64, 3] uint8
    large = draw(art, world, scene, 128)  # the same scene at twice the size
    object_masks(art, world, scene)["owl"]  # where its owl stands, [64, 64] bool

`places` and `people` hold one drawn level each a function; `compose` puts them together. All
randomness comes from the scene's seed, so a scene is the same picture byte for byte.
"""

from lancet.world.drawing.compose import draw, object_masks

__all__ = ["draw", "object_masks"]
