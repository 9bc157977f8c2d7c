"""The result of an attribution: what each piece of a prompt, and pieces together, add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from clerestory.attribution.pieces import Removal
from clerestory.attribution.synergy import SynergyTest
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.reporting.intervals import format_interval
from clerestory.reporting.results import PicturedResult, Provenance

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COALITIONS",
    "Attribution",
    "Estimate",
    "Interaction",
    "PatchEffect",
    "Share",
    "Split",
]

COALITIONS = "coalitions"
"""The name of the pictures of coalitions; other pictures have the name of a site, with a slash."""


@dataclass(frozen=True)
class Estimate:
    """A mean over templates with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return format_interval(self.value, self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class Share(Estimate):
    """What one piece adds.

    Attributes:
        piece: The piece's words.
        removal_sensitive: Whether deleting removed pieces gives another share than replacing them
            by baselines; None where only one of these was measured, or both give the same texts.
    """

    piece: str
    removal_sensitive: bool | None = None

    @property
    def label(self) -> str:
        """The piece's words."""
        return self.piece


@dataclass(frozen=True, kw_only=True)
class Interaction(Estimate):
    """What two pieces add together beyond what each adds.

    Attributes:
        pieces: The words of both.
        removal_sensitive: As in `Share`.
    """

    pieces: tuple[str, str]
    removal_sensitive: bool | None = None

    @property
    def label(self) -> str:
        """The words of both pieces."""
        # As a product is written: an interaction is the part that neither piece has alone.
        return " x ".join(self.pieces)


@dataclass(frozen=True)
class Split:
    """One target's value, split over the pieces.

    Attributes:
        shapley: Shapley values; they add up to `total`, but for `completeness_error`.
        interactions: k-SII of order two, for every pair.
        completeness_error: How much `total` and the sum of its parts differ at most.
        sampling_error: The standard error that comes from sampling coalitions; 0 where all were
            measured.
        single: What each piece adds where no other is present.
        total: What all pieces add.
        synergy: `total` less the sum of `single`.
        values: The mean value of every coalition in the order of `shapley.all_coalitions`; None
            where coalitions were sampled.
        templates: How many there are: the replicates of the intervals, each the mean of its
            paraphrases.
        interval: How intervals are made. `binomial`: of rates, whose shares have limits, valid
            also where all paraphrases agree. `t`: of values without limits, by Student's t.
    """

    shapley: tuple[Share, ...]
    interactions: tuple[Interaction, ...]
    completeness_error: float
    sampling_error: float
    single: tuple[Share, ...]
    total: Estimate
    synergy: Estimate
    values: tuple[float, ...] | None = field(repr=False)
    templates: int
    interval: Literal["binomial", "t"]

    @property
    def indices(self) -> tuple[Share | Interaction, ...]:
        """Shapley values, then interactions."""
        return (*self.shapley, *self.interactions)


@dataclass(frozen=True)
class PatchEffect:
    """What is lost where one token of the full prompt is patched at one block.

    Attributes:
        target: The target whose value is measured.
        site: The block's residual stream.
        token: The token, or the words around the pieces.
        position: The token's position among the others.
        lost: The share of what all pieces add, with its 95% interval over templates.
    """

    target: str
    site: str
    token: str
    position: int
    lost: float
    low: float
    high: float

    @property
    def stage(self) -> str:
        """The text encoder that reads the token."""
        return self.site.partition(".")[0]


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(PicturedResult):
    """Values split over the pieces of a prompt.

    Attributes:
        prompt: The prompt with all pieces.
        pieces: The words of each piece.
        baselines: What takes the place of each; "" where it is deleted.
        removal: The ways in which pieces were removed; figures are of the first.
        paraphrases: How many there were; they are the replicates.
        seeds: The seeds of each paraphrase, which all of its coalitions share; values are averaged
            over them first.
        of: The split of each target, by its name.
        activations: Names of the targets that are read inside the model, not from pictures.
        alternatives: The same splits for the other ways of removal.
        path: The splits of a finding's direction at every site, by finding and site.
        synergy: Neurons that the pieces activate jointly; None where that was not tested.
        patching: What is lost where one token is patched at one block.
        warnings: What to consider before relying on the figures.
        provenance: Where the result comes from.
        coalition_prompts: The prompt of every coalition that was drawn, in the order of
            `shapley.all_coalitions`; none where there are too many coalitions, or nothing is left
            without the pieces.
        pictures: `coalitions` `[coalition, seed, height, width, 3]`, and by site the full prompt
            drawn from that text layer, `[seed, height, width, 3]`; empty where none were drawn.
    """

    figures_file = "attribution.json"

    prompt: str
    pieces: tuple[str, ...]
    baselines: tuple[str, ...]
    removal: tuple[Removal, ...]
    paraphrases: int
    seeds: tuple[tuple[int, ...], ...]
    of: Mapping[str, Split]
    activations: tuple[str, ...]
    alternatives: Mapping[Removal, Mapping[str, Split]] = field(default_factory=dict)
    path: Mapping[str, Mapping[str, Split]] = field(default_factory=dict)
    synergy: SynergyTest | None = None
    patching: tuple[PatchEffect, ...] = ()
    warnings: tuple[EvidenceWarning, ...] = ()
    provenance: Provenance = field(default_factory=lambda: Provenance(""))
    coalition_prompts: tuple[str, ...] = ()

    def summary(self) -> str:
        """The largest share of each target, with its interval."""
        largest = [
            # By size: a piece that lowers the value is as much of a finding.
            (name, max(split.shapley, key=lambda share: abs(share.value)))
            for name, split in self.of.items()
        ]
        shares = "; ".join(f"{share.piece!r} adds {share} to {name}" for name, share in largest)
        return f"{shares}; {self.paraphrases} paraphrases."

    def table(self) -> pd.DataFrame:
        """Shapley values and interactions of every target, one row each."""
        import pandas as pd

        return pd.DataFrame(
            {"of": name, "pieces": e.label, "value": e.value, "low": e.low, "high": e.high}
            for name, split in self.of.items()
            for e in split.indices
        )

    def plot(self) -> Any:
        """Shapley values as circles and interactions as lines, one chart per target."""
        import altair as alt

        # Imported here: charts import this module for its types.
        from clerestory.attribution.charts import network

        return alt.hconcat(*(network(split).properties(title=n) for n, split in self.of.items()))

    def page(self) -> str:
        """The shares, interactions and pictures as an HTML page."""
        from clerestory.attribution.page import page

        return page(self)
