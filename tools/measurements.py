"""What the scripts that measure Lancet share: parts by name, each kept as PART.json in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Part", "Tell", "measured"]

Tell = Callable[[str, int, int], None]
Part = Callable[[Any, Tell], dict[str, Any]]


def measured(parts: Mapping[str, Part], folder: Path, names: Sequence[str]) -> None:
    """Measure these parts, or all, on the shipped Lancet, and keep what came."""
    import clerestory
    from clerestory.cli import console

    model = clerestory.load("lancet")
    folder.mkdir(exist_ok=True)
    with console.progress_bars() as tell:
        for name in names or parts:
            came = {"revision": model.revision, **parts[name](model, tell)}
            (folder / f"{name}.json").write_text(json.dumps(came, indent=1) + "\n")
