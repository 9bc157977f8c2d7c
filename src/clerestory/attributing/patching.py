"""Which token's position carries it, block by block of the text encoder?

The prompt is run with all of its pieces, and at one position of one block it gets what the prompt
with stand-ins has there: what the value loses by that was carried there. Source: activation
patching, in the direction that tests what is needed (Zhang & Nanda 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clerestory.attributing.attribute import Progress
from clerestory.attributing.pieces import Owned, Prompt
from clerestory.attributing.values import Value
from clerestory.exciting.objectives import Term
from clerestory.exciting.terms import read_terms
from clerestory.models import Model
from clerestory.models.text import Text
from clerestory.numeric import bootstrap_means
from clerestory.steering import Patch

__all__ = ["Patched", "patched", "text_blocks"]

CARRIERS = 20
END = "(end)"


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


def patched(
    model: Model,
    carriers: Sequence[Prompt],
    values: Sequence[Value],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Patched, ...]:
    """Every token and block of each text encoder, for values read before the denoiser.

    None for values that the pieces do not move, and for texts whose tokens cannot be matched.
    """
    early = [value for value in values if value.inner and value.stage(model) != "denoiser"]
    found: list[Patched] = []
    for stage, window in model.family.windows.items():
        blocks = text_blocks(model, stage)
        if early and blocks and isinstance(window, Text):
            found += _of_stage(model, window, blocks, carriers, early, seed, progress)
    return tuple(found)


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
    blocks: Sequence[str],
    carriers: Sequence[Prompt],
    values: Sequence[Value],
    seed: int,
    progress: Progress | None,
) -> list[Patched]:
    count = len(carriers[0].pieces)
    texts, plain = (
        [one.text([here] * count) for one in carriers[:CARRIERS]] for here in (True, False)
    )
    places = [_positions(window, one) for one in carriers[:CARRIERS]]
    terms = [value.term for value in values]
    full, none = (
        read_terms(model, terms, those, [seed], sees=_none, sites=blocks, pool="none")
        for those in (texts, plain)
    )
    assert full.activations is not None and none.activations is not None
    found: list[Patched] = []
    for done, site in enumerate(blocks):
        own = full.activations.unlabelled[site].values()[:, 0]
        other = none.activations.unlabelled[site].values()[:, 0]
        for place, role in enumerate(_shared(places)):
            pairs = [one.get(role, []) for one in places]
            edit = Patch(site, _mixed(own, other, pairs))
            came = read_terms(model, terms, texts, [seed], sees=_none, edits=[edit])
            there = np.array([bool(one) for one in pairs])
            for value in values:
                ends = [seen.values[value.term][there] for seen in (full, none, came)]
                found += _lost((value.name, site, role.label, place), *ends)
        if progress is not None:
            progress("patching tokens", done + 1, len(blocks))
    return found


def _shared(places: Sequence[Positions]) -> list[Role]:
    """Roles that half of the carriers have, in their order."""
    every = sorted({role for one in places for role in one}, key=lambda role: role.order)
    return [role for role in every if 2 * sum(role in one for one in places) >= len(places)]


def _lost(
    what: tuple[str, str, str, int],
    full: NDArray[np.float64],
    none: NDArray[np.float64],
    came: NDArray[np.float64],
) -> list[Patched]:
    rng = np.random.default_rng(0)
    whole = full - none
    low, high = bootstrap_means(whole, rng=rng)
    if low <= 0 <= high:
        return []
    lost = (full - came) / whole.mean()
    down, up = bootstrap_means(lost, rng=rng)
    return [Patched(*what, float(lost.mean()), float(down), float(up))]


def _mixed(
    own: NDArray[np.float32], other: NDArray[np.float32], pairs: Sequence[Sequence[tuple[int, int]]]
) -> NDArray[np.float32]:
    mixed = own.copy()
    for row, places in enumerate(pairs):
        for here, there in places:
            mixed[row, here] = other[row, there]
    return mixed


def _positions(window: Text, carrier: Prompt) -> Positions:
    """Tokens of pieces one by one, the words around them together, and the end; {} for none.

    The last tokens of a piece stand beside the last ones of its stand-in.
    """
    count = len(carrier.pieces)
    full, none = (_tokens(window, carrier.letters([here] * count)) for here in (True, False))
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
    ends = [_end(window, carrier.text([here] * count)) for here in (True, False)]
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
    parts, latest = [], 0
    for _, owner in letters:
        latest = 2 * owner + 1 if owner >= 0 else latest + latest % 2
        parts.append(latest)
    found: dict[int, list[tuple[int, str]]] = {}
    for place, (start, end) in enumerate(offsets):
        said = text[start:end]
        if said.strip():
            at = start + len(said) - len(said.lstrip())
            found.setdefault(parts[at], []).append((place, said.strip()))
    return found


def _none(term: Term, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    raise AssertionError(f"{term} is not read inside the model.")
