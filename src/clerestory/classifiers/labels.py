"""What classifiers see in a recording's pictures, as columns; each picture is looked at once.

label(recording, "lancet:mood")      # columns predicted.mood, predicted.mood.confidence

Labels are kept in the recording's folder by the picture's content, so a picture that is drawn
again, in this recording or in a copy, is not classified again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.classifiers.base import Classifier, classifier
from clerestory.errors import RecordingError, RegistryError
from clerestory.models.core.family import Progress
from clerestory.registry import suggest
from clerestory.types import Role

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recordings import Recording

__all__ = ["label", "passes", "picture_digest", "place", "seen"]

BATCH = 256
FOLDER = "labels"
COLUMNS = ("picture", "said", "confidence")
RULED_OUT = ""
"""The label of a picture that the gate rules out."""


def label(
    recording: Recording,
    name: str,
    *,
    column: str | None = None,
    role: Role = "evaluation",
    gate: str | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Two columns for the recording's good samples: the likeliest class, and its probability.

    `column` is what they are called after `predicted.`, by default the last part of the
    classifier's name. With `gate`, a condition `CLASSIFIER=CLASS`, pictures of which that
    classifier does not say so have the label "". RecordingError where no pictures were kept.
    """
    import pandas as pd

    rows = recording.rows
    said, sure = seen(recording, classifier(name, role=role), rows, progress)
    if gate is not None:
        said = np.where(passes(recording, gate, role=role), said, RULED_OUT)
    called = column or name.rpartition(":")[2]
    table = {f"predicted.{called}": said, f"predicted.{called}.confidence": sure}
    return pd.DataFrame(table, index=rows)


def passes(recording: Recording, gate: str, *, role: Role = "evaluation") -> NDArray[np.bool_]:
    """Which good samples' pictures a gate `CLASSIFIER=CLASS` lets through.

    RegistryError where the classifier has no such class.
    """
    name, equals, wanted = gate.rpartition("=")
    if not equals:
        raise RegistryError(
            f"{gate!r} is no gate; write CLASSIFIER=CLASS, as lancet:window=absent."
        )
    judge = classifier(name, role=role)
    if wanted not in judge.classes:
        raise RegistryError(f"{name} has no class {wanted!r}.{suggest(wanted, judge.classes)}")
    said, _ = seen(recording, judge, recording.rows)
    return np.asarray(said == wanted)


def seen(
    recording: Recording,
    judge: Classifier,
    rows: NDArray[np.integer],
    progress: Progress | None = None,
) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    """The likeliest class of each of these samples' pictures, and its probability."""
    kept = _Kept(recording, judge)
    before = len(kept.found)
    digests: list[str] = []
    for part in _parts(rows):
        pictures = recording.pictures(part)
        own = [picture_digest(one) for one in pictures]
        new = [at for at, digest in enumerate(own) if digest not in kept.found]
        if new:
            kept.add([own[at] for at in new], judge(pictures[new]))
        digests += own
        if progress is not None:
            progress(len(digests), len(rows))
    if len(kept.found) > before:
        with suppress(OSError):  # a folder that cannot be written to is looked at again each time
            kept.write()
    told = [kept.found[digest] for digest in digests]
    said = np.array([name for name, _ in told], dtype=object)
    return said, np.array([sure for _, sure in told], dtype=np.float64)


def picture_digest(picture: NDArray[np.uint8]) -> str:
    """What a picture is known by: BLAKE2b of its pixels."""
    return hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest()


def place(judge: Classifier, ending: str) -> str:
    """Where a recording's folder keeps what is of this classifier, as it is now."""
    mark = getattr(judge, "mark", judge.source)
    told = "\n".join([judge.source, mark, *judge.classes])
    stem = "".join(sign if sign.isalnum() else "-" for sign in judge.source).strip("-")[:60]
    digest = hashlib.blake2b(told.encode(), digest_size=6).hexdigest()
    return f"{FOLDER}/{stem}-{digest}{ending}"


def _parts(rows: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


class _Kept:
    """One classifier's labels in a recording's folder, by the digest of the picture."""

    def __init__(self, recording: Recording, judge: Classifier) -> None:
        self.folder, self.classes = recording.store.folder, judge.classes
        self.name = place(judge, ".parquet")
        self.found = self._read()

    def add(self, digests: list[str], odds: NDArray[np.float32]) -> None:
        """Note the likeliest class of each picture."""
        for digest, row in zip(digests, odds, strict=True):
            best = int(row.argmax())
            self.found[digest] = (self.classes[best], float(row[best]))

    def write(self) -> None:
        """Write all labels, whole or not at all."""
        import pandas as pd

        rows = [(digest, said, sure) for digest, (said, sure) in self.found.items()]
        raw = io.BytesIO()
        pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(raw)
        self.folder.write(self.name, raw.getvalue())

    def _read(self) -> dict[str, tuple[str, float]]:
        try:
            table = self.folder.table(self.name)
            if table is None:
                return {}
            kept = zip(*(table[name].tolist() for name in COLUMNS), strict=True)
        except (RecordingError, KeyError):  # damaged: the pictures are there to be asked
            return {}
        rows = list(kept)
        fine = all(map(self._could_be, rows))
        return {picture: (said, sure) for picture, said, sure in rows} if fine else {}

    def _could_be(self, row: tuple[Any, Any, Any]) -> bool:
        """Whether a row is one that `write` could have written."""
        picture, said, sure = row
        texts = isinstance(picture, str) and isinstance(said, str) and said in self.classes
        return texts and isinstance(sure, float) and 0 <= sure < 1.001
