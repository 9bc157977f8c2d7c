"""A person's word on a classifier: pictures marked by eye, and what they make of its rates.

sheet(recording, "lancet:mood", Path("check"))     # pictures, page.html, marks.csv
check(recording, "lancet:mood", Path("check/marks.csv"))

The pictures are drawn at random from the recording and shown without what the classifier said. The
check is kept in the recording's folder, and every finding that uses the classifier tells it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clerestory.classifying.base import Classifier, classifier
from clerestory.classifying.labels import picture_digest, place, seen
from clerestory.errors import EvidenceError
from clerestory.numeric import clopper_pearson, wilson
from clerestory.outputs import empty_folder
from clerestory.registry import suggest

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recording import Recording

__all__ = ["Check", "Corrected", "check", "checked", "sheet"]

UNSURE = "?"
"""The mark of a picture of which the person cannot tell: it is left out."""
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

    `confusion` counts marked pictures, `[marked as, said]` over `classes`; `said` is the share of
    each class among all `pictures` of the recording.
    """

    source: str
    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    said: tuple[float, ...]
    pictures: int

    @property
    def marked(self) -> int:
        """How many pictures were marked, those left out not counted."""
        return int(self.confusion.sum())

    @property
    def agreed(self) -> int:
        """How many of them the classifier sees as the person does."""
        return int(np.trace(self.confusion))

    def corrected(self, name: str) -> Corrected:
        """A class's share among all pictures, with the classifier's errors taken out.

        What was said, plus the share that was missed, less the share that was said wrongly; the
        interval adds both shares' exact ones, at half of the error each, so it holds at least its
        level. Source: Angelopoulos et al. 2023 (prediction-powered inference), made exact.
        """
        at = self.classes.index(name)
        right = int(self.confusion[at, at])
        missed = int(self.confusion[at].sum()) - right
        wrong = int(self.confusion[:, at].sum()) - right
        half = 1 - (1 - LEVEL) / 2
        more = clopper_pearson(missed, self.marked, half)
        less = clopper_pearson(wrong, self.marked, half)
        said = self.said[at]
        rate = said + (missed - wrong) / self.marked
        ends = (rate, said + more.low - less.high, said + more.high - less.low)
        return Corrected(said, *(min(1.0, max(0.0, end)) for end in ends))

    @property
    def sentence(self) -> str:
        """The check in one line, for reports."""
        low, high = wilson(self.agreed, self.marked)
        return (
            f"{self.source}: a person who did not see what it said agrees on {self.agreed} of "
            f"{self.marked} pictures ({low:.0%} to {high:.0%})."
        )

    def told(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        low, high = wilson(self.agreed, self.marked)
        rates = {name: self.corrected(name)._asdict() for name in self.classes}
        return {
            "source": self.source,
            "marked": self.marked,
            "agreed": self.agreed,
            "agreement": {"rate": self.agreed / self.marked, "low": low, "high": high},
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "pictures": self.pictures,
            "rates": rates,
        }

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Check:
        """The inverse of `told`."""
        return cls(
            source=told["source"],
            classes=tuple(told["classes"]),
            confusion=np.array(told["confusion"], np.int64),
            said=tuple(told["rates"][name]["said"] for name in told["classes"]),
            pictures=told["pictures"],
        )


def sheet(
    recording: Recording,
    name: str,
    out: Path,
    *,
    size: int = 100,
    seed: int = 0,
    which: str = "b",
) -> int:
    """Write the pictures to be marked into `out`, a page that marks them, and an empty table.

    Gives how many there are: `size`, or all that the recording has. OutputError where the folder
    holds something; RecordingError where no pictures were kept.
    """
    import pandas as pd
    from PIL import Image

    judge = classifier(name, which=which)
    rng = np.random.default_rng(seed)
    rows = recording.rows
    chosen = rng.permutation(rows)[:size]
    pictures = recording.pictures(np.sort(chosen))
    by_row = dict(zip(np.sort(chosen).tolist(), pictures, strict=True))
    empty_folder(out)
    (out / "pictures").mkdir()
    lines = []
    for row in chosen.tolist():
        file = f"pictures/{picture_digest(by_row[row])}.png"
        Image.fromarray(by_row[row]).save(out / file)
        lines.append((row, file, ""))
    table = pd.DataFrame(lines, columns=["sample", "picture", "marked"])
    table.to_csv(out / "marks.csv", index=False)
    (out / "page.html").write_text(_page(judge, table))
    return len(table)


def check(recording: Recording, name: str, marks: Path, *, which: str = "b") -> Check:
    """Compare a person's marks with what the classifier says, and keep it with the recording.

    EvidenceError where the table is of other pictures, or marks a class that there is not.
    """
    judge = classifier(name, which=which)
    rows, marked = _marks(recording, judge, marks)
    everywhere, _ = seen(recording, judge, recording.rows)
    by_row = dict(zip(recording.rows.tolist(), everywhere, strict=True))
    places = {level: at for at, level in enumerate(judge.classes)}
    confusion = np.zeros((len(places), len(places)), np.int64)
    for row, level in zip(rows, marked, strict=True):
        confusion[places[level], places[by_row[row]]] += 1
    said = tuple(float((everywhere == level).mean()) for level in judge.classes)
    found = Check(judge.source, tuple(judge.classes), confusion, said, len(everywhere))
    recording.store.folder.write(place(judge, ENDING), json.dumps(found.told()).encode())
    return found


def checked(recording: Recording, judge: Classifier) -> Check | None:
    """The check of this classifier that the recording's folder keeps; None without one."""
    raw = recording.store.folder.read(place(judge, ENDING))
    return None if raw is None else Check.read(json.loads(raw))


def _marks(recording: Recording, judge: Classifier, marks: Path) -> tuple[list[int], list[str]]:
    """The samples that were marked, and as what."""
    table = _table(marks)
    rows, levels = [], []
    for line, (row, file, level) in enumerate(table.itertuples(index=False), start=2):
        if level in ("", UNSURE):
            continue
        if level not in judge.classes:
            near = suggest(level, judge.classes)
            raise EvidenceError(f"{marks}, line {line}: {judge.source} has no {level!r}.{near}")
        rows.append(_row(marks, line, row))
        levels.append(level)
        if rows[-1] not in recording.rows or Path(file).stem != picture_digest(
            recording.pictures(rows[-1])[0]
        ):
            raise EvidenceError(
                f"{marks}, line {line}: sample {row} of {recording.store.folder} is another "
                "picture; these marks are of another recording."
            )
    if not rows:
        raise EvidenceError(f"{marks} has no marks yet: fill in the column 'marked'.")
    return rows, levels


def _row(marks: Path, line: int, row: str) -> int:
    try:
        return int(row)
    except ValueError:
        raise EvidenceError(f"{marks}, line {line}: {row!r} is no sample.") from None


def _table(marks: Path) -> pd.DataFrame:
    import pandas as pd

    columns = ["sample", "picture", "marked"]
    try:
        table = pd.read_csv(marks, dtype=str, keep_default_na=False)
        stripped: pd.DataFrame = table[columns].apply(lambda column: column.str.strip())
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        raise EvidenceError(
            f"{marks} is no table of marks ({reason}); columns: {', '.join(columns)}."
        ) from error
    return stripped


def _page(judge: Classifier, table: pd.DataFrame) -> str:
    """The page that shows one picture after the other; whatever comes from outside is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clerestory.classifying", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    asked = {
        "classes": list(judge.classes),
        "unsure": UNSURE,
        "pictures": table[["sample", "picture"]].to_dict("records"),
    }
    return environment.get_template("check.html").render(asked=asked, source=judge.source)
