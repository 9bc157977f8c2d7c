"""Do the words that a search found draw a concept better than saying it, or than a steered model?

result = compare(model, "found", "lancet:style=stained glass", "a stained glass of {item}")
result.table()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from clerestory.classifiers import parse_target
from clerestory.errors import SearchError
from clerestory.evaluation import (
    ITEM,
    CacheOption,
    Condition,
    Design,
    Effect,
    Evaluator,
    Outcome,
    Panel,
    Rate,
    compare_conditions,
)
from clerestory.evaluation.items import select_items
from clerestory.io.reading import path_inside, read_json
from clerestory.io.tensor_files import read_arrays
from clerestory.io.validation import load_json, validate
from clerestory.maximization.results import FILE as SEARCH_FILE
from clerestory.maximization.results import MaximizationResult
from clerestory.models import Edit, Model
from clerestory.models.core.seeds import check_seeds
from clerestory.models.provenance import provenance_of
from clerestory.reporting.intervals import format_interval
from clerestory.reporting.pictures import grid, save
from clerestory.reporting.progress import progress_bars
from clerestory.reporting.results import Provenance, Result
from clerestory.types import ProgressOption

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ComparisonResult", "Steered", "compare", "found_words"]

UNEDITED, WORDS, STEERED = "unedited", "the words", "steered"
FILE, PICTURES, SHEET = "comparison.json", "pictures.npz", "compare.png"
COLUMNS = 8
"""Items on the sheet of pictures."""
START = 1_000
"""Items of a profile before these may have built the steered model that takes part."""


class Steered(Protocol):
    """A model that carries edits, as `SteeredModel` does."""

    @property
    def edits(self) -> Sequence[Edit]:
        """The edits, in their order."""


@dataclass(frozen=True)
class _Condition:
    """One condition in `comparison.json`."""

    name: str
    target: Rate
    preservation: dict[str, Rate]
    mean_preservation: float | None
    distance: float
    hard_negative: Rate | None
    hard_negative_effect: Effect | None
    frechet: float | None


@dataclass(frozen=True)
class _Saved:
    """What `comparison.json` holds."""

    target: str
    items: tuple[str, ...]
    seeds: tuple[int, ...]
    conditions: tuple[_Condition, ...]
    provenance: Provenance


@dataclass(frozen=True, eq=False, repr=False)
class ComparisonResult(Result):
    """What several conditions make of the same items and seeds.

    Attributes:
        target: The label that is counted, `CLASSIFIER=LABEL`.
        items: What was drawn.
        seeds: The seeds of each item.
        conditions: `unedited`, `the words`, the words that were found, `steered`; evaluation
            classifiers predict. The first is what preservation is measured against.
        provenance: Which model, with which options.
    """

    figures_file = FILE
    target: str
    items: tuple[str, ...]
    seeds: tuple[int, ...]
    conditions: tuple[Outcome, ...]
    provenance: Provenance

    def summary(self) -> str:
        """The rates of the words and of the best condition beside them."""
        words = self.conditions[1]
        others = list(self.conditions[2:]) or [words]
        best = max(others, key=lambda outcome: outcome.target.rate)
        return (
            f"{self.target} on {len(self.items)} items: {_interval(words.target)} with the words, "
            f"{_interval(best.target)} with {best.name}"
        )

    def table(self) -> pd.DataFrame:
        """A row for each condition: the target's rate with its interval, and preservation."""
        import pandas as pd

        rows = [
            {
                "condition": outcome.name,
                "target": _interval(outcome.target),
                **{name: f"{rate.rate:.2f}" for name, rate in outcome.preservation.items()},
            }
            for outcome in self.conditions
        ]
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """The target's rate of each condition, with its interval."""
        import altair as alt
        import pandas as pd

        rows = [{"condition": each.name, **asdict(each.target)} for each in self.conditions]
        order = [each.name for each in self.conditions]
        base = alt.Chart(pd.DataFrame(rows), title=self.target).encode(
            y=alt.Y("condition:N", sort=order, title=None)
        )
        rule = base.mark_rule().encode(x=alt.X("low:Q", title="rate"), x2="high:Q")
        point = base.mark_point(filled=True, size=60).encode(
            x=alt.X("rate:Q", scale=alt.Scale(domain=[0, 1]))
        )
        return (rule + point).properties(width=360)

    def sheet(self) -> Any:
        """A grid of pictures `[height, width, 3]`: a row for each condition, the first seed."""
        rows = [picture for each in self.conditions for picture in each.pictures[:COLUMNS, 0]]
        return grid(rows, columns=min(COLUMNS, len(self.items)))

    def to_dict(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        return {
            "target": self.target,
            "items": list(self.items),
            "seeds": list(self.seeds),
            "conditions": [outcome.to_dict() for outcome in self.conditions],
            "provenance": asdict(self.provenance),
        }

    def write(self, folder: Path) -> None:
        """Write `comparison.json`, the pictures, and `compare.png`, a sheet of them.

        Args:
            folder: The folder; files of these names are overwritten.
        """
        super().write(folder)
        arrays: dict[str, Any] = {
            str(number): outcome.pictures for number, outcome in enumerate(self.conditions)
        }
        np.savez_compressed(folder / PICTURES, **arrays)
        save(self.sheet(), folder / SHEET)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Args:
            folder: The folder of a comparison.

        Returns:
            The result, with its pictures.

        Raises:
            SearchError: A file is missing or was altered.
        """
        saved = load_json(_Saved, folder, FILE, SearchError)
        pictures = read_arrays(folder / PICTURES, SearchError)
        if sorted(pictures) != sorted(str(at) for at in range(len(saved.conditions))):
            raise SearchError(f"{folder / PICTURES} has other pictures than {FILE} says.")
        conditions = []
        for at, each in enumerate(saved.conditions):
            # `mean_preservation` is a property of `Outcome`: saved for readers, computed again
            # here.
            fields = {k: value for k, value in vars(each).items() if k != "mean_preservation"}
            conditions.append(Outcome(**fields, pictures=pictures[str(at)]))
        return cls(saved.target, saved.items, saved.seeds, tuple(conditions), saved.provenance)


def compare(
    model: Model,
    search: MaximizationResult | Sequence[str] | str | Path,
    target: str,
    template: str,
    *,
    items: Sequence[str] | str | Path | None = None,
    count: int = 24,
    seeds: int | Sequence[int] = (0, 1),
    best: int = 3,
    placement: str = "{item}, {words}",
    steered: Steered | None = None,
    cache: CacheOption = True,
    progress: ProgressOption = True,
) -> ComparisonResult:
    """Draw items plainly, by a template, with words that were found, and by a steered model.

    Args:
        model: The model.
        search: A result of `maximize`, its folder, or words.
        target: The label that is counted, `CLASSIFIER=LABEL`. Evaluation classifiers predict.
        template: How a person would say it, with `{item}` in it, once.
        items: What to draw, or a file with an item a line; the profile's by default, of which the
            first thousand are left to those who build steered models.
        count: How many items.
        seeds: The seeds of each item.
        best: How many of the search's prompts take part.
        placement: Where the words that were found stand: `{item}` and `{words}`.
        steered: A steered model of the same base.
        cache: Whether samples are kept, or where.
        progress: True for progress bars, or a callback.

    Raises:
        SearchError: The placement lacks a part, or the folder has no finished search.
        EvidenceError: There are too few items.
        RegistryError: There is no such label.
    """
    if "{words}" not in placement or ITEM not in placement:
        raise SearchError(f"{placement!r} must have {{item}} and {{words}} in it.")
    classifier, label = parse_target(target)
    panel, numbers = Panel.load(classifier, label), check_seeds(seeds)
    words = found_words(search, best)
    drawn = select_items(model, items, classifier, count, START if items is None else 0)
    conditions = [Condition(UNEDITED), Condition(WORDS, template)]
    # A caller may list the same words twice, and a condition's name must be unique.
    conditions += [
        Condition(each, placement.replace("{words}", each)) for each in dict.fromkeys(words)
    ]
    if steered is not None:
        conditions.append(Condition(STEERED, edits=tuple(steered.edits)))
    options = {"template": template, "placement": placement, "words": words}
    with progress_bars(progress) as report:
        evaluator = Evaluator(model, cache, progress=report)
        design = Design.crossed(drawn, numbers)
        found = compare_conditions(evaluator, conditions, design, panel, frechet_to=WORDS)
    provenance = provenance_of(model, options)
    return ComparisonResult(f"{classifier}={label}", drawn, numbers, tuple(found), provenance)


def found_words(search: MaximizationResult | Sequence[str] | str | Path, count: int) -> list[str]:
    """The words of a search's best prompts.

    Args:
        search: A result of `maximize`, its folder, or the words themselves.
        count: How many at most.

    Raises:
        SearchError: The folder has no finished search, or the search found nothing.
    """
    if isinstance(search, MaximizationResult):
        words = [found.words for found in search.best]
    elif isinstance(search, str | Path):
        words = [found.words for found in _saved_best(Path(search))]
    else:
        words = list(search)
    if not words:
        raise SearchError("The search found nothing.")
    return words[:count]


@dataclass(frozen=True)
class _Found:
    words: str


def _saved_best(folder: Path) -> tuple[_Found, ...]:
    """The best prompts of a saved search, of which the words alone are read."""
    if not (folder / SEARCH_FILE).exists():
        raise SearchError(f"{folder} has no finished search: it has no {SEARCH_FILE}.")
    path = path_inside(folder, SEARCH_FILE, SearchError)
    content = read_json(path, SearchError)
    best = content.get("best") if isinstance(content, dict) else None
    rows = [{"words": row.get("words")} for row in best or () if isinstance(row, dict)]
    return validate(tuple[_Found, ...], rows, path, SearchError)


def _interval(rate: Rate) -> str:
    return format_interval(rate.rate, rate.low, rate.high, ".2f")
