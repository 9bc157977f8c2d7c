"""The result of evaluating a dictionary: figures of activations and of redrawn pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from clerestory.evaluation import Rate
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.reporting.intervals import format_interval
from clerestory.reporting.pictures import labelled_rows, save
from clerestory.reporting.results import PicturedResult, Provenance

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CONDITIONS",
    "MEAN",
    "RANDOM",
    "RECONSTRUCTION",
    "UNEDITED",
    "ActivationFigures",
    "DictionaryEvaluation",
    "PictureFigures",
    "StepFigures",
]

UNEDITED, RECONSTRUCTION = "unedited", "reconstruction"
RANDOM, MEAN = "random dictionary", "mean ablation"
CONDITIONS = (UNEDITED, RECONSTRUCTION, RANDOM, MEAN)
"""How pictures are drawn, in the order of the grid's rows."""
FILE, GRID = "evaluation.json", "grid.png"


@dataclass(frozen=True)
class StepFigures:
    """Figures of the activations at one denoising step.

    Attributes:
        step: Index of the step.
        timestep: The scheduler's; None where it has none.
        explained_variance: 1 less the squared error over the squared distance from the step's mean.
        l0: Latents above 0 per position.
        dead: Share of the latents that are above 0 at no position of this step.
    """

    step: int
    timestep: float | None
    explained_variance: float
    l0: float
    dead: float


@dataclass(frozen=True)
class ActivationFigures:
    """How well a dictionary reconstructs activations.

    Attributes:
        explained_variance: 1 less the squared error over the squared distance from the mean.
        l0: Latents above 0 per position.
        dead: Share of the latents that are above 0 at no position.
        rows: Number of positions that were measured, over samples and steps.
        by_step: The figures of each step; empty where the site has one.
    """

    explained_variance: float
    l0: float
    dead: float
    rows: int
    by_step: tuple[StepFigures, ...] = ()


@dataclass(frozen=True)
class PictureFigures:
    """How far pictures are from the unedited ones.

    Attributes:
        condition: One of `CONDITIONS`.
        rms: Root mean square distance, 0 for equal pictures, 1 for black against white.
        recovered: 1 less the mean square distance over that of the mean ablation: 1 for equal
            pictures, 0 for those of the mean ablation; None where that changes no picture.
        agreement: By classifier, the share of pictures whose predicted class stays, with an
            interval over prompts.
    """

    condition: str
    rms: float
    recovered: float | None
    agreement: Mapping[str, Rate]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DictionaryEvaluation(PicturedResult):
    """How well a dictionary stands for the values of its site, in activations and in pictures.

    Attributes:
        site: Address of the site.
        branch: The branch of guidance that was read and edited.
        kind: The dictionary's kind.
        latents: Its number of latents.
        dictionary: Its digest.
        prompts: The prompts, which are the items.
        seeds: The seeds of each prompt.
        activations: Figures of the dictionary.
        random: The same of the random dictionary.
        tokens: Figures of the dictionary at the prompts' own tokens alone, without start token and
            padding; None where the site has no such positions.
        conditions: Figures of the pictures of each condition, in the order of `CONDITIONS`.
        warnings: Limitations of the evidence.
        provenance: The model and the options.
        pictures: By condition, the pictures of the grid: the first seed of up to twelve prompts.
    """

    figures_file = FILE

    site: str
    branch: str
    kind: str
    latents: int
    dictionary: str
    prompts: tuple[str, ...]
    seeds: tuple[tuple[int, ...], ...]
    activations: ActivationFigures
    random: ActivationFigures
    conditions: tuple[PictureFigures, ...]
    warnings: tuple[EvidenceWarning, ...]
    provenance: Provenance
    tokens: ActivationFigures | None = None

    def condition(self, name: str) -> PictureFigures:
        """The figures of one condition.

        Args:
            name: One of `CONDITIONS`.

        Returns:
            Its figures.

        Raises:
            KeyError: There is no such condition.
        """
        return {each.condition: each for each in self.conditions}[name]

    @override
    def summary(self) -> str:
        figures, count = self.activations, sum(map(len, self.seeds))
        recovered = _percent(self.condition(RECONSTRUCTION).recovered)
        own = self.tokens
        tokens = (
            "" if own is None else f" ({own.explained_variance:.3f} at the prompts' own tokens)"
        )
        return (
            f"{self.latents} latents ({self.kind}) at {self.site}: explained variance "
            f"{figures.explained_variance:.3f}{tokens}, {figures.l0:.1f} latents per position, "
            f"{figures.dead:.1%} of them never active; pictures recovered {recovered}, by a random "
            f"dictionary {_percent(self.condition(RANDOM).recovered)} ({count} pictures of "
            f"{len(self.prompts)} prompts)"
        )

    @override
    def table(self) -> pd.DataFrame:
        """A row for each condition: distance, share recovered, agreement with its interval."""
        import pandas as pd

        rows = [
            {
                "pictures": each.condition,
                "RMS": each.rms,
                "recovered": each.recovered,
                **{
                    f"same {name}": format_interval(rate.rate, rate.low, rate.high, ".2f")
                    for name, rate in each.agreement.items()
                },
            }
            for each in self.conditions
        ]
        return pd.DataFrame(rows)

    def step_table(self) -> pd.DataFrame:
        """A row for each step, with the figures of the dictionary and of the random one."""
        import pandas as pd

        rows = [
            {
                "step": each.step,
                "timestep": each.timestep,
                "explained variance": each.explained_variance,
                "L0": each.l0,
                "dead": each.dead,
                "random dictionary": random.explained_variance,
            }
            for each, random in zip(self.activations.by_step, self.random.by_step, strict=True)
        ]
        return pd.DataFrame(rows)

    @override
    def plot(self) -> Any:
        """The RMS distance of each condition from the unedited pictures."""
        import altair as alt
        import pandas as pd

        rows = [{"pictures": each.condition, "rms": each.rms} for each in self.conditions[1:]]
        order = [each["pictures"] for each in rows]
        return (
            alt.Chart(pd.DataFrame(rows), title=self.site, width=360)
            .mark_bar()
            .encode(
                y=alt.Y("pictures:N", sort=order, title=None),
                x=alt.X("rms:Q", title="RMS distance from the unedited pictures"),
            )
        )

    def grid(self) -> NDArray[np.uint8]:
        """The pictures in labelled rows, a column for each prompt, `[height, width, 3]`."""
        return labelled_rows({name: self.pictures[name] for name in CONDITIONS})

    @override
    def write(self, folder: Path) -> None:
        """Write `evaluation.json`, the grid's pictures, and `grid.png`.

        Args:
            folder: The folder; it is created if missing.
        """
        super().write(folder)
        save(self.grid(), folder / GRID)

    @classmethod
    @override
    def load(cls, folder: Path) -> Self:
        return super().load(Path(folder))


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.1%}"
