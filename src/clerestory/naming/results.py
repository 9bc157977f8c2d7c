"""Names of units with their scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from clerestory.contrasts.evidence import Status
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.reporting.results import Provenance, Result

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Basis", "DetectionScore", "DrawingScore", "UnitName", "UnitNames"]

Basis = Literal["words", "embedding"]
"""How it is decided which prompts fit a name: they have its words, or are the tenth that is closest
to it in the model's own space of texts and pictures."""


@dataclass(frozen=True)
class DetectionScore:
    """Whether a unit is higher in held-out prompts that fit a name than in the others.

    Attributes:
        basis: How it was decided which prompts fit.
        status: `found`, `not found`, `reversed`, or `undecided` with fewer than 12 items or 4
            templates of either side.
        prompts: Held-out prompts that fit.
        items: Items of the side that has fewer.
        auroc: Of two held-out prompts of which one fits, the chance that the unit is higher in that
            one; None where it cannot be estimated.
        low: Lower limit of its interval, over items and templates.
        high: Upper limit.
        p: One-sided.
        q: Benjamini–Hochberg over all names of the call.
    """

    basis: Basis
    status: Status
    prompts: int
    items: int
    auroc: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    q: float | None = None


@dataclass(frozen=True)
class DrawingScore:
    """Whether new prompts made from a name raise the unit more than those made from other words.

    Attributes:
        status: As in `DetectionScore`; `undecided` with fewer than 12 items or 19 other words.
        items: Sentences that the words were put into.
        others: Other words of as many words.
        auroc: The chance that the unit is higher with the name than with another word.
        low: Lower limit of its interval, over items and other words.
        high: Upper limit.
        p: One-sided; the larger of the test over items and of the name's rank among the words.
        q: Benjamini–Hochberg over all names of the call.
    """

    status: Status
    items: int
    others: int
    auroc: float
    low: float
    high: float
    p: float
    q: float


@dataclass(frozen=True)
class UnitName:
    """A name of a unit.

    Attributes:
        unit: The unit's address.
        text: The name.
        detection: Its score on held-out prompts.
        drawing: Its score on new prompts; None where nothing was drawn.
    """

    unit: str
    text: str
    detection: DetectionScore
    drawing: DrawingScore | None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False, repr=False)
class UnitNames(Result):
    """Names of units, those of each unit in the order of their selection.

    Attributes:
        names: The names.
        candidates: How many candidates each unit had.
        items: Drawn sentences; 0 where nothing was drawn.
        warnings: Limitations of the evidence.
        provenance: Version, recorded model and options.
    """

    figures_file = "names.json"
    names: tuple[UnitName, ...]
    candidates: int
    items: int
    warnings: tuple[EvidenceWarning, ...]
    provenance: Provenance

    @cached_property
    def _by_unit(self) -> Mapping[str, tuple[UnitName, ...]]:
        units: dict[str, tuple[UnitName, ...]] = {}
        for name in self.names:
            units[name.unit] = (*units.get(name.unit, ()), name)
        return units

    def of(self, unit: str) -> tuple[UnitName, ...]:
        """The names of a unit.

        Args:
            unit: The unit's address.

        Returns:
            In the order of their selection; none where no candidate raises it.
        """
        return self._by_unit.get(unit, ())

    def summary(self) -> str:
        """How many names were found by detection, and by drawing."""
        detected = sum(name.detection.status == "found" for name in self.names)
        drawn = [name.drawing for name in self.names if name.drawing is not None]
        text = (
            f"{len(self.names)} names of {len(self._by_unit)} units: {detected} found by detection"
        )
        if not drawn:
            return f"{text}, none drawn"
        both = sum(
            name.detection.status == "found"
            and name.drawing is not None
            and name.drawing.status == "found"
            for name in self.names
        )
        return (
            f"{text}, {sum(score.status == 'found' for score in drawn)} by drawing, {both} by both"
        )

    def table(self) -> pd.DataFrame:
        """A row for each name, with both scores."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "unit": name.unit,
                    "name": name.text,
                    **_columns("detection", name.detection),
                    **_columns("drawing", name.drawing),
                }
                for name in self.names
            ]
        )

    def plot(self) -> Any:
        """Detection against drawing, a point for each name, as an Altair chart."""
        import altair as alt

        table = self.table().dropna(subset=["detection", "drawing"])
        axes = {axis: alt.Scale(domain=[0, 1], nice=False) for axis in ("detection", "drawing")}
        return (
            alt.Chart(table)
            .mark_circle()
            .encode(
                x=alt.X("detection:Q", title="detection, AUROC", scale=axes["detection"]),
                y=alt.Y("drawing:Q", title="drawing, AUROC", scale=axes["drawing"]),
                color=alt.Color("detection_status:N", title="by detection"),
                tooltip=["unit:N", "name:N", "detection_q:Q", "drawing_q:Q"],
            )
        )


def _columns(title: str, score: DetectionScore | DrawingScore | None) -> dict[str, Any]:
    fields = {"": "auroc", "_low": "low", "_high": "high", "_q": "q", "_status": "status"}
    return {f"{title}{end}": getattr(score, name, None) for end, name in fields.items()}
