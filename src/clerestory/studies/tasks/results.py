"""What a task finds: claims with a status, tables, pictures and charts for the report.

A claim is a sentence with a figure, its interval, a criterion, and a status that follows from them:
supported where the interval lies on the criterion's side of it, not supported where it lies on the
other, undecided in between and where there is no evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clerestory.errors import TableError
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.io.digests import seal
from clerestory.io.validation import load_json
from clerestory.reporting.escaping import to_json
from clerestory.types import ClaimStatus

__all__ = [
    "Claim",
    "PictureRows",
    "Table",
    "TaskResult",
    "by_status",
    "evidence_warnings",
    "interval_status",
    "overall_status",
    "to_status",
]

FILE = "result.json"


def to_status(supported: bool | None) -> ClaimStatus:
    """The status of a claim whose criterion is met, is not met, or cannot be decided (None).

    Args:
        supported: Whether the criterion is met; None where that cannot be decided.

    Returns:
        The status.

    >>> to_status(True), to_status(False), to_status(None)
    ('supported', 'not supported', 'undecided')
    """
    if supported is None:
        return "undecided"
    return "supported" if supported else "not supported"


def interval_status(
    low: float, high: float, threshold: float, refuting: float | None = None
) -> ClaimStatus:
    """The status of the claim that a quantity lies above a threshold.

    A claim that the quantity lies below one takes both limits and both thresholds with the other
    sign, the limits exchanged.

    Args:
        low: Lower limit of the quantity's interval.
        high: Upper limit.
        threshold: Supported where `low` is above it.
        refuting: Not supported where `high` is below it; `threshold` by default. It is less where
            the quantity is compared with others that are uncertain as well: support takes their
            upper limits, refutation their lower ones.

    Returns:
        The status; undecided where the interval reaches across.

    >>> interval_status(0.6, 0.9, 0.5), interval_status(0.1, 0.4, 0.5)
    ('supported', 'not supported')
    >>> interval_status(0.3, 0.7, 0.5)
    'undecided'
    """
    if low > threshold:
        return "supported"
    # A refuting bound below the threshold leaves a zone in between, which is undecided.
    return "not supported" if high < (threshold if refuting is None else refuting) else "undecided"


def overall_status(statuses: Iterable[ClaimStatus]) -> ClaimStatus:
    """The status of a conjunction of claims: of a task, or of a study.

    Args:
        statuses: The claims' statuses.

    Returns:
        Not supported where any claim is not; else supported where every claim is; else, and without
        a claim, undecided.

    >>> overall_status(["supported", "not supported", "undecided"]), overall_status([])
    ('not supported', 'undecided')
    """
    distinct = set(statuses)
    # One claim that fails refutes the whole, whatever is undecided.
    if "not supported" in distinct:
        return "not supported"
    # An empty conjunction is undecided too: nothing was shown.
    return "supported" if distinct == {"supported"} else "undecided"


def by_status(supported: str, undecided: str, not_supported: str) -> Mapping[ClaimStatus, str]:
    """Words of a claim for each status.

    Args:
        supported: The words where the claim is supported.
        undecided: The words where it is undecided.
        not_supported: The words where it is not supported.

    Returns:
        The words by status.
    """
    return {"supported": supported, "undecided": undecided, "not supported": not_supported}


def evidence_warnings(warnings: Iterable[EvidenceWarning | str]) -> tuple[EvidenceWarning, ...]:
    """Warnings of a result as values with a kind.

    Args:
        warnings: Warnings; sentences without a kind are of the kind `other`.

    Returns:
        The same, each with a kind.

    >>> evidence_warnings(["No classifier measures preservation."])[0].kind
    'other'
    """
    return tuple(
        # Results of plug-ins may warn in plain text.
        EvidenceWarning("other", warning) if isinstance(warning, str) else warning
        for warning in warnings
    )


@dataclass(frozen=True)
class Claim:
    """A sentence that the evidence supports, does not support, or leaves undecided.

    Attributes:
        id: A name of the claim, unique within its task.
        text: The sentence, with its figure.
        status: What the evidence says.
        criterion: What the status depends on.
        figure: The figure that the claim is about; None where there is none.
        low: The lower end of its interval.
        high: The upper end.
    """

    id: str
    text: str
    status: ClaimStatus
    criterion: str
    figure: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Table:
    """Figures as text.

    Attributes:
        title: What the rows are.
        head: The names of the columns.
        rows: The cells.
        highlighted: Which rows the claims are about.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    highlighted: tuple[int, ...] = ()


@dataclass(frozen=True)
class PictureRows:
    """Rows of pictures under a title.

    Attributes:
        title: What they show.
        rows: Each row's caption, and its files within the task's folder.
        columns: What stands over the columns, such as the items.
    """

    title: str
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskResult:
    """What a task found.

    Attributes:
        claims: Its claims.
        figures: Every figure, ready for JSON.
        tables: Tables for the report.
        pictures: Pictures for the report.
        charts: Titles and SVG files within the task's folder.
        warnings: What limits the figures.
        steered_model: The folder of a steered model within the task's; "" where there is none.
        failure: Why there is no evidence; tasks that need this one are then skipped.
    """

    claims: tuple[Claim, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    pictures: tuple[PictureRows, ...] = ()
    charts: tuple[tuple[str, str], ...] = ()
    warnings: tuple[EvidenceWarning, ...] = ()
    steered_model: str = ""
    failure: str = ""

    @property
    def status(self) -> ClaimStatus:
        """The status of all claims together."""
        return overall_status(claim.status for claim in self.claims)

    @property
    def has_content(self) -> bool:
        """Whether the report has anything to show."""
        return bool(self.claims or self.tables or self.pictures or self.charts)

    def save(self, folder: Path) -> None:
        """Write the result beside the task's own files.

        Args:
            folder: The task's folder, which exists.
        """
        (folder / FILE).write_text(to_json(seal(asdict(self))) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> TaskResult:
        """Read what `save` wrote.

        Args:
            folder: The task's folder.

        Returns:
            An equal result.

        Raises:
            TableError: The file was altered or is of another version.
        """
        return load_json(cls, folder, FILE, TableError)
