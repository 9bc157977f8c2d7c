"""All families: those of this package, and those of plug-ins.

A plug-in package names, as an entry point of the group `clerestory.families`, a module that
registers its families when it is imported.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from clerestory.models.core.family import Family, families
from clerestory.registry import Registry, filled

__all__ = ["load_families"]


@functools.cache
def load_families() -> Registry[Callable[[Any], Family]]:
    """Import every family of this package and of plug-ins.

    Returns:
        The registry `families`, by class names of pipelines.

    Raises:
        RegistryError: A plug-in cannot be imported.
    """
    return filled(families, "clerestory.models.families", "clerestory.families")
