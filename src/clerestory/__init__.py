"""Clerestory: find out what a text-to-image model knows, where it keeps it, and how to change it.

    import clerestory

    model = clerestory.load("lancet")
    run = model.run("a stained glass of a cat", range(4), read=["text.*/mlp"])

Names are imported when they are first used, so that `import clerestory` alone takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clerestory.edits import Add
    from clerestory.models import Model, Options, Run, Sample, Site, Step, load, wrap
    from clerestory.recordings import Recording, record
    from clerestory.steering import SteeredModel, load_steered

__version__ = "0.1.0"

__all__ = [
    "Add",
    "Model",
    "Options",
    "Recording",
    "Run",
    "Sample",
    "Site",
    "SteeredModel",
    "Step",
    "load",
    "load_steered",
    "record",
    "wrap",
]

_HOMES = {
    **dict.fromkeys(
        ("Model", "Options", "Run", "Sample", "Site", "Step", "load", "wrap"), "clerestory.models"
    ),
    "Add": "clerestory.edits",
    **dict.fromkeys(("Recording", "record"), "clerestory.recordings"),
    **dict.fromkeys(("SteeredModel", "load_steered"), "clerestory.steering"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clerestory' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
