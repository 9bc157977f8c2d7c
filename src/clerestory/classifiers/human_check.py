"""A person's word on a classifier: pictures marked by eye, and what they make of its rates.

sheet(recording, "lancet:mood", Path("check"))     # pictures, page.html, marks.csv
check(recording, "lancet:mood", Path("check/marks.csv"))

The pictures are drawn at random from the recording and shown without what the classifier said. The
check is kept in the recording's folder, and every finding that uses the classifier tells it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clerestory.classifiers.base import Classifier, classifier
from clerestory.classifiers.check_page import page
from clerestory.classifiers.check_result import told_of
from clerestory.classifiers.labels import picture_digest, place, seen
from clerestory.errors import EvidenceError, RecordingError
from clerestory.io.outputs import whole_folder
from clerestory.io.reading import loads, read_bytes
from clerestory.registry import suggest
from clerestory.stats import clopper_pearson, wilson
from clerestory.types import Role

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recordings import Recording

__all__ = ["Check", "Corrected", "check", "checked", "sheet"]

UNSURE = "?"
"""The mark of a picture of which the person cannot tell: it is no class, and widens intervals."""
ENDING = ".check.json"
LEVEL = 0.95


class Corrected(NamedTuple):
    """A class's share of a recording's pictures: as classified, and as marks correct it."""

    said: float
    rate: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Check:
    """What a person's marks say of a classifier on one recording's pictures.

    `confusion` counts marked pictures, `[marked as, said]` over `classes`; `unsure` those of which
    the person could not tell, by what was said; `said` is the share of each class among all
    `pictures` of the recording.
    """

    source: str
    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    unsure: NDArray[np.int64]
    said: tuple[float, ...]
    pictures: int

    @property
    def marked(self) -> int:
        """How many pictures were marked as a class."""
        return int(self.confusion.sum())

    @property
    def agreed(self) -> int:
        """How many of them the classifier sees as the person does."""
        return int(np.trace(self.confusion))

    def corrected(self, name: str) -> Corrected:
        """A class's share among all pictures, with the classifier's errors taken out.

        What was said, plus the share that was missed, less the share that was said wrongly; the
        interval adds both shares' exact ones, at half of the error each, so it holds at least its
        level. Of pictures that the person could not tell it supposes the worst, either way, since
        those are the ones that classifiers get wrong. Source: Angelopoulos et al. 2023
        (prediction-powered inference), made exact.
        """
        at = self.classes.index(name)
        right = int(self.confusion[at, at])
        missed = int(self.confusion[at].sum()) - right
        wrong = int(self.confusion[:, at].sum()) - right
        said, own = self.said[at], int(self.unsure[at])
        other, every = int(self.unsure.sum()) - own, self.marked + int(self.unsure.sum())
        half = 1 - (1 - LEVEL) / 2
        low = clopper_pearson(missed, every, half).low
        low -= clopper_pearson(wrong + own, every, half).high
        high = clopper_pearson(missed + other, every, half).high
        high -= clopper_pearson(wrong, every, half).low
        ends = (said + (missed - wrong) / self.marked, said + low, said + high)
        return Corrected(said, *(min(1.0, max(0.0, end)) for end in ends))

    @property
    def sentence(self) -> str:
        """The check in one line, for reports."""
        low, high = wilson(self.agreed, self.marked)
        left = int(self.unsure.sum())
        return (
            f"{self.source}: a person who did not see what it said agrees on {self.agreed} of "
            f"{self.marked} pictures ({low:.0%} to {high:.0%})"
            + (f" and cannot tell {left} more." if left else ".")
        )

    def shares(self, conditions: Iterable[str]) -> str:
        """In a line, the corrected shares of the classes that conditions name."""
        asked = " ".join(conditions)
        named = [name for name in self.classes if re.search(rf"['\"=]{re.escape(name)}\b", asked)]
        told = [(name, self.corrected(name)) for name in named]
        spans = [f"{name} {c.said:.0%}, corrected {c.low:.0%} to {c.high:.0%}" for name, c in told]
        return f"Of all pictures: {'; '.join(spans)}." if spans else ""

    def told(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        low, high = wilson(self.agreed, self.marked)
        rates = {name: self.corrected(name)._asdict() for name in self.classes}
        return {
            "source": self.source,
            "marked": self.marked,
            "agreed": self.agreed,
            "unsure": self.unsure.tolist(),
            "agreement": {"rate": self.agreed / self.marked, "low": low, "high": high},
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "pictures": self.pictures,
            "rates": rates,
        }

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Check:
        """The inverse of `told`."""
        read = told_of(told)
        return cls(
            source=read.source,
            classes=read.classes,
            confusion=np.array(read.confusion, np.int64),
            unsure=np.array(read.unsure, np.int64),
            said=tuple(read.rates[name].said for name in read.classes),
            pictures=read.pictures,
        )


def sheet(
    recording: Recording,
    name: str,
    out: Path,
    *,
    size: int = 100,
    seed: int = 0,
    role: Role = "evaluation",
) -> int:
    """Write the pictures to be marked into `out`, a page that marks them, and an empty table.

    Gives how many there are: `size`, or all that the recording has. OutputError where the folder
    holds something; RecordingError where no pictures were kept, or not all are drawn yet, of which
    some would be no random ones; ModelError where the classifier cannot read them.
    """
    import pandas as pd
    from PIL import Image

    judge = classifier(name, role=role)
    _whole(recording)
    chosen = np.random.default_rng(seed).permutation(recording.rows)[:size]
    judge(recording.pictures(chosen[:1]))
    pictures = recording.pictures(np.sort(chosen))
    by_row = dict(zip(np.sort(chosen).tolist(), pictures, strict=True))
    with whole_folder(out) as part:
        (part / "pictures").mkdir()
        lines = []
        for row in chosen.tolist():
            file = f"pictures/{picture_digest(by_row[row])}.png"
            Image.fromarray(by_row[row]).save(part / file)
            lines.append((row, file, ""))
        table = pd.DataFrame(lines, columns=["sample", "picture", "marked"])
        table.to_csv(part / "marks.csv", index=False)
        (part / "page.html").write_text(page(judge.source, judge.classes, UNSURE, lines), "utf-8")
    return len(table)


def check(recording: Recording, name: str, marks: Path, *, role: Role = "evaluation") -> Check:
    """Compare a person's marks with what the classifier says, and keep it with the recording.

    EvidenceError where the table is of other pictures, or marks a class that there is not.
    """
    judge = classifier(name, role=role)
    _whole(recording)
    marked = _marks(recording, judge, marks)
    everywhere, _ = seen(recording, judge, recording.rows)
    by_row = dict(zip(recording.rows.tolist(), everywhere, strict=True))
    places = {level: at for at, level in enumerate(judge.classes)}
    confusion = np.zeros((len(places), len(places)), np.int64)
    unsure = np.zeros(len(places), np.int64)
    for row, level in marked.items():
        if level == UNSURE:
            unsure[places[by_row[row]]] += 1
        else:
            confusion[places[level], places[by_row[row]]] += 1
    if not confusion.any():
        raise EvidenceError(f"{marks} has no marks yet: fill in the column 'marked'.")
    said = tuple(float((everywhere == level).mean()) for level in judge.classes)
    found = Check(judge.source, tuple(judge.classes), confusion, unsure, said, len(everywhere))
    recording.store.folder.write(place(judge, ENDING), json.dumps(found.told()).encode())
    return found


def checked(recording: Recording, judge: Classifier) -> Check | None:
    """The check of this classifier that the recording's folder keeps; None without one."""
    name = place(judge, ENDING)
    raw = recording.store.folder.read(name)
    try:
        return None if raw is None else Check.read(loads(raw, name, RecordingError))
    except (RecordingError, EvidenceError, KeyError) as error:
        raise RecordingError(
            f"{recording.store.folder}/{name} cannot be read: remove it, and check again."
        ) from error


