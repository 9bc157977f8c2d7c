"""Data sets of the verbs that draw, where an edit, a piece, a name or a search does nothing.

Outcomes are resampled from a bank that is drawn once: many items in several seeds, before and after
an edit. The mean of the bank is the true rate, which intervals should cover.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from calibration_contrasts import Row, row

from clerestory.recognition.distances import deviations, distances, first_name_p
from clerestory.stats import benjamini_hochberg
from clerestory.stats.baselines import baseline_p, random_search_p
from clerestory.stats.clustered_intervals import share_interval
from clerestory.stats.rate_intervals import change_interval, rate_interval

__all__ = [
    "CHANGES",
    "CLAIMS",
    "FAMILIARITY",
    "RATES",
    "SEARCHES",
    "SHARES",
    "SIZES",
    "attribute_rows",
    "baseline_rows",
    "change_rows",
    "claim_rows",
    "familiarity_rows",
    "maximize_rows",
    "rate_rows",
]

Values = np.ndarray

BANK = 3_000
"""Items of a bank."""
CORRELATION = 0.3
"""Correlation of two seeds of an item."""
SIZES = ((12, 4), (24, 1), (24, 4), (48, 1))
"""Items and seeds of an evaluation."""
CHANGES = ((0.03, 0.0), (0.03, 0.1), (0.3, 0.2), (0.5, 0.0), (0.02, 0.9), (0.9, -0.85), (0.9, 0.0))
"""Rate before an edit, and its change."""
RATES = tuple((rate, share) for rate in (0.5, 0.9, 0.97) for share in (0.05, 0.5))
"""Rates, and the correlation of two seeds of an item."""


def bank(
    rng: np.random.Generator,
    rate: float,
    change: float,
    seeds: int,
    labels: int = 1,
    correlation: float = CORRELATION,
) -> tuple[Values, Values]:
    """Outcomes `[item, seed, label]` before and after an edit.

    An edit redraws three pictures of ten, and adds or removes the class in some.
    """
    alpha, beta = np.array([rate, 1 - rate]) * (1 - correlation) / correlation
    chance = rng.beta(alpha, beta, size=(BANK, 1, labels))
    before, again = (rng.random((BANK, seeds, labels)) < chance for _ in range(2))
    after = np.where(rng.random(before.shape) < 0.7, before, again)
    # The share of pictures with (or without) the class that an edit turns into the other.
    turned = rng.random(before.shape) < abs(change) / (1 - rate if change > 0 else rate)
    after = (after | turned) if change > 0 else (after & ~turned)
    return before.astype(float), after.astype(float)


def resample(rng: np.random.Generator, arrays: tuple[Values, ...], items: int, sets: int) -> Any:
    """`[item, seed, set, label]` of each array, with the same items of the bank in all."""
    rows = np.stack([rng.choice(BANK, items, replace=False) for _ in range(sets)], axis=1)
    return tuple(np.moveaxis(array[rows], 1, 2) for array in arrays)


def _covers(low: Values, high: Values, true: float) -> dict[str, float]:
    inside = (low <= true + 1e-9) & (true - 1e-9 <= high)
    return {"coverage": float(inside.mean()), "width": float((high - low).mean())}


def change_rows(
    verb: str, items: int, seeds: int, sets: int, rng: np.random.Generator
) -> Iterator[Row]:
    """Coverage of a change, and how often its interval excludes 0 where there is none."""
    for rate, change in CHANGES:
        arrays = bank(rng, rate, change, seeds)
        before, after = resample(rng, arrays, items, sets)
        low, high = change_interval(after[..., 0], before[..., 0])
        true = float(arrays[1].mean() - arrays[0].mean())
        excludes = float(((low > 0) | (high < 0)).mean())
        yield row(
            verb,
            f"change {change:+.2f} of {rate:.2f}, {seeds} seeds",
            None,
            items,
            sets,
            any_found=None if change else excludes,
            power=excludes if change else None,
            **_covers(low, high, true),
        )


def rate_rows(
    verb: str, items: int, seeds: int, templates: int, sets: int, rng: np.random.Generator
) -> Iterator[Row]:
    """Coverage of a rate over items and seeds, or items, templates and seeds."""
    for rate, correlation in RATES:
        alpha, beta = np.array([rate, 1 - rate]) * (1 - correlation) / correlation
        chance = rng.beta(alpha, beta, size=(sets, items, 1, 1))
        if templates > 1:
            # The rate of a cell is that of its item or that of its template, by chance.
            other = rng.beta(alpha, beta, size=(sets, 1, templates, 1))
            of_item = rng.random((sets, items, templates, 1)) < 0.7
            chance = np.where(of_item, chance, other)
        outcomes = (rng.random((sets, items, templates, seeds)) < chance).astype(float)
        low, high = np.transpose(
            [
                rate_interval(each if templates > 1 else each[:, 0], templates=templates > 1)
                for each in outcomes
            ]
        )
        yield row(
            verb,
            f"rate {rate:.2f}, correlation {correlation:.2f}, {seeds} seeds",
            templates if templates > 1 else None,
            items,
            sets,
            **_covers(low, high, rate),
        )


BOUND, THRESHOLD, CLASSES, BLOCK = 0.2, 0.5, 40, 50
"""Bound of a side effect, smallest change that is claimed, and classes that are looked at;
sets that are computed at once."""
HOLDS = "a claim that holds"
CLAIMS = {
    "the edit does nothing": (0.0, 0.0),
    "the change is at its threshold": (THRESHOLD, 0.0),
    "one class is at the bound": (0.9, BOUND),
    HOLDS: (0.9, 0.0),
}
"""Changes of the target and of one other class: a claim is wrong in all but the last."""
STRENGTHS = 8


def claim_rows(
    verb: str, items: int, seeds: int, sets: int, rng: np.random.Generator
) -> Iterator[Row]:
    """How often "controls X" is supported: a target's change, and no side effect beyond a bound.

    For `suppress` the target falls. `steer` chooses the best of eight strengths on other items.
    """
    sign = -1 if verb == "suppress" else 1
    for name, (change, side) in CLAIMS.items():
        strengths = np.linspace(0.7, 1, STRENGTHS) if verb == "steer" else [1.0]
        rate = 0.93 if sign < 0 else 0.05
        targets = [bank(rng, rate, sign * change * strength, seeds) for strength in strengths]
        classes = (
            bank(rng, 0.03, 0.0, seeds, CLASSES - 10),
            bank(rng, 0.3, 0.0, seeds, 9),
            bank(rng, 0.03, side, seeds),
        )
        others = tuple(np.concatenate(parts, axis=2) for parts in zip(*classes, strict=True))
        # The true changes in the bank differ a little from those that it was drawn with.
        threshold = max(sign * _change(pair) for pair in targets) if change == 0.5 else THRESHOLD
        bound = _change(classes[-1]) if side else BOUND
        supported = []
        # In blocks: outcomes of all sets at once would take gigabytes.
        for start in range(0, sets, BLOCK):
            count = min(BLOCK, sets - start)
            low, high = _target_limits(targets, sign, items, count, rng)
            limit = low if sign > 0 else -high
            side_before, side_after = resample(rng, others, items, count)
            # Each class of each set is a label.
            sides = [side.reshape(items, seeds, -1) for side in (side_after, side_before)]
            limits = np.abs(change_interval(*sides, level=0.9)).max(0).reshape(count, -1)
            supported.append((limit >= threshold) & (limits.max(1) <= bound))
        share, holds = float(np.concatenate(supported).mean()), name == HOLDS
        yield row(
            verb,
            f"{name}, {seeds} seeds",
            None,
            items,
            sets,
            any_found=None if holds else share,
            power=share if holds else None,
            bar=0.08 if side else 0.07,
        )


def _change(arrays: tuple[Values, Values]) -> float:
    return float(arrays[1].mean() - arrays[0].mean())


def _target_limits(
    targets: list[tuple[Values, Values]], sign: int, items: int, sets: int, rng: np.random.Generator
) -> tuple[Values, Values]:
    """Limits of the target's change in each set, at the strength that other items choose."""
    chosen = np.zeros(sets, dtype=int)
    if len(targets) > 1:
        tuned = [resample(rng, pair, items, sets) for pair in targets]
        changes = [sign * (after - before).mean((0, 1))[:, 0] for before, after in tuned]
        chosen = np.argmax(changes, axis=0)
    limits = []
    for pair in targets:
        before, after = resample(rng, pair, items, sets)
        limits.append(change_interval(after[..., 0], before[..., 0]))
    low, high = np.moveaxis(np.array(limits), 1, 0)
    return low[chosen, np.arange(sets)], high[chosen, np.arange(sets)]


