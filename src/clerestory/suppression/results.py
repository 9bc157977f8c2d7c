"""The result of `suppress`: every method's figures, and which is recommended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from typing_extensions import override

from clerestory.evaluation import SideEffects
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.reporting.results import PicturedResult, Provenance
from clerestory.steering import SteeredModel
from clerestory.suppression.scores import Effects, Score
from clerestory.types import ClaimStatus

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MIN_REDUCTION", "MethodResult", "SuppressionResult", "status_of"]

MIN_REDUCTION = 0.8
"""The share of the excess that should go."""
STEERED = "steered"


@dataclass(frozen=True, kw_only=True)
class MethodResult(Effects):
    """The best setting of a method, with its effects on the evaluation half.

    Attributes:
        name: The method.
        setting: What was chosen by the selection classifiers; "" for a method without settings.
        has_edits: Whether it edits the model; words and options do not.
        status: What the evaluation half says of the claim that the method takes away at least four
            fifths of the excess and changes nothing else by more than the bound.
        side_effects: The changes of every class of every classifier that are no reduction of the
            unwanted, with the bound and what the design can show.
        frechet: Fréchet distance between the features of the pictures after and before; None where
            no classifier has features. It is not part of the claim.
        unwanted_before: The mean rate of the unwanted labels without it.
        unwanted_after: The same with it.
        ua: Unlearning accuracy, how often the prompt does not draw the unwanted.
        ira: In-domain retain accuracy: how often the unwanted labels' classifiers predict the same
            on other prompts. None without other prompts that fit.
        cra: Cross-domain retain accuracy: the same for all other classifiers.
        selection: The score of the setting on the selection half.

    `ua`, `ira` and `cra` are UnlearnCanvas' (Zhang et al. 2024).
    """

    name: str
    setting: str
    has_edits: bool
    status: ClaimStatus
    side_effects: SideEffects
    frechet: float | None
    unwanted_before: float
    unwanted_after: float
    ua: float
    ira: float | None
    cra: float | None
    selection: Score

    @property
    def is_sufficient(self) -> bool:
        """Whether it is enough on the selection half."""
        # By the selection half alone: the evaluation half must not decide what it evaluates.
        score, least = self.selection, 1 - self.side_effects.bound
        enough = (score.reduction or 0) >= MIN_REDUCTION
        preserved = [score.named_preservation or 0, score.preservation or 0]
        return enough and min(preserved) >= least


def status_of(low: float | None, high: float | None, effects: SideEffects) -> ClaimStatus:
    """The status of the claim that a method takes the unwanted away and nothing else.

    Args:
        low: Lower limit of the reduction; None where there was no excess.
        high: Upper limit of the reduction.
        effects: What else changed.

    Returns:
        Supported where the lower limit is above `MIN_REDUCTION` and every class within the bound;
        not supported where the upper limit is below it, or some class is beyond the bound;
        undecided otherwise.
    """
    if low is None or high is None:
        return "undecided"
    # One of the two conditions failing is enough.
    if high < MIN_REDUCTION or effects.within_bound is False:
        return "not supported"
    return "supported" if low > MIN_REDUCTION and effects.within_bound else "undecided"


@dataclass(frozen=True, eq=False, repr=False)
class SuppressionResult(PicturedResult):
    """Suppression methods compared on the evaluation half.

    Attributes:
        prompt: The prompt.
        unwanted: The labels to take away.
        preserved: The labels to preserve.
        paraphrases: How many sentences of the evaluation half there are.
        seeds: The seeds of each.
        before: The score of the prompt as it is.
        control: The score of the control.
        methods: Every method's best setting.
        recommended: The method that is recommended, by the selection half.
        steered_by: The method whose edits the steered model has: the recommended one or, where that
            has none, the best that has some; None where no method has any.
        edited_site: The site that edits change.
        other_sites: Further conditioning sites, which they do not change.
        warnings: What to consider before relying on the figures.
        provenance: Where the result comes from.
        steered: The model with those edits; None in a result that was loaded. It is saved in the
            folder `steered`, which `load_steered` opens.
        pictures: By `before`, `control` and method `[paraphrase, seed, height, width, 3]`.
    """

    figures_file = "suppression.json"

    prompt: str
    unwanted: tuple[str, ...]
    preserved: tuple[str, ...]
    paraphrases: int
    seeds: tuple[tuple[int, ...], ...]
    before: Score
    control: Score
    methods: tuple[MethodResult, ...]
    recommended: str
    steered_by: str | None
    edited_site: str
    other_sites: tuple[str, ...]
    warnings: tuple[EvidenceWarning, ...]
    provenance: Provenance
    steered: Annotated[SteeredModel | None, Field(exclude=True)] = None

    def __getitem__(self, method: str) -> MethodResult:
        """A method's result by its name."""
        return next(each for each in self.methods if each.name == method)

    @property
    def best(self) -> MethodResult:
        """The result of the recommended method."""
        return self[self.recommended]

    def summary(self) -> str:
        """What the recommended method takes away, preserves and changes besides."""
        best = self.best
        setting = f" ({best.setting})" if best.setting else ""
        reduction = "nothing that can be reduced"
        if best.reduction is not None:
            reduction = (
                f"{best.reduction:.0%} of the excess ({best.reduction_low:.0%} to "
                f"{best.reduction_high:.0%})"
            )
        text = f"{best.name}{setting} takes away {reduction}"
        effects, worst = best.side_effects, best.side_effects.largest
        if worst is not None:
            text += (
                f"; of everything else {worst} changes most (at most {effects.bound:.2f} is "
                f"accepted, the design can show {effects.reachable:.2f})"
            )
        return f"{text}: {best.status}; {self.paraphrases} paraphrases."

    def table(self) -> pd.DataFrame:
        """A row for each method."""
        import pandas as pd

        columns = ["status", "unwanted_after", "reduction", "reduction_low", "reduction_high"]
        columns += ["preservation", "named_preservation", "changed", "ua", "ira", "cra"]
        rows = [
            {"method": each.name, "setting": each.setting}
            | {column: getattr(each, column) for column in columns}
            for each in self.methods
        ]
        return pd.DataFrame(rows).round(3)

    def plot(self) -> Any:
        """Reduction against preservation of every method, with intervals."""
        from clerestory.suppression.page import frontier

        return frontier(self)

    def page(self) -> str:
        """Every method's figures and pictures as an HTML page."""
        from clerestory.suppression.page import page

        return page(self)

    @override
    def write(self, folder: Path) -> None:
        from clerestory.reporting.pictures import grid, save
        from clerestory.reporting.plots import png
        from clerestory.suppression.page import SHOWN

        super().write(folder)
        (folder / "frontier.png").write_bytes(png(self.plot()))
        tiles = [tile for pictures in self.pictures.values() for tile in pictures[:SHOWN, 0]]
        save(grid(tiles, SHOWN), folder / "methods.png")
        if self.steered is not None:
            self.steered.save(folder / STEERED)
