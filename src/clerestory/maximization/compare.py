"""Does it beat saying the words? Found prompts, the words themselves and a steered model, compared.

panel = Panel.of("lancet:style", "stained glass")
found = ["cathedral icon glow"]                         # the words of `maximize`'s best
outcomes = compare(model, found, panel, said="a stained glass of {x}", contents=["a cat", "a ship"])
outcomes[1].concept.rate, rivals[1].all_kept
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clerestory.errors import SearchError
from clerestory.evaluation.outcomes import Outcome, Panel, Progress, Way, outcomes
from clerestory.io.fields import value_of
from clerestory.io.reading import inside, read_json, refusing
from clerestory.maximization.results import FILE
from clerestory.models import Edit, Model

__all__ = ["compare", "found_words", "rows_of"]

UNEDITED, WORDS, STEERED = "unedited", "the words", "steered"


def compare(
    model: Model,
    found: Sequence[str],
    panel: Panel,
    *,
    said: str,
    contents: Sequence[str],
    seeds: int | Sequence[int] = (0, 1),
    put: str = "{x}, {found}",
    steered: Sequence[Edit] = (),
    progress: Progress | None = None,
) -> list[Outcome]:
    """Draw contents plainly, by `said`, by each of the `found` words, and with edits if there are.

    `said` has `{x}` where the content goes; `put` says where found words stand. The panel should be
    of the set of classifiers that nothing was searched with.
    """
    if "{found}" not in put or "{x}" not in put:
        raise SearchError(f"{put!r} must have {{x}} and {{found}} in it.")
    ways = [Way(UNEDITED), Way(WORDS, said)]
    ways += [Way(words, put.replace("{found}", words)) for words in dict.fromkeys(found)]
    if steered:
        ways.append(Way(STEERED, edits=tuple(steered)))
    return outcomes(model, ways, contents, seeds, panel, said=WORDS, progress=progress)


def found_words(folder: Path, count: int) -> list[str]:
    """The best words of a search that was kept; SearchError where there is none."""
    try:
        told = read_json(inside(folder, FILE, SearchError), SearchError)
        with refusing(folder / FILE, SearchError):
            words = [one["words"] for one in told["best"][:count]]
        found = value_of(tuple[str, ...], words, "best", SearchError)
    except SearchError as error:
        raise SearchError(f"{folder} has no finished search: its {FILE} cannot be read.") from error
    if not found:
        raise SearchError(f"{folder} has a search that found nothing.")
    return list(found)


def rows_of(outcome: Outcome) -> dict[str, Any]:
    """What a table says of one way."""
    rate = outcome.concept
    return {
        "way": outcome.name,
        "concept": f"{rate.rate:.2f} ({rate.low:.2f}-{rate.high:.2f})",
        **{name: f"{kept.rate:.2f}" for name, kept in outcome.kept.items()},
    }