EDITS, BASELINES = 5, 99


def baseline_rows(
    verb: str, items: int, seeds: int, sets: int, rng: np.random.Generator
) -> Iterator[Row]:
    """How often any of five edits is beyond 99 baselines, q ≤ .05."""
    for name, strength in (("edits are like their baselines", 0.0), ("one edit does more", 2.0)):
        found = 0
        for _ in range(sets):
            effects = rng.normal(size=(EDITS, BASELINES + 1)) * 0.15 + 0.1
            effects[0, 0] += strength * 0.25
            # A measured effect is a share of pictures: many are tied.
            cells = items * seeds
            measured = rng.binomial(cells, np.clip(effects, 0, 1)) / cells
            p = np.array([baseline_p(float(each[0]), each[1:]) for each in measured])
            found += bool((benjamini_hochberg(p) <= 0.05).any())
        share = found / sets
        figures = {"power": share} if strength else {"any_found": share}
        yield row(verb, f"{name}, {seeds} seeds", None, items, sets, **figures)


SHARES: dict[str, tuple[list[float], list[float]]] = {
    "no share": ([-0.5, 0.0, 0.5], [0.2, 0.6, 0.2]),
    "no share, rarely not 0": ([-1.0, 0.0, 1.0], [0.05, 0.9, 0.05]),
    "moose": ([1.0, 0.6, 0.5], [0.67, 0.2, 0.13]),
    "mostly 1": ([1.0, 0.0], [0.9, 0.1]),
    "centered": ([-0.5, 0.0, 0.5, 1.0], [0.1, 0.4, 0.3, 0.2]),
    "mostly 0": ([0.0, 1.0], [0.9, 0.1]),
}
"""Shares of a piece of a prompt in one paraphrase and seed, and their probabilities."""


