"""Predictions for the pictures of a recording, as columns; each picture is classified once.

    label_samples(recording, "lancet:mood")   # columns predicted.mood, predicted.mood.confidence

Labels are stored in the recording's folder under the digest of the picture, so that equal pictures,
in this recording or in a copy of it, are not classified again.
"""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.classifiers.base import Classifier, classify, load_classifier, parse_target
from clerestory.errors import RecordingError
from clerestory.io.parquet import write_parquet
from clerestory.types import Bools, Floats, Integers, Pictures, Progress, Role

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recordings import Recording

__all__ = ["classifier_file", "label_samples", "matches_target", "picture_digest", "predict"]

BATCH = 256
FOLDER = "labels"
COLUMNS = ("picture", "label", "confidence")
NO_LABEL = ""
"""The label of a picture that the filter leaves out."""


def label_samples(
    recording: Recording,
    name: str,
    *,
    column: str | None = None,
    role: Role = "evaluation",
    picture_filter: str | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Classify the pictures of a recording's samples.

    Args:
        recording: A recording with pictures.
        name: The classifier.
        column: What the columns are called after `predicted.`; by default the last part of the
            classifier's name.
        role: Which of two classifiers of that name.
        picture_filter: CLASSIFIER=LABEL; other pictures get the label "".
        progress: Called with (label, classified pictures, all pictures).

    Returns:
        A row for each complete sample, with `predicted.COLUMN`, the likeliest class, and
        `predicted.COLUMN.confidence`, its probability.

    Raises:
        RecordingError: No pictures were kept.
        RegistryError: There is no such classifier or class.
    """
    import pandas as pd

    labels, confidences = predict(recording, load_classifier(name, role=role), progress=progress)
    if picture_filter is not None:
        labels = np.where(matches_target(recording, picture_filter, role=role), labels, NO_LABEL)
    key = f"predicted.{column or name.rpartition(':')[2]}"
    return pd.DataFrame({key: labels, f"{key}.confidence": confidences}, index=recording.rows)


def matches_target(recording: Recording, target: str, *, role: Role = "evaluation") -> Bools:
    """Whether a target is predicted for the picture of each complete sample, `[sample]`.

    Args:
        recording: A recording with pictures.
        target: CLASSIFIER=LABEL.
        role: Which of two classifiers of that name.

    Returns:
        A flag for each complete sample.

    Raises:
        RegistryError: There is no such classifier or class.
    """
    name, label = parse_target(target, role=role)
    labels, _ = predict(recording, load_classifier(name, role=role))
    return np.asarray(labels == label)


def predict(
    recording: Recording,
    classifier: Classifier,
    rows: Integers | None = None,
    progress: Progress | None = None,
) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    """The likeliest class of each sample's picture, and its probability.

    Args:
        recording: A recording with pictures.
        classifier: The classifier.
        rows: Sample numbers; by default all complete samples.
        progress: Called with (label, classified pictures, all pictures).

    Returns:
        Two arrays, `[sample]`.
    """
    rows = recording.rows if rows is None else rows
    store = _LabelStore(recording, classifier)
    before = len(store.labels)
    digests: list[str] = []
    for start in range(0, len(rows), BATCH):
        pictures = recording.pictures(rows[start : start + BATCH])
        # By digest: a picture that several recordings or seeds share is classified once.
        batch = [picture_digest(picture) for picture in pictures]
        new = [index for index, digest in enumerate(batch) if digest not in store.labels]
        if new:
            store.add([batch[index] for index in new], classify(classifier, pictures[new]))
        digests += batch
        if progress is not None:
            progress(f"classifying by {classifier.source}", len(digests), len(rows))
    if len(store.labels) > before:
        with suppress(OSError):  # in a read-only folder, pictures are classified at every call
            store.write()
    predictions = [store.labels[digest] for digest in digests]
    # Objects, since NumPy's own strings would be padded to the longest label.
    labels = np.array([label for label, _ in predictions], dtype=object)
    return labels, np.array([confidence for _, confidence in predictions], dtype=np.float64)


def picture_digest(picture: Pictures) -> str:
    """BLAKE2b digest of the pixels of a picture.

    Args:
        picture: `[height, width, 3]`.

    Returns:
        32 hexadecimal digits.
    """
    return hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest()


def classifier_file(classifier: Classifier, ending: str) -> str:
    """The file in a recording's folder that belongs to this version of a classifier.

    Args:
        classifier: The classifier.
        ending: Ending of the file's name, such as `.parquet`.

    Returns:
        The path within the recording's folder; it depends on the weights and classes.
    """
    # The weights may change under one name, which makes another classifier.
    version = getattr(classifier, "digest", classifier.source)
    identity = "\n".join([classifier.source, version, *classifier.classes])
    # A source has any characters and length; the digest distinguishes shortened names.
    stem = "".join(char if char.isalnum() else "-" for char in classifier.source).strip("-")[:60]
    digest = hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()
    return f"{FOLDER}/{stem}-{digest}{ending}"


class _LabelStore:
    """The labels of one classifier in a recording's folder, by digest of the picture."""

    def __init__(self, recording: Recording, classifier: Classifier) -> None:
        self.folder, self.classes = recording.store.folder, classifier.classes
        self.name = classifier_file(classifier, ".parquet")
        self.labels = self._read()

    def add(self, digests: list[str], probabilities: Floats) -> None:
        """Add the likeliest class of each picture."""
        for digest, row in zip(digests, probabilities, strict=True):
            best = int(row.argmax())
            self.labels[digest] = (self.classes[best], float(row[best]))

    def write(self) -> None:
        """Write all labels; the file is replaced as a whole."""
        import pandas as pd

        rows = [(digest, *prediction) for digest, prediction in self.labels.items()]
        raw = io.BytesIO()
        write_parquet(pd.DataFrame(rows, columns=list(COLUMNS)), raw)
        self.folder.write(self.name, raw.getvalue())

    def _read(self) -> dict[str, tuple[str, float]]:
        try:
            table = self.folder.table(self.name)
            if table is None:
                return {}
            rows = list(zip(*(table[name].tolist() for name in COLUMNS), strict=True))
        except (RecordingError, KeyError):  # a damaged file: pictures are classified again
            return {}
        # A recording may come from anywhere: if one row is impossible, none is trusted.
        if not all(map(self._is_possible, rows)):
            return {}
        return {picture: (label, confidence) for picture, label, confidence in rows}

    def _is_possible(self, row: tuple[Any, Any, Any]) -> bool:
        """Whether `write` could have written a row."""
        picture, label, confidence = row
        if not (isinstance(picture, str) and isinstance(label, str) and label in self.classes):
            return False
        # A probability in single precision may exceed 1 by rounding.
        return isinstance(confidence, float) and 0 <= confidence < 1.001
