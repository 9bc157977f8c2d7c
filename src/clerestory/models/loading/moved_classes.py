"""Parts whose classes diffusers has moved to its deprecated pipelines, under their earlier names.

Checkpoints of Stable Cascade and Karlo name the packages `wuerstchen` and `unclip`, which diffusers
0.36 moved; folders that it writes itself name classes as if they were at its top.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from typing import Any

__all__ = ["is_moved_package", "restore_moved_classes"]

DEPRECATED = "diffusers.pipelines.deprecated"


def is_moved_package(name: str) -> bool:
    """Whether diffusers has a deprecated package of that name.

    Args:
        name: A package's name.

    Returns:
        True where it is found; it is not imported.
    """
    return importlib.util.find_spec(f"{DEPRECATED}.{name}") is not None


def restore_moved_classes(index: Mapping[str, Any]) -> None:
    """Make classes of a pipeline's parts known to diffusers by the names that its index has.

    Args:
        index: What `model_index.json` holds, checked.
    """
    import diffusers
    from diffusers import pipelines

    for entry in index.values():
        if not isinstance(entry, list) or not all(entry):
            continue
        library, name = entry
        if library == "diffusers" and not hasattr(diffusers, name):
            for package in pkgutil.iter_modules(importlib.import_module(DEPRECATED).__path__):
                module = importlib.import_module(f"{DEPRECATED}.{package.name}")
                if hasattr(module, name):
                    setattr(diffusers, name, getattr(module, name))
                    break
        elif not hasattr(pipelines, library) and is_moved_package(library):
            setattr(pipelines, library, importlib.import_module(f"{DEPRECATED}.{library}"))