def attribute_rows(paraphrases: int, sets: int, rng: np.random.Generator) -> Iterator[Row]:
    """Coverage of a share's interval, and how often it excludes 0 where the share is 0.

    Each paraphrase leans to a share of its own, and has a fresh seed.
    """
    for name, (values, chances) in SHARES.items():
        shape = (sets, paraphrases)
        # Half of the cells take the value that their paraphrase takes in most seeds.
        shares = np.where(
            rng.random(shape) < 0.5,
            rng.choice(values, p=chances, size=shape),
            rng.choice(values, p=chances, size=shape),
        )
        true = float(np.dot(values, chances))
        low, high = np.array([share_interval(each) for each in shares]).T
        excludes = float(((low > 0) | (high < 0)).mean())
        yield row(
            "attribute",
            name,
            paraphrases,
            paraphrases,
            sets,
            any_found=excludes if name.startswith("no share") else None,
            power=None if name.startswith("no share") else excludes,
            **_covers(low, high, true),
        )


CONTROLS, CONTEXTS, FEATURES = 199, 6, 40
FAMILIAR_P = 0.01
FAMILIARITY: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Values]] = {
    "a name like its controls": lambda rng, shape: rng.normal(size=shape),
    "a name like its controls, skew": lambda rng, shape: rng.gamma(0.15, size=shape),
    "a name like its controls, heavy tails": lambda rng, shape: rng.standard_t(3, size=shape),
    "a name like its controls, ties": lambda rng, shape: rng.binomial(2, 0.1, size=shape) / 2,
}


def familiarity_rows(sets: int, rng: np.random.Generator) -> Iterator[Row]:
    """How often an invented name is "familiar", p ≤ .01, and a name that differs is."""
    for name, draw in FAMILIARITY.items():
        p = [_name_p(draw, 0.0, rng) for _ in range(sets)]
        found = float(np.mean(np.array(p) <= FAMILIAR_P))
        yield row("familiarity", name, CONTEXTS, CONTROLS, sets, any_found=found, bar=0.02)
    for shift in (0.5, 1.0, 1.5):
        p = [_name_p(FAMILIARITY["a name like its controls"], shift, rng) for _ in range(sets)]
        power = float(np.mean(np.array(p) <= FAMILIAR_P))
        yield row(
            "familiarity",
            f"a name {shift} SD from its controls in a tenth of the features",
            CONTEXTS,
            CONTROLS,
            sets,
            planted=shift,
            power=power,
        )


def _name_p(
    draw: Callable[[np.random.Generator, tuple[int, ...]], Values],
    shift: float,
    rng: np.random.Generator,
) -> float:
    # What a name is in all contexts, and what it is in each.
    of_name = draw(rng, (CONTROLS + 1, 1, FEATURES))
    values = of_name + draw(rng, (CONTROLS + 1, CONTEXTS, FEATURES))
    values[0, :, : FEATURES // 10] += shift * values.std()
    return first_name_p(distances(deviations([values])))


BUDGET, POOL, UNITS = 50, 2_000, 20
SEARCHES: dict[str, Callable[[Values], Values]] = {
    "a random search": lambda scores: scores,
    "a random search, skew": lambda scores: np.exp(3 * scores),
    "a random search, ties": lambda scores: np.round(scores),
}


def maximize_rows(sets: int, rng: np.random.Generator) -> Iterator[Row]:
    """How often a search of any of twenty units beats random search, q ≤ .05, and of one unit."""
    for name, transform in SEARCHES.items():
        p = np.array([[_search_p(transform, 1, rng) for _ in range(UNITS)] for _ in range(sets)])
        found = np.mean([(benjamini_hochberg(each) <= 0.05).any() for each in p])
        yield row("maximize", f"{name}, twenty units", None, POOL, sets, any_found=float(found))
        once = float((p[:, 0] <= 0.05).mean())
        yield row("maximize", f"{name}, one unit", None, POOL, sets, any_found=once)
    for factor in (10, 40):
        p = np.array([_search_p(SEARCHES["a random search"], factor, rng) for _ in range(sets)])
        yield row(
            "maximize",
            f"a search as good as {factor} random ones, one unit",
            None,
            POOL,
            sets,
            planted=float(factor),
            power=float((p <= 0.05).mean()),
        )


def _search_p(
    transform: Callable[[Values], Values], factor: int, rng: np.random.Generator
) -> float:
    """p of the best of a budget of prompts; scores are of fresh seeds, the choice is not."""
    prompts = rng.normal(size=BUDGET * factor)
    best = prompts[np.argmax(prompts + 0.3 * rng.normal(size=prompts.size))]
    scores = np.append(rng.normal(size=POOL), best)
    # Scores differ between seeds.
    scores = transform(scores + 0.3 * rng.normal(size=POOL + 1))
    return random_search_p(float(scores[-1]), scores[:-1], BUDGET)
