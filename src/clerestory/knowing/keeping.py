"""Names on disk as they are drawn, so that a killed call goes on and another phrase need not wait.

FOLDER/names.json           what the names were drawn in, with, and looked at by
FOLDER/names/DIGEST.npz     one name

The phrase is no part of the plan: phrases that are asked about in one folder share its controls.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clerestory.errors import EvidenceError
from clerestory.knowing.seeing import Seen
from clerestory.outputs import planned_folder

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
            with np.load(io.BytesIO(self._path(name).read_bytes())) as parts:
                pictures = parts.get("pictures")
                found = Seen(
                    str(parts["name"]), parts["rates"], parts["hits"], parts["embedding"], pictures
                )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None  # none yet, or damaged: it is drawn again
        return None if found.name != name or (shown and pictures is None) else found

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


def _written(path: Path, raw: bytes) -> None:
    beside = path.with_name(f"{path.name}.part")
    beside.write_bytes(raw)
    beside.replace(path)
