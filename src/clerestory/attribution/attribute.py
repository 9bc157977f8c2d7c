"""Split values over the pieces of a prompt: every combination is measured, in many paraphrases.

asked = parse_pieces("[alexandra elbakyan] with a [raven] in a [library]")
values = asked_values(model, ["lancet:clothes=black"])
attribute(model, asked, values).of["lancet:clothes=black clothes"]["neutral"].shapley
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clerestory.attribution.indices import (
    EXACT,
    Coalitions,
    Indices,
    coalitions,
    exact,
    few,
    sampled,
    sampled_coalitions,
)
from clerestory.attribution.interactions import Together, together
from clerestory.attribution.measurement import Measured, Reader, unit_sites
from clerestory.attribution.paraphrases import LEAST, USUAL, paraphrases
from clerestory.attribution.pieces import Absence, Prompt, check_pieces
from clerestory.attribution.results import Attribution, Split, labels
from clerestory.attribution.shares import groups_of, split_of
from clerestory.attribution.values import Value
from clerestory.errors import EvidenceError
from clerestory.models import Model
from clerestory.models.core.seeds import check_seeds

__all__ = ["Progress", "attribute", "named"]

Progress = Callable[[str, int, int], None]
"""Told (what, done, of)."""
Matrix = NDArray[np.float64]
BUDGET = 128


def attribute(
    model: Model,
    asked: Prompt,
    values: Sequence[Value],
    *,
    paths: Mapping[str, Sequence[Value]] | None = None,
    carriers: Sequence[Prompt] | int | None = None,
    seeds: int | Sequence[int] = range(4),
    absence: Sequence[Absence] = ("neutral",),
    units: bool = True,
    budget: int = BUDGET,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Attribution:
    """Measure the combinations of `asked`'s pieces in each of the `carriers`, and split the values.

    `carriers` are paraphrases, or how many to make (None: 48, or as many as there are): they are
    the replicates, seeds are averaged first. Intervals are over their frames, taken as independent;
    what stands between the pieces is taken as given. Beyond ten pieces `budget` combinations are
    sampled, twice a paraphrase. `paths` are values along the way of findings (`path_of`). With
    `units`, neurons of every stage that is run are looked at for what pieces excite together, up to
    ten pieces. With `out` what was measured is kept there, and the same call goes on. EvidenceError
    for too few paraphrases, or of another prompt, PromptError for what is too long.
    """
    check_pieces(model, asked)
    ways = _carriers(model, asked, carriers, absence)
    along = paths or {}
    every = [*values, *itertools.chain.from_iterable(along.values())]
    games = _Games.of(asked, ways, tuple(absence), budget)
    model.family.check(games.prompts())
    deep = units and 1 < len(asked.pieces) <= EXACT
    tell = None if progress is None else named(progress, "measuring combinations")
    sites, whole = (unit_sites(model, values), games.few()) if deep else ((), ())
    reader = Reader(model, every, check_seeds(seeds), sites, tell)
    measured = reader(games.prompts(), whole, out)
    splits = dict(zip(_keys(values, along), games.splits(measured), strict=True))
    return Attribution(
        asked=asked,
        pieces=labels(asked),
        absence=games.absence,
        paraphrases=len(games.carriers),
        seeds=tuple(reader.seeds),
        of={value.name: splits["", value.name] for value in values},
        inner=tuple(value.name for value in values if value.inner),
        path=_along(along, splits, games.absence[0]),
        together=_together(model, reader, games, measured) if deep else None,
    )


def _carriers(
    model: Model,
    asked: Prompt,
    carriers: Sequence[Prompt] | int | None,
    absence: Sequence[Absence],
) -> Sequence[Prompt]:
    if carriers is None:
        return paraphrases(asked, USUAL, atleast=LEAST, model=model, absence=absence)
    if isinstance(carriers, int):
        return paraphrases(asked, carriers, model=model, absence=absence)
    for one in carriers:
        if one.pieces != asked.pieces:
            raise EvidenceError(f"{one.whole!r} has other pieces than {asked.whole!r}.")
    return carriers


@dataclass(frozen=True, eq=False)
class _Games:
    """Every paraphrase with its combinations; those with an empty prompt among them are left out.

    `asked_of` are the combinations of a paraphrase: all of them, or two samples.
    """

    asked: Prompt
    carriers: tuple[Prompt, ...]
    absence: tuple[Absence, ...]
    asked_of: tuple[Coalitions, ...]
    budget: int

    @classmethod
    def of(
        cls,
        asked: Prompt,
        carriers: Sequence[Prompt],
        absence: tuple[Absence, ...],
        budget: int,
    ) -> _Games:
        pieces = len(asked.pieces)
        none = [False] * pieces
        said = [one for one in carriers if all(one.text(none, way) for way in absence)]
        if carriers and not said:
            raise EvidenceError(
                "Without its pieces nothing is left of the prompt: give words around them."
            )
        if len(said) < LEAST:
            raise EvidenceError(
                f"Too few sentences have words left without the pieces, {len(said)}: {LEAST} or "
                "more are needed, which are the replicates."
            )
        if pieces <= EXACT:
            these = [coalitions(pieces)] * len(said)
        else:
            these = [
                np.unique(np.concatenate(sampled_coalitions(pieces, budget, seed)), axis=0)
                for seed in range(len(said))
            ]
        return cls(asked, tuple(said), absence, tuple(these), budget)

    @property
    def pieces(self) -> int:
        return len(self.asked.pieces)

    def prompts(self) -> list[str]:
        """Every prompt, some more than once."""
        return [text for way in self.absence for text in self._texts(way)]

    def _texts(self, way: Absence) -> list[str]:
        return [
            carrier.text(row, way)
            for carrier, these in zip(self.carriers, self.asked_of, strict=True)
            for row in np.unique(np.concatenate([these, self.rows]), axis=0)
        ]

    def few(self) -> list[str]:
        """Those with no piece, with one, and with all."""
        return [
            carrier.text(row, self.absence[0]) for carrier in self.carriers for row in self.rows
        ]

    @property
    def rows(self) -> Coalitions:
        return few(self.pieces)

    def splits(self, measured: Measured) -> list[dict[Absence, Split]]:
        """One for each value, by way of absence; compared where the ways say different texts."""
        first, *others = self.absence
        apart = [way for way in others if self._texts(way) != self._texts(first)]
        groups = groups_of(self.carriers)
        found = []
        for at in range(len(next(iter(measured.values.values())))):
            each = {way: self._indices(measured, way, at) for way in self.absence}
            own = {
                way: split_of(
                    labels(self.asked),
                    indices,
                    self._values(measured, way, at, self.rows),
                    each[apart[0]] if way == first and apart else None,
                    self._means(measured, way, at),
                    groups,
                )
                for way, indices in each.items()
            }
            found.append(own)
        return found

    def _values(self, measured: Measured, way: Absence, at: int, rows: Coalitions) -> Matrix:
        """`[replicate, coalition]`."""
        texts = [[carrier.text(row, way) for row in rows] for carrier in self.carriers]
        return np.array([[measured.values[text][at] for text in own] for own in texts])

    def _means(self, measured: Measured, way: Absence, at: int) -> Matrix | None:
        if self.pieces > EXACT:
            return None
        return np.asarray(self._values(measured, way, at, coalitions(self.pieces)).mean(0))

    def _indices(self, measured: Measured, way: Absence, at: int) -> Indices:
        if self.pieces <= EXACT:
            return exact(self._values(measured, way, at, coalitions(self.pieces)))

        def game(carrier: Prompt) -> Callable[[Coalitions], Matrix]:
            return lambda those: np.array(
                [
                    measured.values[carrier.text(row, way)][at]
                    for row in np.atleast_2d(those).astype(bool)
                ]
            )

        return sampled([game(carrier) for carrier in self.carriers], self.pieces, self.budget)


def _along(
    paths: Mapping[str, Sequence[Value]],
    splits: Mapping[tuple[str, str], Mapping[Absence, Split]],
    way: Absence,
) -> dict[str, dict[str, Split]]:
    return {
        name: {value.name: splits[name, value.name][way] for value in own}
        for name, own in paths.items()
    }


def _together(model: Model, reader: Reader, games: _Games, measured: Measured) -> Together:
    way = games.absence[0]
    rows = np.array(
        [
            [measured.units[carrier.text(row, way)] for row in games.rows]
            for carrier in games.carriers
        ]
    )
    return together(model, reader.sites, rows)


def _keys(values: Sequence[Value], paths: Mapping[str, Sequence[Value]]) -> list[tuple[str, str]]:
    own = [("", value.name) for value in values]
    return own + [(name, value.name) for name, those in paths.items() for value in those]


def named(progress: Progress, what: str) -> Callable[[int, int], None]:
    """Progress of one piece of work."""
    return lambda done, of: progress(what, done, of)
