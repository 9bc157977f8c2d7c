"""The result of building a steered model: its figures beside those of every baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from typing_extensions import override

from clerestory.causal.baselines import BaselineEffects
from clerestory.errors import ModelError
from clerestory.evaluation import Effect, Outcome, SideEffects
from clerestory.evaluation.region_changes import RegionChange
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.io.validation import to_jsonable, validate
from clerestory.reporting.pictures import grid, save
from clerestory.reporting.plots import png
from clerestory.reporting.results import Result
from clerestory.steering.card import BEFORE_AFTER, FRONTIER
from clerestory.steering.steered import SteeredModel
from clerestory.types import ClaimStatus, Pictures

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BuildResult", "Calibration", "CandidateFigures", "ConditionFigures", "Selection"]

COLUMNS = 8
"""Items on the card's sheet of pictures."""
EDITED = "edited"
SHEET = ("unedited", EDITED, "words")
"""Rows of the card's sheet."""


@dataclass(frozen=True, kw_only=True)
class ConditionFigures:
    """What one condition does to the evaluation items.

    Attributes:
        target_rate: How often the target's label is predicted.
        target_interval: Its 95% interval over items; of baselines, the range of rates.
        preservation: By classifier, how often it predicts the same as of the unedited picture.
        mean_preservation: The mean over classifiers; None where there are none.
        hard_negative_effect: The change of the hard negative's rate; None without one.
        hard_negative_interval: Its 95% interval.
        frechet: Fréchet distance from pictures of the words; None without features.
        distance: Root mean square difference from the unedited pictures, 0 to 1.
        items: Items that were drawn.
        directions: How many baselines the figures are the mean of.
    """

    target_rate: float
    target_interval: tuple[float, float]
    preservation: dict[str, float]
    mean_preservation: float | None
    hard_negative_effect: float | None
    hard_negative_interval: tuple[float, float] | None = None
    frechet: float | None = None
    distance: float | None = None
    items: int
    directions: int | None = None

    @classmethod
    def of(cls, outcome: Outcome) -> ConditionFigures:
        """The figures of an outcome.

        Args:
            outcome: What `compare_conditions` gives for one condition.

        Returns:
            Its figures, without the pictures.
        """
        rate, effect = outcome.target, outcome.hard_negative_effect
        return ConditionFigures(
            target_rate=rate.rate,
            target_interval=(rate.low, rate.high),
            preservation={name: each.rate for name, each in outcome.preservation.items()},
            mean_preservation=outcome.mean_preservation,
            hard_negative_effect=None if effect is None else effect.effect,
            hard_negative_interval=None if effect is None else (effect.low, effect.high),
            frechet=outcome.frechet,
            distance=outcome.distance,
            items=rate.items,
        )


