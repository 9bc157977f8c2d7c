"""Names on disk as they are drawn, so that a killed call goes on and another phrase need not wait.

FOLDER/names.json           what the names were drawn in, with, and looked at by
FOLDER/names/DIGEST.npz     one name

The phrase is no part of the plan: phrases that are asked about in one folder share its controls.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clerestory.errors import EvidenceError
from clerestory.io.outputs import planned_folder
from clerestory.io.reading import refusing
from clerestory.io.tensors import read_arrays
from clerestory.recognition.observation import Seen

__all__ = ["NAMES", "Kept"]

PLAN, NAMES = "names.json", "names"


class Kept:
    """The names of one plan, in memory and in a folder; only in memory where that is None.

    EvidenceError where the folder has names of another plan, with the differences.
    """

    def __init__(self, folder: Path | None, plan: Mapping[str, Any]) -> None:
        self.folder = folder
        if folder is None:
            return
        planned_folder(folder, PLAN, plan, other="names of another kind", error=EvidenceError)
        (folder / NAMES).mkdir(exist_ok=True)

    def get(self, name: str, *, shown: bool) -> Seen | None:
        """A name that was kept, with its pictures where they are to be `shown`; else None."""
        if self.folder is None:
            return None
        try:
            found = _seen(self._path(name))
        except EvidenceError:
            return None  # none yet, or damaged: it is drawn again
        return None if found.name != name or (shown and found.pictures is None) else found

    def keep(self, seen: Seen) -> None:
        """Keep a name, whole or not at all."""
        if self.folder is None:
            return
        raw = io.BytesIO()
        parts = {name: part for name, part in vars(seen).items() if part is not None}
        np.savez_compressed(raw, **parts)
        _written(self._path(seen.name), raw.getvalue())

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        digest = hashlib.blake2b(name.encode(), digest_size=12).hexdigest()
        return self.folder / NAMES / f"{digest}.npz"


def _seen(path: Path) -> Seen:
    """A name as it was kept; EvidenceError where there is none, or it is damaged."""
    with refusing(path, EvidenceError):
        parts = read_arrays(path, EvidenceError)
        figures = [parts[name] for name in ("rates", "hits", "embedding")]
        pictures = parts.get("pictures")
        contexts = len(figures[0])
        for one in figures:
            if one.ndim != 2 or one.dtype.kind != "f" or len(one) != contexts:
                raise ValueError("its figures are not by context")
            if not np.isfinite(one).all():
                raise ValueError("a figure is no number")
        if pictures is not None and not (pictures.ndim == 4 and pictures.dtype == np.uint8):
            raise ValueError("its pictures are none")
        rates, hits, embedding = figures
        return Seen(str(parts["name"]), rates, hits, embedding, pictures)


def _written(path: Path, raw: bytes) -> None:
    beside = path.with_name(f"{path.name}.part")
    beside.write_bytes(raw)
    beside.replace(path)
