"""Which token's position carries it, block by block of the text encoder?

The prompt is run with all of its pieces, and at one position of one block it gets what the prompt
without them has there: what the value loses by that was carried there. Where pieces are left out
their own tokens have nothing to get. Source: activation patching, in the direction that tests what
is needed (Zhang & Nanda 2024).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clerestory.attribution.attribute import Progress
from clerestory.attribution.pieces import Absence, Owned, Prompt
from clerestory.attribution.shares import groups_of
from clerestory.attribution.values import Value
from clerestory.edits import Patch
from clerestory.evaluation.objectives import Along, Term
from clerestory.evaluation.terms import read_terms
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.models.families.text import Text
from clerestory.stats import bootstrap_means

__all__ = ["Patched", "patched", "text_blocks"]

CARRIERS = 20
END = "(end)"
LEAST = 1e-6
"""Shares below are nothing: the value does not depend on that encoder."""


@dataclass(frozen=True)
class Role:
    """A token, or words, that paraphrases have in common; what it is called, and its order."""

    order: tuple[int, int]
    label: str


Positions = dict[Role, list[tuple[int, int]]]
"""Pairs of a position and of the one that its stand-in has."""


@dataclass(frozen=True)
class Patched:
    """What is lost where a token of the prompt is neutral at a block: a share of what pieces bring.

    With its 95% interval over paraphrases; `place` is the token's among the others.
    """

    value: str
    site: str
    token: str
    place: int
    lost: float
    low: float
    high: float

    @property
    def stage(self) -> str:
        """The text encoder that it is a token of."""
        return self.site.partition(".")[0]


def patched(
    model: Model,
    carriers: Sequence[Prompt],
    values: Sequence[Value],
    *,
    absence: Absence = "neutral",
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Patched, ...]:
    """Every token and block of the text encoders, for values read before the denoiser or handed it.

    Only blocks that a value is read after. None for values that the pieces do not move, encoders
    that they do not depend on, and texts whose tokens cannot be matched.
    """
    none = [False] * len(carriers[0].pieces)
    carriers = [one for one in carriers if one.text(none, absence)][:CARRIERS]
    found: list[Patched] = []
    for stage, window in model.family.windows.items():
        reads = {
            site: [value for value in values if _reads(model, value, site)]
            for site in text_blocks(model, stage)
        }
        reads = {site: those for site, those in reads.items() if those}
        if reads and isinstance(window, Text):
            own = _of_stage(model, window, reads, carriers, absence, seed, progress)
            moved = {one.value for one in own if abs(one.lost) > LEAST}
            found += [one for one in own if one.value in moved]
    return tuple(found)


def _reads(model: Model, value: Value, block: str) -> bool:
    """Whether a value is read at a block of a text encoder, after it, or where it may lead."""
    if not isinstance(value.term, Along):
        return False
    family, site = model.family, parse(value.term.site).site
    stage = value.stage(model)
    if stage == model.sites[block].stage:
        order = list(model.sites)
        return order.index(block) <= order.index(site)
    encoded = stage in family.first and stage not in family.windows
    return encoded or site in model.conditioning_sites


def text_blocks(model: Model, stage: str) -> list[str]:
    """The stream after each block of a text encoder, as far as something reads it."""
    return [
        site.address
        for site in model.sites.values()
        if site.stage == stage and site.tap == "resid" and site.feeds is not False
    ]


def _of_stage(
    model: Model,
    window: Text,
    reads: Mapping[str, Sequence[Value]],
    carriers: Sequence[Prompt],
    absence: Absence,
    seed: int,
    progress: Progress | None,
) -> list[Patched]:
    """By block the values that are read after it."""
    count, groups = len(carriers[0].pieces), groups_of(carriers)
    texts, plain = (
        [one.text([here] * count, absence) for one in carriers] for here in (True, False)
    )
    places = [_positions(window, one, absence) for one in carriers]
    every = [value.term for value in dict.fromkeys(itertools.chain(*reads.values()))]
    full, none = (
        read_terms(model, every, those, [seed], sees=_none, sites=list(reads), pool="none")
        for those in (texts, plain)
    )
    assert full.activations is not None and none.activations is not None
    found: list[Patched] = []
    for done, (site, values) in enumerate(reads.items()):
        own = full.activations.unlabelled[site].values()[:, 0]
        other = none.activations.unlabelled[site].values()[:, 0]
        for place, role in enumerate(_shared(places)):
            pairs = [one.get(role, []) for one in places]
            edit = Patch(site, _mixed(own, other, pairs))
            terms = [value.term for value in values]
            came = read_terms(model, terms, texts, [seed], sees=_none, edits=[edit])
            there = np.array([bool(one) for one in pairs])
            for value in values:
                ends = [seen.values[value.term][there] for seen in (full, none, came)]
                found += _lost((value.name, site, role.label, place), groups[there], *ends)
        if progress is not None:
            progress("patching tokens", done + 1, len(reads))
    return found


def _shared(places: Sequence[Positions]) -> list[Role]:
    """Roles that half of the carriers have, in their order."""
    every = sorted({role for one in places for role in one}, key=lambda role: role.order)
    return [role for role in every if 2 * sum(role in one for one in places) >= len(places)]


def _lost(
    what: tuple[str, str, str, int],
    groups: NDArray[np.int64],
    full: NDArray[np.float64],
    none: NDArray[np.float64],
    came: NDArray[np.float64],
) -> list[Patched]:
    rng = np.random.default_rng(0)
    whole = full - none
    low, high = bootstrap_means(whole, rng=rng, groups=groups)
    if low <= 0 <= high:
        return []
    lost = (full - came) / whole.mean()
    down, up = bootstrap_means(lost, rng=rng, groups=groups)
    return [Patched(*what, float(lost.mean()), float(down), float(up))]


def _mixed(
    own: NDArray[np.float32], other: NDArray[np.float32], pairs: Sequence[Sequence[tuple[int, int]]]
) -> NDArray[np.float32]:
    mixed = own.copy()
    for row, places in enumerate(pairs):
        for here, there in places:
            mixed[row, here] = other[row, there]
    return mixed


def _positions(window: Text, carrier: Prompt, absence: Absence) -> Positions:
    """Tokens of pieces one by one, the words around them together, and the end; {} for none.

    The last tokens of a piece stand beside the last ones of its stand-in.
    """
    count = len(carrier.pieces)
    full, none = (
        _tokens(window, carrier.letters([here] * count, absence)) for here in (True, False)
    )
    found: Positions = {}
    for part, own in full.items():
        other = none.get(part, [])
        if not other:
            continue
        for n, (at, said) in enumerate(own):
            if part % 2:
                back = len(other) - len(own) + n
                role, there = Role((part, n), said), other[max(back, 0)][0]
            else:
                role, there = (
                    Role((part, 0), _around(carrier, part)),
                    other[min(n, len(other) - 1)][0],
                )
            found.setdefault(role, []).append((at, there))
    ends = [_end(window, carrier.text([here] * count, absence)) for here in (True, False)]
    found[Role((2 * count + 1, 0), END)] = [(ends[0], ends[1])] if full else []
    return found


def _around(carrier: Prompt, part: int) -> str:
    pieces = carrier.pieces
    place = part // 2
    return f"before {pieces[place].words}" if place < len(pieces) else f"after {pieces[-1].words}"


def _end(window: Text, text: str) -> int:
    """The last real position: end-of-text."""
    return int(window.real([text])[0].nonzero()[-1])


def _tokens(window: Text, letters: Owned) -> dict[int, list[tuple[int, str]]]:
    """By part of the prompt its positions and what they say.

    Parts are the words before the first piece, the piece, the words after it, and so on.
    """
    text = "".join(letter for letter, _ in letters)
    offsets = window.offsets(text)
    if offsets is None:
        return {}
    parts = [2 * owner + 1 if owner >= 0 else -2 * (owner + 1) for _, owner in letters]
    found: dict[int, list[tuple[int, str]]] = {}
    for place, (start, end) in enumerate(offsets):
        said = text[start:end]
        if said.strip():
            at = start + len(said) - len(said.lstrip())
            found.setdefault(parts[at], []).append((place, said.strip()))
    return found


def _none(term: Term, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    raise AssertionError(f"{term} is not read inside the model.")
