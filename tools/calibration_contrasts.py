"""Data sets of `find` and `group` in which nothing differs, or one unit does.

A cell's value is the sum of effects of its item, of its item in its arm, of its phrase, its frame,
its seed and itself; their variances are about those of Lancet's text neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from clerestory.contrasts import ContrastSamples, contrast
from clerestory.contrasts.confounds import confound_warnings
from clerestory.contrasts.design_makers import cell_design
from clerestory.contrasts.designs import Design
from clerestory.stats import auroc, benjamini_hochberg
from clerestory.stats.clustered_intervals import auroc_interval, cell_auroc_interval
from clerestory.stats.ranks import auroc as cell_auroc

__all__ = [
    "AUROCS",
    "DESIGNS",
    "FIND",
    "GROUP",
    "CachedSamples",
    "Effects",
    "confounded",
    "find_coverage",
    "find_nulls",
    "find_power",
    "group_coverage",
    "group_nulls",
    "row",
]

UNITS, TOP = 100, 20
"""Units of a data set, and the neurons that are tested."""
DESIGNS = ((4, 12), (4, 24), (6, 12), (6, 24))
"""Phrases of an arm and items of a half for which everything is measured."""
AUROCS = (0.5, 0.75, 0.9, 0.97)
PATTERNS = 10
"""Patterns of missing cells, which the sets take in turn."""
POPULATION = 40_000
"""Values from which a true AUROC is computed; its standard error is about .002."""

Row = dict[str, Any]
Values = np.ndarray


def row(verb: str, null: str, templates: int | None, items: int, sets: int, **figures: Any) -> Row:
    """A row of `results/calibration.json`; figures that do not apply are None."""
    names = ("planted", "any_found", "coverage", "width", "power", "warned", "bar")
    empty: Row = dict.fromkeys(names)
    counts = {"templates": templates, "items": items, "sets": sets}
    return {"verb": verb, "null": null, **counts, **empty, **figures}


@dataclass(frozen=True)
class Effects:
    """What an activation is the sum of, and how samples are arranged.

    Attributes:
        kind: Distribution of the effects of phrases and cells.
        phrase: Variance of phrases.
        frame: Variance of frames that the arms share.
        frame_arm: Variance of a frame in an arm.
        seed: Variance of the seed of an item, which its arms share.
        frames: Frames of a half.
        seeds: Seeds of an item.
        ratio: Phrases of the negative arm, as a multiple of those of the positive one.
        paired: Whether the arms share their items.
        hard: Whether there are hard negatives.
        missing: Whether some cells are missing.
        one_phrase: Whether an arm has one phrase, the same in both halves.
        transform: `relu`, `round` or nothing.
    """

    kind: str = "normal"
    phrase: float = 0.27
    frame: float = 0.0
    frame_arm: float = 0.0
    seed: float = 0.0
    frames: int = 1
    seeds: int = 1
    ratio: float = 1.0
    paired: bool = True
    hard: bool = False
    missing: bool = False
    one_phrase: bool = False
    transform: str = ""

    def draw(self, rng: np.random.Generator, *shape: int) -> Values:
        """Effects of variance 1."""
        if self.kind == "heavy":
            return np.asarray(rng.standard_t(3, size=shape) / np.sqrt(3))
        if self.kind == "skewed":
            return np.asarray((rng.gamma(0.15, size=shape) - 0.15) / np.sqrt(0.15))
        return rng.normal(size=shape)

    def activation(self, values: Values) -> Values:
        """What a unit makes of the sum of its effects."""
        if self.transform == "relu":
            return np.maximum(values - 1.2, 0)
        return np.round(values) if self.transform == "round" else values


FIND = {
    "phrase": Effects(),
    "template": Effects(phrase=0.13, frame=0.3, frame_arm=0.1, frames=4),
    "one phrase (neutral nouns)": Effects(frame=0.1, frame_arm=0.02, frames=6, one_phrase=True),
    "seed": Effects(seed=0.5, seeds=2),
    "skew (gamma .15)": Effects("skewed"),
    "heavy tails (t, 3 df)": Effects("heavy"),
    "zero-inflation": Effects(transform="relu"),
    "ties": Effects(transform="round"),
    "missing cells": Effects(missing=True),
    "twice the phrases in one arm": Effects(ratio=2),
    "unpaired items": Effects(paired=False),
    "hard negatives": Effects(hard=True),
}
"""Structures of a null of `find`."""


class CachedSamples(ContrastSamples):
    """Samples whose designs are made once for all data sets."""

    def design(self, half: str) -> Design:
        """The comparison of a half, made at the first call."""
        cache: dict[str, Design] = self.__dict__.setdefault("_designs", {})
        if half not in cache:
            cache[half] = super().design(half)
        return cache[half]


def sample_table(effects: Effects, phrases: int, items: int) -> pd.DataFrame:
    """Both halves' samples: a row for each item, phrase, frame and seed of each arm."""
    arms = ("positive", "negative", "hard_negative")[: 3 if effects.hard else 2]
    rows = []
    for half in ("selection", "evaluation"):
        for arm in arms:
            count = round(phrases * (effects.ratio if arm == "negative" else 1))
            count = 1 if effects.one_phrase else count
            index = np.indices((items, count, effects.frames, effects.seeds))
            item, phrase, frame, seed = (codes.ravel() for codes in index)
            mine = "" if effects.paired else arm
            columns = {
                "item": [f"{half} {mine} {code}" for code in item],
                "phrase": [f"{arm} {'' if effects.one_phrase else half} {code}" for code in phrase],
                "template": [f"{half} {code}" if effects.frames > 1 else "" for code in frame],
                "arm": arm,
                "half": half,
                "seed": seed,
            }
            rows.append(pd.DataFrame(columns))
    table = pd.concat(rows, ignore_index=True)
    return table.assign(prompt=table["arm"] + table["item"] + table["phrase"] + table["template"])


