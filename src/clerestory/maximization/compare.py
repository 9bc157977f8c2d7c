"""Comparison of the words of a search with a plain prompt and with a steered model.

result = compare(model, "found", "lancet:style=stained glass", "a stained glass of {item}")
result.table()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from typing_extensions import override

from clerestory.arguments import checked
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
from clerestory.io.reading import path_inside, read_json, wrap_errors
from clerestory.io.validation import load_json, validate
from clerestory.maximization.results import FILE as SEARCH_FILE
from clerestory.maximization.results import MaximizationResult, check_finished
from clerestory.models import Edit, Model
from clerestory.models.provenance import provenance_of
from clerestory.reporting.intervals import format_interval
from clerestory.reporting.pictures import grid, read_pictures, save, write_pictures
from clerestory.reporting.progress import progress_bars
from clerestory.reporting.results import Provenance, Result
from clerestory.types import ProgressOption

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ComparisonResult", "Steered", "best_words", "compare"]

UNEDITED, WORDS, STEERED = "unedited", "the words", "steered"
FILE, PICTURES, SHEET = "comparison.json", "pictures.npz", "compare.png"
COLUMNS = 8
"""Items on the sheet of pictures."""
FIRST_ITEM = 1_000
"""Items of a profile from which conditions are drawn: the ones before may have been used to build
the steered model."""


@runtime_checkable
class Steered(Protocol):
    """A model that carries edits, as `SteeredModel` does."""

    @property
    def edits(self) -> Sequence[Edit]:
        """The edits, in their order."""


@dataclass(frozen=True)
class _Condition:
    """The fields of one condition in `comparison.json`."""

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
    """The fields of `comparison.json`."""

    target: str
    items: tuple[str, ...]
    seeds: tuple[tuple[int, ...], ...]
    conditions: tuple[_Condition, ...]
    provenance: Provenance


@dataclass(frozen=True, eq=False, repr=False)
class ComparisonResult(Result):
    """Outcomes of several conditions on the same items and seeds.

    Attributes:
        target: The label that is counted, `CLASSIFIER=LABEL`.
        items: The items that were drawn.
        seeds: The seeds of each item, by item.
        conditions: `unedited`, `the words`, one for each of the search's words, `steered`, as
            evaluation classifiers predict them. Preservation is relative to the first.
        provenance: The model and the options.
    """

    figures_file = FILE
    target: str
    items: tuple[str, ...]
    seeds: tuple[tuple[int, ...], ...]
    conditions: tuple[Outcome, ...]
    provenance: Provenance

    def summary(self) -> str:
        """The target's rate with the plain words and under the best other condition."""
        # The order of `compare`: unedited, the words, then what is compared with them.
        words = self.conditions[1]
        others = list(self.conditions[2:]) or [words]
        # By the rate alone: this is the summary, the table has the intervals.
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
        # In the order in which they were drawn, the plain prompt first.
        base = alt.Chart(pd.DataFrame(rows), title=self.target).encode(
            y=alt.Y("condition:N", sort=order, title=None)
        )
        rule = base.mark_rule().encode(x=alt.X("low:Q", title="rate"), x2="high:Q")
        point = base.mark_point(filled=True, size=60).encode(
            x=alt.X("rate:Q", scale=alt.Scale(domain=[0, 1]))
        )
        return (rule + point).properties(width=360)

    def sheet(self) -> Any:
        """A grid of pictures `[height, width, 3]`: a row a condition, the first seed of items."""
        rows = [picture for each in self.conditions for picture in each.pictures[:COLUMNS, 0]]
        return grid(rows, columns=min(COLUMNS, len(self.items)))

    def to_dict(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        return {
            "target": self.target,
            "items": list(self.items),
            "seeds": [list(own) for own in self.seeds],
            "conditions": [outcome.to_dict() for outcome in self.conditions],
            "provenance": asdict(self.provenance),
        }

    @override
    def write(self, folder: Path) -> None:
        """Write `comparison.json`, the pictures, and `compare.png`, a sheet of them."""
        super().write(folder)
        pictures = {outcome.name: outcome.pictures for outcome in self.conditions}
        write_pictures(folder / PICTURES, pictures)
        save(self.sheet(), folder / SHEET)

    @classmethod
    @override
    def load(cls, folder: Path) -> Self:
        saved = load_json(_Saved, folder, FILE, SearchError)
        pictures = read_pictures(folder / PICTURES, SearchError)
        if list(pictures) != [each.name for each in saved.conditions]:
            raise SearchError(f"{folder / PICTURES} has pictures of other conditions than {FILE}.")
        conditions = []
        for each in saved.conditions:
            # `mean_preservation` is a property of `Outcome`, saved for other readers of the file.
            fields = {k: value for k, value in vars(each).items() if k != "mean_preservation"}
            conditions.append(Outcome(**fields, pictures=pictures[each.name]))
        return cls(saved.target, saved.items, saved.seeds, tuple(conditions), saved.provenance)


@checked()
def compare(
    model: Model,
    search: MaximizationResult | Sequence[str] | str | Path,
    target: str,
    template: str,
    *,
    items: Sequence[str] | str | Path | None = None,
    count: int = 24,
    seeds_per_item: int = 2,
    seeds: int | Sequence[int] | None = None,
    best: int = 3,
    placement: str = "{item}, {words}",
    steered: Steered | None = None,
    cache: CacheOption = True,
    progress: ProgressOption = True,
) -> ComparisonResult:
    """Draw items plainly, by a template, with the words of a search, and by a steered model.

    Args:
        model: The model.
        search: A result of `maximize`, its folder, or words.
        target: The label that is counted, `CLASSIFIER=LABEL`. Evaluation classifiers predict.
        template: The prompt that a person would write, with `{item}` in it, once.
        items: Items, or a file with an item a line; the profile's by default, without the first
            thousand, which are reserved for building steered models.
        count: Number of items.
        seeds_per_item: Number of seeds of each item, which no other item has.
        seeds: Seeds of every item instead; the figures are then of these seeds.
        best: Number of the search's prompts to compare.
        placement: The prompt for the search's words, with `{item}` and `{words}` in it.
        steered: A steered model of the same base.
        cache: Whether samples are cached, or in which folder.
        progress: True for progress bars, or a callback.

    Raises:
        SearchError: The placement lacks a part, or the folder has no finished search.
        EvidenceError: There are too few items.
        RegistryError: There is no such label.

    Returns:
        The figures and pictures of every condition, each compared with the items drawn plainly.
    """
    if "{words}" not in placement or ITEM not in placement:
        raise SearchError(f"The placement {placement!r} must have {{item}} and {{words}} in it.")
    classifier, label = parse_target(target)
    panel = Panel.load(classifier, label)
    words = best_words(search, best)
    selected = select_items(model, items, classifier, count, FIRST_ITEM if items is None else 0)
    conditions = [Condition(UNEDITED), Condition(WORDS, template)]
    # A caller may list the same words twice, and a condition's name must be unique.
    conditions += [
        Condition(each, placement.replace("{words}", each)) for each in dict.fromkeys(words)
    ]
    if steered is not None:
        conditions.append(Condition(STEERED, edits=tuple(steered.edits)))
    design = (
        Design.for_items(selected, seeds_per_item)
        if seeds is None
        else Design.crossed(selected, seeds)
    )
    options = {"template": template, "placement": placement, "words": words}
    with progress_bars(progress) as report:
        evaluator = Evaluator(model, cache, progress=report)
        # Distances to the plain words: a good search draws what saying it draws.
        outcomes = compare_conditions(evaluator, conditions, design, panel, frechet_to=WORDS)
    provenance = provenance_of(model, options)
    target = f"{classifier}={label}"
    return ComparisonResult(target, selected, design.seeds, tuple(outcomes), provenance)


def best_words(search: MaximizationResult | Sequence[str] | str | Path, count: int) -> list[str]:
    """The words of a search's best prompts.

    Args:
        search: A result of `maximize`, its folder, or the words themselves.
        count: Maximum number.

    Raises:
        SearchError: The folder has no finished search, or the search found nothing.

    Returns:
        Words of up to `count` prompts, the best first.
    """
    if isinstance(search, MaximizationResult):
        words = [prompt.words for prompt in search.best]
    elif isinstance(search, str | Path):
        words = _saved_words(Path(search))
    else:
        words = list(search)
    if not words:
        raise SearchError("The search found nothing.")
    return words[:count]


def _saved_words(folder: Path) -> list[str]:
    """The words of the best prompts of a saved search; its other figures are not read."""
    check_finished(folder)
    path = path_inside(folder, SEARCH_FILE, SearchError)
    with wrap_errors(path, SearchError):
        words = [row["words"] for row in read_json(path, SearchError)["best"]]
    return validate(list[str], words, path, SearchError)


def _interval(rate: Rate) -> str:
    return format_interval(rate.rate, rate.low, rate.high, ".2f")