def _whole(recording: Recording) -> None:
    missing = int((~recording.samples["done"]).sum())
    if missing:
        raise RecordingError(
            f"{recording.store.folder} lacks {missing} samples yet: finish the recording first."
        )


def _marks(recording: Recording, judge: Classifier, marks: Path) -> dict[int, str]:
    """What each marked sample was marked as: a class, or that it cannot be told."""
    table, found, levels = _table(marks), {}, {*judge.classes, UNSURE}
    for line, (sample, file, level) in enumerate(table.itertuples(index=False), start=2):
        where = f"{marks}, line {line}"
        level = level if level in levels else level.removeprefix("'")  # of the page: no formula
        if level == "":
            continue
        if level not in levels:
            near = suggest(level, judge.classes)
            raise EvidenceError(f"{where}: {judge.source} has no {level!r}.{near}")
        if not sample.isdecimal():
            raise EvidenceError(f"{where}: {sample!r} is no sample.")
        row = int(sample)
        if row in found:
            raise EvidenceError(f"{where}: sample {row} is marked twice.")
        known = row in recording.rows and picture_digest(recording.pictures(row)[0])
        if Path(file).stem != known:
            raise EvidenceError(
                f"{where}: sample {row} of {recording.store.folder} is another picture; these "
                "marks are of another recording."
            )
        found[row] = level
    return found


def _table(marks: Path) -> pd.DataFrame:
    import pandas as pd

    columns = ["sample", "picture", "marked"]
    try:
        raw = read_bytes(marks, EvidenceError)
        table = pd.read_csv(io.BytesIO(raw), dtype=str, keep_default_na=False)
        stripped: pd.DataFrame = table[columns].apply(lambda column: column.str.strip())
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        raise EvidenceError(
            f"{marks} is no table of marks ({reason}); columns: {', '.join(columns)}."
        ) from error
    return stripped