def drop_cells(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Leave out half of one phrase's cells, and a few cells of two items, in each arm and half."""
    kept = np.ones(len(table), dtype=bool)
    for _, rows in table.groupby(["arm", "half"]):
        phrase = rng.choice(rows["phrase"].unique())
        of_items = rows["item"].isin(rng.choice(rows["item"].unique(), 2, replace=False))
        chance = np.where(rows["phrase"] == phrase, 0.5, np.where(of_items, 0.3, 0.0))
        kept[rows.index] = rng.random(len(rows)) >= chance
    return table[kept].reset_index(drop=True)


class Activations:
    """Draws the activations of a table's samples, as often as there are data sets."""

    def __init__(self, effects: Effects, table: pd.DataFrame) -> None:
        self.effects = effects
        named = table[["item", "phrase", "template", "arm"]].astype(str)
        seed = table["seed"].astype(str)
        keys = {
            "item": named["item"],
            "item in arm": named["item"] + named["arm"],
            "phrase": named["phrase"],
            "frame": named["template"],
            "frame in arm": named["template"] + named["arm"],
            "seed": named["item"] + seed,
            "cell": named["item"] + named["phrase"] + named["template"] + seed,
        }
        self.codes = {name: pd.factorize(key)[0] for name, key in keys.items()}
        self.positive = (table["arm"] == "positive").to_numpy()

    def draw(self, rng: np.random.Generator, units: int, shift: float | Values = 0.0) -> Values:
        """`[sample, unit]`; the positive arm is shifted, before the unit's transformation."""
        effects = self.effects
        variances = {
            "item": (rng.normal, 0.49),
            "item in arm": (rng.normal, 0.0256),
            "phrase": (None, effects.phrase),
            "frame": (rng.normal, effects.frame),
            "frame in arm": (rng.normal, effects.frame_arm),
            "seed": (rng.normal, effects.seed),
            "cell": (None, 0.16),
        }
        values = np.zeros((len(self.positive), units))
        for name, (draw, variance) in variances.items():
            if variance:
                codes = self.codes[name]
                size = (int(codes.max()) + 1, units)
                levels = effects.draw(rng, *size) if draw is None else draw(size=size)
                values += levels[codes] * variance**0.5
        values[self.positive] += shift
        return effects.activation(values)


def population(effects: Effects, rng: np.random.Generator) -> Values:
    """Values of independent items, phrases and cells, before the transformation."""
    normal = 0.49 + 0.0256 + effects.frame + effects.frame_arm + effects.seed / effects.seeds
    values = rng.normal(size=POPULATION) * normal**0.5
    values += effects.draw(rng, POPULATION) * effects.phrase**0.5
    # Seeds of a cell are averaged.
    cells = effects.draw(rng, effects.seeds, POPULATION).mean(0)
    return np.asarray(values + cells * 0.4)


def shift_of(effects: Effects, target: float, rng: np.random.Generator) -> tuple[float, float]:
    """The shift with about this AUROC, and the AUROC that it has."""
    low, high = 0.0, 12.0
    arms = population(effects, rng), population(effects, rng)

    def true(shift: float) -> float:
        pair = (effects.activation(arm + add) for arm, add in zip(arms, (shift, 0), strict=True))
        return float(auroc(*(values[:, None] for values in pair))[0])

    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if true(middle) < target else (low, middle)
    shift = high if target > 0.5 else 0.0
    return shift, true(shift) if target > 0.5 else 0.5


def samples_of(effects: Effects, phrases: int, items: int, seed: int) -> CachedSamples:
    """The samples of a design."""
    table = sample_table(effects, phrases, items)
    if effects.missing:
        table = drop_cells(table, np.random.default_rng(seed))
    return CachedSamples(table, from_pictures=False)


def find_nulls(name: str, phrases: int, items: int, sets: int, rng: np.random.Generator) -> Row:
    """How often `find` finds anything where nothing differs."""
    effects = FIND[name]
    patterns = [
        samples_of(effects, phrases, items, seed)
        for seed in range(PATTERNS if effects.missing else 1)
    ]
    drawn = [Activations(effects, samples.table) for samples in patterns]
    found = 0
    for number in range(sets):
        at = number % len(patterns)
        values = drawn[at].draw(rng, UNITS)
        found += bool(contrast({"text/out": values}, patterns[at], progress=False).found())
    return row("find", name, phrases, items, sets, any_found=found / sets)


def find_power(
    phrases: int, items: int, planted: float, sets: int, rng: np.random.Generator
) -> Row:
    """How often `find` finds one unit of a known AUROC among units without a difference.

    `others_found` is the share of sets in which another unit is found, which a false discovery rate
    of .05 allows more often than .05 beside a true one; `found_covered` is the coverage of the
    intervals of the planted unit where it is found.
    """
    effects = Effects()
    samples = samples_of(effects, phrases, items, 0)
    drawn = Activations(effects, samples.table)
    shift, true = shift_of(effects, planted, rng)
    shifts = np.zeros(UNITS)
    shifts[0] = shift
    found, others, covered, widths = 0, 0, 0, []
    for _ in range(sets):
        findings = contrast(
            {"text/out": drawn.draw(rng, UNITS, shifts)}, samples, methods=(), progress=False
        ).found()
        names = [finding.unit for finding in findings]
        others += any(name != "text/out[0]" for name in names)
        if "text/out[0]" in names:
            detects = findings[names.index("text/out[0]")].detects
            found += 1
            covered += detects.low <= true <= detects.high
            widths.append(detects.high - detects.low)
    return row(
        "find",
        "planted",
        phrases,
        items,
        sets,
        planted=planted,
        others_found=others / sets,
        power=found / sets,
        found_covered=covered / found if found else None,
        width=float(np.mean(widths)) if widths else None,
    )


def find_coverage(
    name: str, phrases: int, items: int, sets: int, rng: np.random.Generator
) -> Iterator[Row]:
    """How often the interval of an AUROC covers the true one, and its mean width."""
    effects = FIND[name]
    design = samples_of(effects, phrases, items, 0).design("evaluation")
    table = sample_table(effects, phrases, items)
    drawn = Activations(effects, table)
    for target in AUROCS:
        shift, true = shift_of(effects, target, rng)
        values = drawn.draw(rng, sets, shift)
        positive, negative = (
            cells.reshape(items, -1, sets)
            for cells in (design.cells(values, arm) for arm in ("positive", "negative"))  # type: ignore[attr-defined]
        )
        limits = np.array(
            [auroc_interval(positive[..., at], negative[..., at]) for at in range(sets)]
        )
        yield row("find", name, phrases, items, sets, planted=target, **_coverage(limits, true))


def _coverage(limits: Values, true: float | Values) -> dict[str, float]:
    """Share of intervals `[set, 2]` that hold the truth, and their mean width."""
    low, high = limits.T
    inside = (low <= true + 1e-9) & (true - 1e-9 <= high)
    return {"coverage": float(inside.mean()), "width": float((high - low).mean())}


@dataclass(frozen=True)
class Groups:
    """How labels and units depend on the prompt, for `group`.

    Attributes:
        effects: Distribution of the units.
        item: Standard deviation of the items' log odds of a label, and of the units.
        template: The same of the templates.
    """

    effects: Effects = Effects()
    item: float = 1.0
    template: float = 1.0


GROUP = {
    "label leans on the template": Groups(item=0.3, template=2.0),
    "label leans on the item": Groups(item=2.0, template=0.3),
    "label leans on both, skew": Groups(Effects("skewed"), 1.5, 1.5),
    "label leans on both, heavy tails": Groups(Effects("heavy"), 1.5, 1.5),
    "label leans on both, zero-inflation": Groups(Effects(transform="relu"), 1.5, 1.5),
    "label leans on both, ties": Groups(Effects(transform="round"), 1.5, 1.5),
}
"""Structures of a null of `group`, whose arms are labels of the pictures."""
SEEDS = 6
"""Seeds of a prompt, whose pictures have one label or the other."""
SHARED = 20
"""Data sets that share the labels of their pictures."""


def group_nulls(name: str, templates: int, items: int, sets: int, rng: np.random.Generator) -> Row:
    """How often `group` finds anything where the label depends on the prompt alone.

    The test and the choice of picks are those of `find`, applied to many data sets at once.
    """
    structure, found, shared = GROUP[name], 0, min(SHARED, sets)
    for _ in range(sets // shared):
        tests = []
        for half in ("selection", "evaluation"):
            table, leanings = _labelled(structure, templates, items, half, rng)
            values = _group_values(structure, table, leanings, shared * UNITS, rng)
            tests.append(cell_design(table, half).test(values, "negative"))
        selection, evaluation = tests
        found += int(_any_found(selection, evaluation, shared).sum())
    return row("group", name, templates, items, sets // shared * shared, any_found=found / sets)


def _labelled(
    structure: Groups, templates: int, items: int, half: str, rng: np.random.Generator
) -> tuple[pd.DataFrame, Values]:
    """Samples of a half with labels, and the leaning of each sample's item and template."""
    item, template, seed = (codes.ravel() for codes in np.indices((items, templates, SEEDS)))
    leanings = np.stack([rng.normal(size=items)[item], rng.normal(size=templates)[template]])
    odds = structure.item * leanings[0] + structure.template * leanings[1]
    table = pd.DataFrame(
        {
            "item": [f"{half} {code}" for code in item],
            "phrase": "",
            "template": [f"{half} {code}" for code in template],
            "arm": np.where(
                rng.random(len(item)) < 1 / (1 + np.exp(-odds)), "positive", "negative"
            ),
            "half": half,
            "seed": seed,
        }
    )
    return table, leanings


def _group_values(
    structure: Groups, table: pd.DataFrame, leanings: Values, units: int, rng: np.random.Generator
) -> Values:
    """`[sample, unit]`: units follow what the label leans on, effects of their own, and noise."""
    values = structure.effects.draw(rng, len(table), units)
    for leaning, column in zip(leanings, ("item", "template"), strict=True):
        codes = pd.factorize(table[column])[0]
        # A unit follows the leaning more or less, in one direction or the other.
        values += leaning[:, None] * rng.normal(size=units)
        values += structure.effects.draw(rng, int(codes.max()) + 1, units)[codes]
    return structure.effects.activation(values)


def _any_found(selection: Any, evaluation: Any, sets: int) -> Values:
    """Whether any pick of each data set is found; units of a data set are adjacent."""
    t = selection.difference / np.maximum(selection.error, 1e-12)
    t, df = t.reshape(sets, -1), evaluation.df.reshape(sets, -1)
    other = (evaluation.difference / np.maximum(evaluation.error, 1e-12)).reshape(sets, -1)
    picks = np.argsort(-np.abs(t), axis=1)[:, :TOP]
    signed = np.take_along_axis(np.where(t < 0, -other, other), picks, 1)
    p = np.asarray(stats.t.sf(signed, np.take_along_axis(df, picks, 1)))
    return np.array([(benjamini_hochberg(row) <= 0.05).any() for row in p])


def group_coverage(
    templates: int, items: int, sets: int, rng: np.random.Generator
) -> Iterator[Row]:
    """Coverage of the mean AUROC within cells, whose effect differs by item and template."""
    item, template = (codes.ravel() for codes in np.indices((items, templates)))
    for target in AUROCS:
        # Two samples of unit variance, whose difference varies by .3 over items and templates.
        middle = stats.norm.ppf(target) * np.sqrt(2 + 2 * 0.3)
        drawn = middle + 0.3**0.5 * (
            rng.normal(size=(items, sets))[item] + rng.normal(size=(templates, sets))[template]
        )
        limits = []
        sides = rng.integers(1, SEEDS, size=len(item))
        cells = np.stack(
            [
                cell_auroc(
                    rng.normal(size=(side, sets)) + shift, rng.normal(size=(SEEDS - side, sets))
                )
                for side, shift in zip(sides, drawn, strict=True)
            ]
        )
        limits = [cell_auroc_interval(cells[:, at], item, template) for at in range(sets)]
        yield row(
            "group",
            "label leans on both",
            templates,
            items,
            sets,
            planted=target,
            **_coverage(np.array(limits), target),
        )


CONFOUNDS: dict[str, Callable[[np.random.Generator, pd.Series], pd.Series]] = {
    "confound: a column decides": lambda rng, arm: arm.map({"positive": "night"}).fillna("day"),
    "confound: a column nearly decides": lambda rng, arm: (
        (arm == "positive") ^ (rng.permutation(len(arm)) < 0.07 * len(arm))
    ).map({True: "night", False: "day"}),
    "confound: many levels": lambda rng, arm: (
        arm + pd.Series(rng.integers(8, size=len(arm)).astype(str), index=arm.index)
    ),
    "confound: the seed decides": lambda rng, arm: pd.Series(
        2 * rng.integers(4, size=len(arm)) + (arm == "positive"), index=arm.index
    ),
    "confound: a label decides": lambda rng, arm: (arm == "positive").map(
        {True: "church", False: "meadow"}
    ),
}
"""Columns that determine the arm, or seven in a hundred samples less."""


def confounded(name: str, sets: int, rng: np.random.Generator) -> Row:
    """The share of confounded data sets that are warned of."""
    table = sample_table(Effects(), 6, 24)
    warned = 0
    for _ in range(sets):
        column = CONFOUNDS[name](rng, table["arm"])
        kind = "seed-decides" if "seed" in name else "confounded"
        recorded = table[["prompt", "item"]].assign(**{"seed": 0})
        labels = {}
        if "label" in name:
            both = pd.DataFrame({"predicted.place": column})
            labels = {"selection": both, "evaluation": both}
        else:
            recorded = recorded.assign(**{"seed" if "seed" in name else "light": column})
        warnings = confound_warnings(recorded, labels, table, {"concept"})
        warned += any(warning.kind == kind for warning in warnings)
    return row("find", name, 6, 24, sets, warned=warned / sets)
