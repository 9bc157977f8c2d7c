"""The result of `suppress`: every method's figures, and which is recommended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, SkipValidation

from clerestory.errors import EvidenceError
from clerestory.io.validation import load_json, to_jsonable
from clerestory.reporting.pictures import read_pictures, write_pictures
from clerestory.reporting.results import Provenance, Result
from clerestory.steering import SteeredModel
from clerestory.suppression.scores import Score
from clerestory.types import Pictures

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MIN_PRESERVATION", "MIN_REDUCTION", "MethodResult", "SuppressionResult"]

MIN_REDUCTION, MIN_PRESERVATION = 0.8, 0.9
"""The share of the excess that should go, and of the preserved labels that should stay."""
PICTURES, STEERED = "pictures.npz", "steered"


@dataclass(frozen=True)
class MethodResult:
    """The best setting of a method.

    Attributes:
        name: The method.
        setting: What was chosen by the selection classifiers; "" for a method without settings.
        has_edits: Whether it edits the model; words and options do not.
        unwanted_before: The mean rate of the unwanted labels without it.
        unwanted_after: The same with it.
        preservation: The rate of the preserved label that fares worst, as a share of its rate
            before; None where none was drawn before.
        reduction: The share of the excess over the control that is gone, with its 95% interval
            (`reduction_low`, `reduction_high`); None where there was no excess.
        side_effects: How often other classifiers predict something else than before; None without
            such classifiers.
        distance: Root mean square difference from the pictures before, 0 to 1.
        rates: The rate of every label.
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
    unwanted_before: float
    unwanted_after: float
    preservation: float | None
    reduction: float | None
    reduction_low: float | None
    reduction_high: float | None
    side_effects: float | None
    distance: float
    rates: Mapping[str, float]
    ua: float
    ira: float | None
    cra: float | None
    selection: Score

    @property
    def is_sufficient(self) -> bool:
        """Whether it is enough on the selection half."""
        score = self.selection
        enough = (score.reduction or 0) >= MIN_REDUCTION
        return enough and (score.preservation or 0) >= MIN_PRESERVATION


@dataclass(frozen=True, eq=False, repr=False)
class SuppressionResult(Result):
    """Suppression methods compared on the evaluation half.

    Attributes:
        prompt: The prompt.
        unwanted: The labels to take away.
        preserved: The labels to preserve.
        paraphrases: How many sentences of the evaluation half there are.
        seeds: Seeds of each.
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
        steered: The model with those edits. It is saved, and loaded by `load_steered`.
        pictures: By `before`, `control` and method `[paraphrase, seed, height, width, 3]`.
    """

    figures_file = "suppression.json"
    __pydantic_config__: ClassVar[ConfigDict] = {
        "extra": "forbid",
        "allow_inf_nan": False,
        "arbitrary_types_allowed": True,
    }

    prompt: str
    unwanted: tuple[str, ...]
    preserved: tuple[str, ...]
    paraphrases: int
    seeds: tuple[int, ...]
    before: Score
    control: Score
    methods: tuple[MethodResult, ...]
    recommended: str
    steered_by: str | None
    edited_site: str
    other_sites: tuple[str, ...]
    warnings: tuple[str, ...]
    provenance: Provenance
    steered: Annotated[SteeredModel | None, SkipValidation, Field(exclude=True)] = None
    pictures: Annotated[Mapping[str, Pictures], SkipValidation, Field(exclude=True)] = field(
        default_factory=dict
    )

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
        if best.preservation is not None:
            text += f", preserves {best.preservation:.0%}"
        if best.side_effects is not None:
            text += f" and changes {best.side_effects:.0%} of other predictions"
        return f"{text}; {self.paraphrases} paraphrases."

    def table(self) -> pd.DataFrame:
        """A row for each method."""
        import pandas as pd

        columns = ["unwanted_after", "reduction", "reduction_low", "reduction_high"]
        columns += ["preservation", "side_effects", "ua", "ira", "cra"]
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

    def to_dict(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        # Neither is a figure, and both are excluded; without them nothing of them is validated
        # either.
        return to_jsonable(replace(self, steered=None, pictures={}))

    def page(self) -> str:
        """Every method's figures and pictures as an HTML page."""
        from clerestory.suppression.page import page

        return page(self)

    def write(self, folder: Path) -> None:
        """Write figures, page, pictures and any steered model.

        Args:
            folder: The folder; it has no steered model yet.
        """
        from clerestory.reporting.pictures import grid, save
        from clerestory.reporting.plots import png
        from clerestory.suppression.page import SHOWN

        super().write(folder)
        (folder / "frontier.png").write_bytes(png(self.plot()))
        tiles = [tile for pictures in self.pictures.values() for tile in pictures[:SHOWN, 0]]
        save(grid(tiles, SHOWN), folder / "methods.png")
        write_pictures(folder / PICTURES, self.pictures)
        if self.steered is not None:
            self.steered.save(folder / STEERED)

    @classmethod
    def load(cls, folder: Path) -> SuppressionResult:
        """Read what `save` wrote, but for the steered model.

        Args:
            folder: The folder of a result.

        Returns:
            The result; `steered` is None, `load_steered` opens it.

        Raises:
            EvidenceError: The files are missing, damaged or of another version.
        """
        result = load_json(cls, folder, cls.figures_file, EvidenceError)
        return replace(result, pictures=read_pictures(folder / PICTURES, EvidenceError))
