"""Observations on disk as they are made, so that a killed call resumes and phrases share controls.

FOLDER/names.json           what observations of these names depend on
FOLDER/names/DIGEST.npz     one name

The phrase is not part of the plan: phrases that are measured in one folder share its controls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clerestory.errors import EvidenceError
from clerestory.io.reading import wrap_errors
from clerestory.io.tensor_files import read_arrays
from clerestory.io.writing import atomic_file, check_empty_folder, open_planned_folder
from clerestory.recognition.observation import Observation

__all__ = ["NAMES", "ObservationStore"]

PLAN, NAMES = "names.json", "names"


class ObservationStore:
    """The observations of one plan; without a folder nothing is stored."""

    def __init__(self, folder: Path | None, plan: Mapping[str, Any]) -> None:
        """Open or create a folder.

        Args:
            folder: A folder, new or of the same plan; None stores nothing.
            plan: What observations depend on; see `Observer.plan`.

        Raises:
            EvidenceError: The folder has observations of another plan; the message has the
                differences.
        """
        self.folder = folder
        if folder is not None:
            open_planned_folder(
                folder, PLAN, plan, other="names of another kind", error=EvidenceError
            )
            (folder / NAMES).mkdir(exist_ok=True)

    @staticmethod
    def check_folder(folder: Path) -> None:
        """Check that a folder is new, empty, or has observations; nothing is written.

        Args:
            folder: The folder.

        Raises:
            OutputError: It has something else in it.
        """
        # A process that was killed may have left a part of the plan.
        if not any((folder / name).exists() for name in (PLAN, f"{PLAN}.part")):
            check_empty_folder(folder)

    def read(self, name: str, *, pictures: bool) -> Observation | None:
        """Read the observation of a name; None where there is none, or it lacks pictures.

        Args:
            name: The name.
            pictures: Whether an observation without pictures counts as missing.

        Returns:
            The observation, or None.
        """
        if self.folder is None:
            return None
        try:
            observation = _observation(self._path(name))
        except EvidenceError:
            return None  # none yet, or damaged: it is made again
        lacks_pictures = pictures and observation.pictures is None
        # Two names can share a digest, and a user can copy a file to another name.
        return None if observation.name != name or lacks_pictures else observation

    def write(self, observation: Observation) -> None:
        """Write an observation, whole or not at all.

        Args:
            observation: The observation; one of the same name is overwritten.
        """
        if self.folder is None:
            return
        arrays = {name: value for name, value in vars(observation).items() if value is not None}
        # A kill leaves no half of a file under the name.
        with atomic_file(self._path(observation.name)) as path:
            np.savez_compressed(path, **arrays)

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        # By digest: names may have characters that no file name can have.
        digest = hashlib.blake2b(name.encode(), digest_size=12).hexdigest()
        return self.folder / NAMES / f"{digest}.npz"


def _observation(path: Path) -> Observation:
    """The observation in a file; EvidenceError where it is missing or damaged."""
    with wrap_errors(path, EvidenceError):
        arrays = read_arrays(path, EvidenceError)
        figures = [arrays[name] for name in ("rates", "hits", "embedding")]
        pictures = arrays.get("pictures")
        contexts = len(figures[0])
        for each in figures:
            if each.ndim != 2 or each.dtype.kind != "f" or len(each) != contexts:
                raise ValueError("its figures are not by context")
            if not np.isfinite(each).all():
                raise ValueError("a figure is not finite")
        if pictures is not None and not (pictures.ndim == 4 and pictures.dtype == np.uint8):
            raise ValueError("its pictures are not pictures")
        rates, hits, embedding = figures
        return Observation(str(arrays["name"]), rates, hits, embedding, pictures)
