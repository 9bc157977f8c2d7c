"""Clerestory: find out what a text-to-image model knows, where it keeps it, and how to change it.

    import clerestory

    model = clerestory.load("lancet")
    run = model.run("a stained glass of a cat", range(4), read=["text.*/mlp"])

Each verb of the command line is a function of the same name: `record`, `find`, `verify`, `group`,
`maximize`, `compare`, `familiarity`, `attribute`, `suppress`, `steer`. They return results that
print as one line, have a `table()` and a `plot()`, and can be saved. `doctor` examines a model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clerestory import errors
    from clerestory.attribution import attribute
    from clerestory.causal import verify
    from clerestory.contrasts import find, group
    from clerestory.diagnostics import doctor
    from clerestory.edits import Ablate, Add, Clamp, Erase, Patch, Reflect, Scale
    from clerestory.maximization import compare, maximize
    from clerestory.models import Model, load
    from clerestory.recognition import familiarity
    from clerestory.recordings import Recording, record
    from clerestory.steering import SteeredModel, load_steered, steer
    from clerestory.studies import Study
    from clerestory.suppression.suppress import suppress

__version__ = "0.1.0"

_PACKAGES = {
    "attribution": ("attribute",),
    "causal": ("verify",),
    "contrasts": ("find", "group"),
    "diagnostics": ("doctor",),
    "edits": ("Ablate", "Add", "Clamp", "Erase", "Patch", "Reflect", "Scale"),
    "maximization": ("compare", "maximize"),
    "models": ("Model", "load"),
    "recognition": ("familiarity",),
    "recordings": ("Recording", "record"),
    "steering": ("SteeredModel", "load_steered", "steer"),
    "studies": ("Study",),
    "suppression": ("suppress",),
}
_PACKAGE_OF = {name: package for package, names in _PACKAGES.items() for name in names}

__all__ = [
    "Ablate",
    "Add",
    "Clamp",
    "Erase",
    "Model",
    "Patch",
    "Recording",
    "Reflect",
    "Scale",
    "SteeredModel",
    "Study",
    "attribute",
    "compare",
    "doctor",
    "errors",
    "familiarity",
    "find",
    "group",
    "load",
    "load_steered",
    "maximize",
    "record",
    "steer",
    "suppress",
    "verify",
]


def __getattr__(name: str) -> Any:
    # Names are imported when they are first used, so that `import clerestory` alone takes no time.
    if name == "errors":
        return import_module("clerestory.errors")
    if name not in _PACKAGE_OF:
        raise AttributeError(f"module 'clerestory' has no attribute {name!r}")
    return getattr(import_module(f"clerestory.{_PACKAGE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