@dataclass(frozen=True, kw_only=True)
class CandidateFigures:
    """One edit that was tried, as selection classifiers predict.

    Attributes:
        site: Where, with the steps.
        strength: In standard deviations of the site's activations.
        target_rate: How often the target's label is predicted.
        mean_preservation: The mean over classifiers; None where there are none.
        distance: Root mean square difference from the unedited pictures, 0 to 1.
        frechet: Fréchet distance from pictures of the words; None without features.
        out_of_distribution: Whether that is larger than of the unedited pictures.
        on_frontier: Whether no other candidate exceeds it in score and preservation both.
    """

    site: str
    strength: float
    target_rate: float
    mean_preservation: float | None
    distance: float
    frechet: float | None
    out_of_distribution: bool
    on_frontier: bool


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was tried, on how many items, by classifiers of which role."""

    items: int
    role: str
    candidates: tuple[CandidateFigures, ...]


@dataclass(frozen=True, kw_only=True)
class Calibration(ConditionFigures):
    """What `steering.json` has of a steered model that `steer` built.

    Attributes:
        classifier: The target's classifier.
        label: The target's label.
        template: How a prompt says it.
        hard_negative: A classifier and its label that should not come with the target.
        preserve: Classifiers of what should stay.
        remove: Whether the target is removed from prompts that say it.
        role: Which classifiers the figures are of.
        seeds: How many seeds an item has.
        effect: Change of the target's rate from the unedited pictures; where the target is removed
            its fall.
        smallest_effect: The effect above which the edit controls the target.
        baseline_effects: Effects of edits of the same length without the concept; None without.
        side_effects: What else changes.
        status: What the evidence says of “the edit controls the target and changes nothing else”.
        together_with: What it changes as well, where it has the effect.
        baselines: Figures of `unedited`, `words` and whatever else was drawn.
        selected: The edit that was selected.
        selection: What was tried.
        evaluation_items: The items that the figures are of.
        warnings: What readers of the figures should know.
        region_change: How much pictures change inside and outside of the edit's region; None
            without one.
    """

    classifier: str
    label: str
    template: str
    hard_negative: tuple[str, str] | None
    preserve: tuple[str, ...]
    remove: bool
    role: str
    seeds: int
    effect: Effect
    smallest_effect: float
    baseline_effects: BaselineEffects | None
    side_effects: SideEffects
    status: ClaimStatus
    together_with: tuple[str, ...]
    baselines: dict[str, ConditionFigures]
    selected: CandidateFigures
    selection: Selection
    evaluation_items: tuple[str, ...]
    warnings: tuple[EvidenceWarning, ...]
    region_change: RegionChange | None = None


@dataclass(frozen=True, eq=False, repr=False)
class BuildResult(Result):
    """A steered model and what it does, beside everything it is compared with.

    Attributes:
        steered: The steered model.
        calibration: Its figures.
        pictures: By condition, of the evaluation items, `[item, seed, height, width, 3]`; empty in
            a result that was loaded.
    """

    steered: SteeredModel
    calibration: Calibration
    pictures: Mapping[str, Pictures]

    def summary(self) -> str:
        """The target's rate beside that of saying it, and mean preservation."""
        figures, words = self.calibration, self.calibration.baselines["words"]
        low, high = figures.target_interval
        mean = figures.mean_preservation
        preserved = "" if mean is None else f", {mean:.2f} preserved"
        region = "" if figures.region_change is None else f"; {figures.region_change}"
        return (
            f"{figures.classifier}={figures.label} at {figures.selected.site}, {figures.status}: "
            f"{figures.target_rate:.2f} ({low:.2f}–{high:.2f}) on {figures.items} items, "
            f"{words.target_rate:.2f} by the words{preserved}{self._together()}{region}"
        )

    def _together(self) -> str:
        """What changes as well, in a few words."""
        changes = self.calibration.together_with
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        return f"; together with {changes[0]}{more}" if changes else ""

    def table(self) -> pd.DataFrame:
        """A row for the steered model and for each baseline."""
        import pandas as pd

        return pd.DataFrame(
            _row(name, figures)
            for name, figures in {EDITED: self.calibration, **self.calibration.baselines}.items()
        )

    def plot(self) -> Any:
        """What was tried: the target against preservation, with the frontier and the selection.

        Candidates out of distribution are faint.
        """
        import altair as alt
        import pandas as pd

        calibration = self.calibration
        table = pd.DataFrame(
            {
                **vars(each),
                # Where nothing measures preservation, all candidates are alike in it.
                "preserved": 1.0 if each.mean_preservation is None else each.mean_preservation,
                "score": 1 - each.target_rate if calibration.remove else each.target_rate,
                "selected": each == calibration.selected,
            }
            for each in calibration.selection.candidates
        )
        title = "share of pictures without the target" if calibration.remove else "target rate"
        base = alt.Chart(table, title="What was tried; the ringed point was selected").encode(
            x=alt.X("score:Q", title=title, scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("preserved:Q", title="mean preservation", scale=alt.Scale(zero=False)),
        )
        faint = alt.condition("datum.out_of_distribution", alt.value(0.25), alt.value(0.9))
        points = base.mark_circle(size=60).encode(color=alt.Color("site:N"), opacity=faint)
        text = base.mark_text(dx=7, dy=-7, fontSize=9, align="left").encode(
            text=alt.Text("strength:Q", format=".1f")
        )
        line = base.transform_filter("datum.on_frontier").mark_line(color="#999", strokeDash=[3, 3])
        ring = base.transform_filter("datum.selected").mark_point(
            size=260, color="#222", strokeWidth=2
        )
        return (line + points + text + ring).properties(width=460, height=300)

    def to_dict(self) -> dict[str, Any]:
        """Every figure, ready for JSON; the card of the saved model holds the same."""
        return to_jsonable(self.calibration)

    @override
    def write(self, folder: Path) -> None:
        # The card shows both pictures; the figures are part of `steering.json`.
        self.steered.save(folder)
        # The first seed of each item, as a row of the grid.
        rows = [picture for name in SHEET for picture in self.pictures[name][:COLUMNS, 0]]
        columns = min(COLUMNS, len(self.calibration.evaluation_items))
        save(grid(rows, columns=columns), folder / BEFORE_AFTER)
        (folder / FRONTIER).write_bytes(png(self.plot()))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote; the base model is loaded, and pictures are left out.

        Args:
            folder: The folder that was given to `save`.

        Returns:
            The result; its `pictures` are empty.

        Raises:
            ModelError: The folder holds no steered model that `steer` built.
        """
        # The pictures are not saved but for those on the card, so that a steered model stays small.
        steered = SteeredModel.load(folder)
        source = f"{folder}: calibration"
        calibration = validate(Calibration, steered.calibration, source, ModelError)
        return cls(steered, calibration, {})


def _row(name: str, figures: ConditionFigures) -> dict[str, Any]:
    low, high = figures.target_interval
    mean, effect = figures.mean_preservation, figures.hard_negative_effect
    return {
        "condition": name,
        "target": f"{figures.target_rate:.2f} ({low:.2f}–{high:.2f})",
        "preserved": "" if mean is None else f"{mean:.2f}",
        **{factor: f"{rate:.2f}" for factor, rate in figures.preservation.items()},
        "hard negative": "" if effect is None else f"{effect:+.2f}",
    }
