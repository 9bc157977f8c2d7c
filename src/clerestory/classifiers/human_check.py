"""A person's check of a classifier: pictures labelled by eye, and rates corrected by these labels.

    write_sheet(recording, "lancet:mood", Path("check"))     # pictures, page.html, marks.csv
    check_classifier(recording, "lancet:mood", Path("check/marks.csv"))

Pictures are chosen at random from the recording and shown without the classifier's predictions. The
check is stored in the recording's folder, and all findings that use the classifier report it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.classifiers.base import Classifier, classify, load_classifier
from clerestory.classifiers.check_page import render_page
from clerestory.classifiers.labels import classifier_file, picture_digest, predict
from clerestory.errors import EvidenceError, RecordingError, describe_error
from clerestory.io.reading import parse_json, read_bytes
from clerestory.io.validation import validate
from clerestory.io.writing import atomic_folder
from clerestory.registry import suggest
from clerestory.stats import clopper_pearson, wilson
from clerestory.types import Role

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recordings import Recording

__all__ = ["CorrectedRate", "HumanCheck", "check_classifier", "load_check", "write_sheet"]

UNSURE = "?"
"""Mark of a picture that a person cannot label; such pictures widen the intervals."""
ENDING = ".check.json"
LEVEL = 0.95
"""Coverage of the intervals of corrected rates."""
MAX_PICTURES = 2**31
"""More pictures than any recording has: a file with a higher count was altered."""


@dataclass(frozen=True)
class CorrectedRate:
    """The share of a class among the pictures of a recording, 0 to 1.

    Attributes:
        predicted: The share that the classifier predicts.
        rate: That share, corrected by the marks.
        low: Lower limit of the 95% interval of the corrected share.
        high: Upper limit of that interval.
    """

    predicted: float
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class _Saved:
    """The fields of `HumanCheck.to_dict`."""

    source: str
    marked: int
    agreed: int
    unsure: tuple[int, ...]
    agreement: Mapping[str, float]
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    pictures: int
    rates: Mapping[str, CorrectedRate]


@dataclass(frozen=True, eq=False)
class HumanCheck:
    """A classifier's predictions beside a person's marks, for the pictures of one recording.

    Attributes:
        source: Source of the classifier.
        classes: Its classes.
        confusion: Numbers of marked pictures, `[marked class, predicted class]`.
        unsure: Numbers of pictures that the person could not label, `[predicted class]`.
        predicted: Share of each predicted class among all pictures of the recording.
        pictures: Number of all pictures of the recording.
    """

    source: str
    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    unsure: NDArray[np.int64]
    predicted: tuple[float, ...]
    pictures: int

    @property
    def marked(self) -> int:
        """Number of pictures that were marked with a class."""
        return int(self.confusion.sum())

    @property
    def agreed(self) -> int:
        """Number of pictures that were marked with the predicted class."""
        return int(np.trace(self.confusion))

    def corrected(self, label: str) -> CorrectedRate:
        """The share of a class among all pictures, corrected for the classifier's errors.

        It is the predicted share, plus the share of missed pictures, minus the share of wrongly
        predicted ones. The interval combines exact intervals of the two error shares, each at half
        of the error probability, so its coverage is at least its level. Pictures that the person
        could not label count as errors in whichever direction widens the interval, since those are
        the pictures that classifiers get wrong.

        Args:
            label: The class.

        Returns:
            The share before and after correction, 0 to 1, with its 95% interval.

        Source: Angelopoulos et al. 2023 (prediction-powered inference), made exact.
        """
        at = self.classes.index(label)
        right = int(self.confusion[at, at])
        missed = int(self.confusion[at].sum()) - right
        wrong = int(self.confusion[:, at].sum()) - right
        # Unsure pictures count as errors in whichever direction is worse, so
        # that they widen the interval.
        share, unsure = self.predicted[at], int(self.unsure[at])
        total_unsure = int(self.unsure.sum())
        unsure_elsewhere, total = total_unsure - unsure, self.marked + total_unsure
        # Two intervals at half of the error probability hold together at `LEVEL` (Bonferroni).
        level = 1 - (1 - LEVEL) / 2
        low = clopper_pearson(missed, total, level).low
        low -= clopper_pearson(wrong + unsure, total, level).high
        high = clopper_pearson(missed + unsure_elsewhere, total, level).high
        high -= clopper_pearson(wrong, total, level).low
        corrected = (share + (missed - wrong) / self.marked, share + low, share + high)
        # The correction can leave the range of a share.
        return CorrectedRate(share, *(min(1.0, max(0.0, value)) for value in corrected))

    @property
    def sentence(self) -> str:
        """The check in one line, for reports."""
        low, high = wilson(self.agreed, self.marked)
        unsure = int(self.unsure.sum())
        return (
            f"{self.source}: a person who did not see the predictions agrees on {self.agreed} of "
            f"{self.marked} pictures ({low:.0%} to {high:.0%})"
            + (f" and cannot tell {unsure} more." if unsure else ".")
        )

    def shares(self, queries: Iterable[str]) -> str:
        """A sentence with the corrected shares of the classes that queries name.

        Args:
            queries: Queries and filters, in which a class follows a quotation mark or `=`.

        Returns:
            The sentence; "" if no class is named.
        """
        text = " ".join(queries)
        named = [label for label in self.classes if re.search(rf"['\"=]{re.escape(label)}\b", text)]
        rates = [(label, self.corrected(label)) for label in named]
        parts = [
            f"{label} {rate.predicted:.0%}, corrected {rate.low:.0%} to {rate.high:.0%}"
            for label, rate in rates
        ]
        return f"Of all pictures: {'; '.join(parts)}." if parts else ""

    def to_dict(self) -> dict[str, Any]:
        """Every field and figure, ready for JSON."""
        low, high = wilson(self.agreed, self.marked)
        return {
            "source": self.source,
            "marked": self.marked,
            "agreed": self.agreed,
            "unsure": self.unsure.tolist(),
            "agreement": {"rate": self.agreed / self.marked, "low": low, "high": high},
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "pictures": self.pictures,
            "rates": {label: asdict(self.corrected(label)) for label in self.classes},
        }

    @classmethod
    def from_dict(cls, values: Any) -> HumanCheck:
        """Restore a check from what `to_dict` returned.

        Args:
            values: The values that were read from JSON.

        Returns:
            An equal check.

        Raises:
            EvidenceError: A field is invalid, or the counts are inconsistent.
        """
        saved = validate(_Saved, values, "a classifier's check", EvidenceError)
        classes = len(saved.classes)
        counts = [*saved.unsure, *(count for row in saved.confusion for count in row)]
        # Shapes and counts, which pydantic cannot check against each other.
        square = len(saved.confusion) == len(saved.unsure) == classes
        square = square and all(len(row) == classes for row in saved.confusion)
        if not square or set(saved.rates) != set(saved.classes) or min(counts, default=-1) < 0:
            raise EvidenceError(
                f"The check of {saved.source[:80]} counts other classes than it has."
            )
        if not 0 < sum(map(sum, saved.confusion)) <= sum(counts) < MAX_PICTURES:
            raise EvidenceError(f"The check of {saved.source[:80]} counts no or too many pictures.")
        return cls(
            source=saved.source,
            classes=saved.classes,
            confusion=np.array(saved.confusion, np.int64),
            unsure=np.array(saved.unsure, np.int64),
            predicted=tuple(saved.rates[label].predicted for label in saved.classes),
            pictures=saved.pictures,
        )


def write_sheet(
    recording: Recording,
    name: str,
    out: Path,
    *,
    size: int = 100,
    seed: int = 0,
    role: Role = "evaluation",
) -> int:
    """Write pictures to be marked, a page to mark them on, and an empty table of marks.

    Args:
        recording: A complete recording with pictures.
        name: Name of the classifier.
        out: A new or empty folder.
        size: Number of pictures; all if the recording has fewer.
        seed: Random seed of the choice.
        role: Which of two classifiers of that name.

    Returns:
        The number of pictures.

    Raises:
        OutputError: The folder is not empty.
        RecordingError: The recording has no pictures, or is not complete, so that the existing ones
            are not a random choice.
        ModelError: The classifier cannot read the pictures.
    """
    import pandas as pd
    from PIL import Image

    classifier = load_classifier(name, role=role)
    _check_complete(recording)
    # At random: the first samples of a recording are of few prompts.
    rows = np.random.default_rng(seed).permutation(recording.rows)[:size]
    # A classifier that cannot read these pictures fails here, before anything is written.
    classify(classifier, recording.pictures(rows[:1]))
    # Read in the order of the recording, which is faster, and shown in the random order.
    pictures = recording.pictures(np.sort(rows))
    by_row = dict(zip(np.sort(rows).tolist(), pictures, strict=True))
    with atomic_folder(out) as part:
        (part / "pictures").mkdir()
        lines = []
        for row in rows.tolist():
            # Named by its digest, so that marks of other pictures are noticed.
            file = f"pictures/{picture_digest(by_row[row])}.png"
            Image.fromarray(by_row[row]).save(part / file)
            lines.append((row, file, ""))
        table = pd.DataFrame(lines, columns=["sample", "picture", "marked"])
        table.to_csv(part / "marks.csv", index=False)
        page = render_page(classifier.source, classifier.classes, UNSURE, lines)
        (part / "page.html").write_text(page, "utf-8")
    return len(table)


def check_classifier(
    recording: Recording, name: str, marks: Path, *, role: Role = "evaluation"
) -> HumanCheck:
    """Compare a person's marks with the predictions, and store the check with the recording.

    Args:
        recording: The recording that the pictures come from.
        name: Name of the classifier.
        marks: The completed table of marks.
        role: Which of two classifiers of that name.

    Returns:
        The check, which is also written into the recording's folder.

    Raises:
        EvidenceError: The table is of other pictures, has no mark, or one that is not a label.
    """
    classifier = load_classifier(name, role=role)
    _check_complete(recording)
    marked = _read_marks(recording, classifier, marks)
    labels, _ = predict(recording, classifier)
    by_row = dict(zip(recording.rows.tolist(), labels, strict=True))
    index = {label: position for position, label in enumerate(classifier.classes)}
    confusion = np.zeros((len(index), len(index)), np.int64)
    unsure = np.zeros(len(index), np.int64)
    for row, mark in marked.items():
        if mark == UNSURE:
            unsure[index[by_row[row]]] += 1
        else:
            confusion[index[mark], index[by_row[row]]] += 1
    if not confusion.any():
        raise EvidenceError(f"{marks} has no marks yet: fill in the column 'marked'.")
    shares = tuple(float((labels == label).mean()) for label in classifier.classes)
    classes = tuple(classifier.classes)
    check = HumanCheck(classifier.source, classes, confusion, unsure, shares, len(labels))
    content = json.dumps(check.to_dict()).encode()
    recording.store.folder.write(classifier_file(classifier, ENDING), content)
    return check


def load_check(recording: Recording, classifier: Classifier) -> HumanCheck | None:
    """The check of a classifier that is stored with a recording; None if there is none.

    Args:
        recording: The recording.
        classifier: The classifier.

    Returns:
        The check of this version of the classifier.

    Raises:
        RecordingError: The file is damaged.
    """
    name = classifier_file(classifier, ENDING)
    raw = recording.store.folder.read(name)
    try:
        return None if raw is None else HumanCheck.from_dict(parse_json(raw, name, RecordingError))
    except (RecordingError, EvidenceError) as error:
        raise RecordingError(
            f"{recording.store.folder}/{name} cannot be read: remove it, and check again."
        ) from error


def _check_complete(recording: Recording) -> None:
    missing = int((~recording.samples["done"]).sum())
    if missing:
        raise RecordingError(
            f"{recording.store.folder} lacks {missing} samples yet: finish the recording first."
        )


def _read_marks(recording: Recording, classifier: Classifier, marks: Path) -> dict[int, str]:
    """The mark of each sample that has one: a class or `UNSURE`."""
    known = {*classifier.classes, UNSURE}
    marked: dict[int, str] = {}
    # From 2, since line 1 has the names of the columns.
    for line, (sample, file, mark) in enumerate(_table(marks).itertuples(index=False), start=2):
        where = f"{marks}, line {line}"
        # The page puts an apostrophe before text that a spreadsheet would take for a formula.
        mark = mark if mark in known else mark.removeprefix("'")
        if mark == "":
            continue
        if mark not in known:
            near = suggest(mark, classifier.classes)
            raise EvidenceError(f"{where}: {classifier.source} has no {mark!r}.{near}")
        if not sample.isdecimal():
            raise EvidenceError(f"{where}: {sample!r} is not a sample of the recording.")
        row = int(sample)
        if row in marked:
            raise EvidenceError(f"{where}: sample {row} is marked twice.")
        # False for a row of another recording, which no name of a file equals.
        digest = row in recording.rows and picture_digest(recording.pictures(row)[0])
        if Path(file).stem != digest:
            raise EvidenceError(
                f"{where}: sample {row} of {recording.store.folder} is another picture; these "
                "marks are of another recording."
            )
        marked[row] = mark
    return marked


def _table(marks: Path) -> pd.DataFrame:
    import pandas as pd

    columns = ["sample", "picture", "marked"]
    try:
        raw = read_bytes(marks, EvidenceError)
        # As text: a class called `nan` or `1` stays what it is.
        table = pd.read_csv(io.BytesIO(raw), dtype=str, keep_default_na=False)
        stripped: pd.DataFrame = table[columns].apply(lambda column: column.str.strip())
    except (OSError, ValueError, KeyError) as error:
        raise EvidenceError(
            f"{marks} is not a table of marks ({describe_error(error)}); columns: "
            f"{', '.join(columns)}."
        ) from error
    return stripped
