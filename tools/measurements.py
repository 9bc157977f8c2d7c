"""What the scripts that measure Lancet share: parts by name, each saved as PART.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Part", "Tell", "measured", "small"]

Tell = Callable[[str, int, int], None]
Part = Callable[[Any, Tell], dict[str, Any]]


def measured(parts: Mapping[str, Part], folder: Path, names: Sequence[str]) -> None:
    """Measure these parts, or all, on the shipped Lancet, and save their figures."""
    import clerestory
    from clerestory.cli import console

    model = clerestory.load("lancet")
    folder.mkdir(exist_ok=True)
    with console.progress_bars() as tell:
        for name in names or parts:
            figures = {"revision": model.revision, **parts[name](model, tell)}
            (folder / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")


def small(q: float) -> str:
    """A q value as text; a t of many degrees of freedom says no more than that it is tiny."""
    return "< 1e-9" if q < 1e-9 else f"{q:.1e}"
