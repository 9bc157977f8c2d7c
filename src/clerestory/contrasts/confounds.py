"""What else differs between the arms: columns, labels or seeds that (nearly) determine them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from clerestory.contrasts.arms import HALVES
from clerestory.evaluation.warnings import EvidenceWarning

__all__ = ["confound_warnings", "predictability"]

NEARLY = 0.8
"""Predictability of the arm from which a column (nearly) determines it."""
ALWAYS, ELSEWHERE = 0.95, 0.5
"""Share of an arm in one level of a column, and the largest share of the other arm in that level,
from which the level belongs to the arm."""
BINS = 8
"""Levels that a column of numbers is divided into, where it has more."""
OWN_COLUMNS = ("prompt", "item", "phrase", "template", "group", "done", "bad", "complete")
"""Columns that describe the wording or the sample itself."""
CONFIDENCE = ".confidence"


def confound_warnings(
    table: pd.DataFrame,
    labels: Mapping[str, pd.DataFrame],
    samples: pd.DataFrame,
    excluded: Collection[str],
) -> list[EvidenceWarning]:
    """Warn of columns that (nearly) determine the arm.

    Args:
        table: The recording's columns of the used samples.
        labels: Predictions by half, with a row for each good sample.
        samples: The used samples, with `arm` and `half`.
        excluded: Columns that determine the arm by definition, as queries name them, or that are
            matched or controlled.

    Returns:
        A warning for each column, the most predictive first.
    """
    # Hard negatives are chosen to differ from the negatives: only the claim's two sides count.
    arm_samples = samples[samples["arm"].isin(["positive", "negative"])]
    arm = arm_samples["arm"] == "positive"
    columns = {
        str(name): table[name].loc[arm_samples.index]
        for name in table
        # A column that the queries name determines the arm by intention.
        if name not in OWN_COLUMNS and name not in excluded
    }
    columns |= _label_columns(labels, arm_samples, excluded)
    found = []
    for name, values in columns.items():
        levels = _shared_levels(values if name == "seed" else _binned(values), arm_samples)
        share = predictability(levels, arm)
        level = None if share >= NEARLY else _level_of_one_arm(levels, arm)
        if share >= NEARLY or level is not None:
            found.append((share, name, level))
    # The strongest first: readers of a long list see the first lines. Stable: columns that are
    # alike stay in the order of the table.
    found.sort(key=lambda each: -each[0])
    return [_warning(name, share, level) for share, name, level in found]


def predictability(levels: pd.Series, arm: pd.Series[bool]) -> float:
    """How much better than chance the arm is predicted from a column, level by level.

    Arms count equally, however many samples they have: of a small arm that has a level always, most
    samples of that level may still be of the other arm.

    Args:
        levels: The column; samples without a level tell nothing.
        arm: Whether each sample is positive.

    Returns:
        The total variation distance between the arms: 1 where the column determines the arm, 0
        where it is no help.

    >>> arm = pd.Series([True, True, False, False])
    >>> predictability(pd.Series(["night", "night", "day", "day"]), arm)
    1.0
    >>> predictability(pd.Series(["day", "night", "day", "night"]), arm)
    0.0
    """
    shares = _level_shares(levels, arm)
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _level_shares(levels: pd.Series, arm: pd.Series[bool]) -> np.ndarray:
    """`[arm, level]`, the share of each arm's samples in each level, the positive arm first."""
    codes, names = pd.factorize(levels)
    shares = np.zeros((2, len(names)))
    for row, side in enumerate((arm.to_numpy(), ~arm.to_numpy())):
        counts = np.bincount(codes[side & (codes >= 0)], minlength=len(names))
        shares[row] = counts / max(side.sum(), 1)
    return shares


def _level_of_one_arm(levels: pd.Series, arm: pd.Series[bool]) -> str | None:
    """A level that one arm (nearly) always has, and the other one seldom has; None without one."""
    shares = _level_shares(levels, arm)
    for own, other in ((shares[0], shares[1]), (shares[1], shares[0])):
        belongs = (own >= ALWAYS) & (other <= ELSEWHERE)
        if belongs.any():
            return str(pd.factorize(levels)[1][int(belongs.argmax())])
    return None


def _shared_levels(values: pd.Series, arm_samples: pd.DataFrame) -> pd.Series:
    """Levels as text; missing where all of a level's samples are of one item or of one phrase.

    Such a level is another name of the item, or of the phrase, and determines whatever it does.
    """
    # That a value is missing is a level as well.
    levels = values.astype(object).where(values.notna(), "missing").astype(str)
    names = [arm_samples["item"]]
    # Where an arm has one phrase, all of its samples are of it.
    if arm_samples.groupby("arm")["phrase"].nunique().min() > 1:
        names.append(arm_samples["phrase"])
    for name in names:
        counts = name.groupby(levels).nunique()
        levels = levels.where(levels.map(counts) > 1)
    return levels


def _binned(values: pd.Series) -> pd.Series:
    """A column of many numbers as its quantiles, others as they are."""
    numbers = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if not numbers or values.nunique() <= BINS:
        return values
    # Consecutive whole numbers are a numbering of something, not a measurement.
    if values.nunique() == values.max() - values.min() + 1:
        return values
    return pd.qcut(values, BINS, duplicates="drop").astype(str)


def _label_columns(
    labels: Mapping[str, pd.DataFrame], arm_samples: pd.DataFrame, excluded: Collection[str]
) -> dict[str, pd.Series]:
    """Each half's own labels of the used samples, as one column by name."""
    names = [
        str(name)
        for name in (labels[HALVES[0]] if labels else ())
        if str(name).startswith("predicted.")
        and not str(name).endswith(CONFIDENCE)
        and name not in excluded
    ]
    columns = {}
    for name in names:
        parts = [
            # Labels are indexed by sample number, samples by position.
            labels[half]
            .reset_index(drop=True)
            .loc[arm_samples.index[arm_samples["half"] == half], name]
            for half in HALVES
        ]
        columns[name] = pd.concat(parts).loc[arm_samples.index]
    return columns


def _warning(name: str, share: float, level: str | None) -> EvidenceWarning:
    how = (
        "determines" if share > 1 - 1e-9 else f"nearly determines ({share:.0%} better than chance)"
    )
    if level is not None:
        how = f"is {level!r} in all of one arm and seldom in the other, which tells"
    if name == "seed":
        text = f"The seed {how} the arm: what was found may belong to the noise."
        return EvidenceWarning("seed-decides", text)
    text = f"{name} {how} the arm: what was found may belong to it. Match or control it."
    return EvidenceWarning("confounded", text)
