"""The result of an attribution: what each piece of a prompt, and pieces together, add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import ConfigDict, Field, SkipValidation

from clerestory.attribution.pieces import Removal
from clerestory.attribution.synergy import SynergyTest
from clerestory.errors import EvidenceError
from clerestory.io.tensor_files import read_arrays
from clerestory.io.validation import load_json, to_jsonable
from clerestory.reporting.intervals import format_interval
from clerestory.reporting.results import Provenance, Result
from clerestory.types import Pictures

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Attribution",
    "Drawings",
    "Estimate",
    "Interaction",
    "PatchEffect",
    "Share",
    "Split",
]

DRAWINGS = "drawings.npz"
LAYER = "layer:"
"""What precedes a site among the names of the arrays of `drawings.npz`."""


@dataclass(frozen=True)
class Estimate:
    """A mean over paraphrases with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Share:
    """What one piece adds, with its 95% interval over paraphrases.

    Attributes:
        removal_sensitive: Whether deleting removed pieces gives another share than replacing them
            by baselines; None where only one of these was measured, or both give the same texts.
    """

    piece: str
    value: float
    low: float
    high: float
    removal_sensitive: bool | None = None


@dataclass(frozen=True)
class Interaction:
    """What two pieces add together beyond what each adds; as `Share` otherwise."""

    pieces: tuple[str, str]
    value: float
    low: float
    high: float
    removal_sensitive: bool | None = None


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
    """

    shapley: tuple[Share, ...]
    interactions: tuple[Interaction, ...]
    completeness_error: float
    sampling_error: float
    single: tuple[Share, ...]
    total: Estimate
    synergy: Estimate
    values: tuple[float, ...] | None = field(repr=False)


@dataclass(frozen=True)
class PatchEffect:
    """What is lost where one token of the full prompt is patched at one block.

    Attributes:
        target: The target whose value is measured.
        site: The block's residual stream.
        token: The token, or the words around the pieces.
        position: The token's position among the others.
        lost: The share of what all pieces add, with its 95% interval over paraphrases.
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


@dataclass(frozen=True, eq=False)
class Drawings:
    """Pictures for the page of an attribution.

    Attributes:
        prompts: The prompt of every coalition, in the order of `shapley.all_coalitions`; none
            where there are too many coalitions, or nothing is left without the pieces.
        coalitions: `[coalition, seed, height, width, 3]`.
        layers: The full prompt drawn from each text layer, `[seed, height, width, 3]` by site.
    """

    prompts: tuple[str, ...]
    coalitions: Pictures
    layers: Mapping[str, Pictures]

    def save(self, folder: Path) -> None:
        """Write `drawings.npz`.

        Args:
            folder: A folder that exists; a file of this name is overwritten.
        """
        layers = {f"{LAYER}{site}": pictures for site, pictures in self.layers.items()}
        # Sites as names of arrays need the prefix: a site could otherwise be called `prompts`.
        np.savez_compressed(
            folder / DRAWINGS,
            prompts=np.array(self.prompts, dtype=str),
            coalitions=self.coalitions,
            **layers,  # type: ignore[arg-type]  # the stub takes them for allow_pickle
        )

    @classmethod
    def load(cls, folder: Path) -> Drawings | None:
        """Read what `save` wrote; None where nothing was saved.

        Args:
            folder: The folder of a result.

        Returns:
            The pictures, or None.

        Raises:
            EvidenceError: The file is damaged.
        """
        path = folder / DRAWINGS
        if not path.exists():
            return None
        arrays = read_arrays(path, EvidenceError)
        prompts, coalitions = arrays.pop("prompts"), arrays.pop("coalitions")
        layers = {name.removeprefix(LAYER): pictures for name, pictures in arrays.items()}
        return cls(tuple(map(str, prompts)), coalitions, layers)


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(Result):
    """Values split over the pieces of a prompt.

    Attributes:
        prompt: The prompt with all pieces.
        pieces: The words of each piece.
        baselines: What takes the place of each; "" where it is deleted.
        removal: The ways in which pieces were removed; figures are of the first.
        paraphrases: How many there were; they are the replicates.
        seeds: Seeds per prompt, which are averaged first.
        of: The split of each target, by its name.
        activations: Names of the targets that are read inside the model, not from pictures.
        alternatives: The same splits for the other ways of removal.
        path: The splits of a finding's direction at every site, by finding and site.
        synergy: Neurons that the pieces activate jointly; None where that was not tested.
        patching: What is lost where one token is patched at one block.
        warnings: What to consider before relying on the figures.
        provenance: Where the result comes from.
        drawings: Pictures for the page; None where none were drawn.
    """

    figures_file = "attribution.json"
    __pydantic_config__: ClassVar[ConfigDict] = {
        "extra": "forbid",
        "allow_inf_nan": False,
        "arbitrary_types_allowed": True,
    }

    prompt: str
    pieces: tuple[str, ...]
    baselines: tuple[str, ...]
    removal: tuple[Removal, ...]
    paraphrases: int
    seeds: tuple[int, ...]
    of: Mapping[str, Split]
    activations: tuple[str, ...]
    alternatives: Mapping[Removal, Mapping[str, Split]] = field(default_factory=dict)
    path: Mapping[str, Mapping[str, Split]] = field(default_factory=dict)
    synergy: SynergyTest | None = None
    patching: tuple[PatchEffect, ...] = ()
    warnings: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=lambda: Provenance(""))
    drawings: Annotated[Drawings | None, SkipValidation, Field(exclude=True)] = None

    def summary(self) -> str:
        """The largest share of each target, with its interval."""
        largest = [
            (name, max(split.shapley, key=lambda share: abs(share.value)))
            for name, split in self.of.items()
        ]
        shares = "; ".join(
            f"{share.piece!r} adds {format_interval(share.value, share.low, share.high)} to {name}"
            for name, share in largest
        )
        return f"{shares}; {self.paraphrases} paraphrases."

    def table(self) -> pd.DataFrame:
        """Shapley values and interactions of every target, one row each."""
        import pandas as pd

        rows = []
        for name, split in self.of.items():
            shares: list[tuple[str, Share | Interaction]] = [(s.piece, s) for s in split.shapley]
            shares += [(" x ".join(pair.pieces), pair) for pair in split.interactions]
            rows += [
                {"of": name, "pieces": pieces, "value": e.value, "low": e.low, "high": e.high}
                for pieces, e in shares
            ]
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """Shapley values as circles and interactions as lines, one chart per target."""
        import altair as alt

        # Imported here: charts import this module for its types.
        from clerestory.attribution.charts import network

        return alt.hconcat(*(network(split).properties(title=n) for n, split in self.of.items()))

    def to_dict(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        return to_jsonable(self)

    def page(self) -> str:
        """The shares, interactions and pictures as an HTML page."""
        from clerestory.attribution.page import page

        return page(self)

    def write(self, folder: Path) -> None:
        """Write `attribution.json`, `attribution.html` and, if there are pictures, `drawings.npz`.

        Args:
            folder: The folder; files of these names are overwritten.
        """
        super().write(folder)
        if self.drawings is not None:
            self.drawings.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Attribution:
        """Read what `save` wrote.

        Args:
            folder: The folder of a result.

        Returns:
            The result, with its pictures where some were saved.

        Raises:
            EvidenceError: The files are missing, damaged or of another version.
        """
        # Pictures are excluded from the JSON and checked by themselves.
        result = load_json(cls, folder, cls.figures_file, EvidenceError)
        return replace(result, drawings=Drawings.load(folder))
