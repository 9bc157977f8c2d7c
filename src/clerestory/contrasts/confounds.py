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
    sides = samples[samples["arm"].isin(["positive", "negative"])]
    arm = sides["arm"] == "positive"
    columns = {
        str(name): table[name].loc[sides.index]
        for name in table
        # A column that the queries name determines the arm by intention.
        if name not in OWN_COLUMNS and name not in excluded
    }
    columns |= _label_columns(labels, sides, excluded)
    shares = {name: predictability(values, arm) for name, values in columns.items()}
    # The strongest first: readers of a long list see the first lines.
    found = sorted((share, name) for name, share in shares.items() if share >= NEARLY)[::-1]
    return [_warning(name, share) for share, name in found]


def predictability(values: pd.Series, arm: pd.Series[bool]) -> float:
    """How much better than chance the arm is predicted from a column, level by level.

    Args:
        values: The column.
        arm: Whether each sample is positive.

    Returns:
        Goodman and Kruskal's lambda: 1 where the column determines the arm, 0 where it is no help;
        0 for a column whose levels mostly occur once, which determines anything.

    >>> arm = pd.Series([True, True, False, False])
    >>> predictability(pd.Series(["night", "night", "day", "day"]), arm)
    1.0
    >>> predictability(pd.Series(["a", "b", "c", "d"]), arm)
    0.0
    """
    # As text, so that numbers, categories and missing values are all levels.
    codes = pd.factorize(values.astype(str))[0]
    # Half of the samples or more in levels of their own: as an identifier, not as a cause.
    if not len(codes) or codes.max() + 1 > len(codes) / 2:
        return 0.0
    positive = np.bincount(codes, weights=arm.to_numpy())
    counts = np.bincount(codes)
    majority = np.maximum(positive, counts - positive).sum() / len(codes)
    # Kappa against always guessing the larger arm, so that unequal arms do not look predictable.
    base = max(arm.mean(), 1 - arm.mean())
    return float((majority - base) / (1 - base)) if base < 1 else 0.0


def _label_columns(
    labels: Mapping[str, pd.DataFrame], sides: pd.DataFrame, excluded: Collection[str]
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
            labels[half].reset_index(drop=True).loc[sides.index[sides["half"] == half], name]
            for half in HALVES
        ]
        columns[name] = pd.concat(parts).loc[sides.index]
    return columns


def _warning(name: str, share: float) -> EvidenceWarning:
    how = "determines" if share == 1 else f"nearly determines ({share:.0%} better than chance)"
    if name == "seed":
        text = f"The seed {how} the arm: what was found may belong to the noise."
        return EvidenceWarning("seed-decides", text)
    text = f"{name} {how} the arm: what was found may belong to it. Match or control it."
    return EvidenceWarning("confounded", text)
