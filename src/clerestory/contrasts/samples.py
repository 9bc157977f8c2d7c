"""Assigns the samples of a recording to arms, items and halves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clerestory.contrasts.pairs import ARMS, HALVES, balance_arms
from clerestory.contrasts.predictions import PASSED
from clerestory.contrasts.queries import column_values, matching_rows
from clerestory.errors import EmptyArmError, EvidenceError
from clerestory.registry import suggest

if TYPE_CHECKING:
    from clerestory.recordings import Recording

__all__ = ["ContrastSamples", "contrast_samples", "random_halves", "split_names"]

TEMPLATE = "template"
"""Default name of the column of templates."""


@dataclass(frozen=True, eq=False)
class ContrastSamples:
    """The samples of a contrast.

    Attributes:
        table: A row for each sample, as `pair_samples` takes it; the index is the position in
            `Recording.rows`.
        separate_templates: Whether each half has templates of its own.
        within: Whether the seeds of each prompt are contrasted.
        dropped: Number of samples that were dropped to balance arms.
    """

    table: pd.DataFrame
    separate_templates: bool
    within: bool
    dropped: int

    def warnings(self, recording: Recording) -> tuple[str, ...]:
        """Limitations of a contrast of these samples.

        Args:
            recording: The recording that the samples are from.

        Returns:
            A sentence for each limitation.
        """
        warnings = []
        bad = int((recording.samples["bad"] != "").sum())
        missing = int((~recording.samples["done"]).sum())
        if bad:
            warnings.append(f"{bad} bad samples were left out.")
        if missing:
            warnings.append(f"{missing} samples are not recorded yet.")
        if self.dropped:
            warnings.append(f"{self.dropped} samples of larger arms were dropped to balance pairs.")
        if not self.separate_templates and not self.within:
            warnings.append(
                "Both halves share their templates: what was found may be specific to one wording. "
                "Pass `template=` a column with several values per arm."
            )
        counts = self.table["arm"].value_counts()
        if counts.max() > 4 * counts.min():
            sizes = ", ".join(f"{counts[arm]} {arm}" for arm in ARMS if arm in counts)
            warnings.append(f"Arms are unbalanced: {sizes} samples.")
        return tuple(warnings)


def contrast_samples(
    recording: Recording,
    queries: Mapping[str, str],
    labels: Mapping[str, pd.DataFrame],
    match: str | Sequence[str],
    within: str | None,
    template: str | None,
    seed: int,
) -> ContrastSamples:
    """Assign a recording's good samples to arms and halves.

    Args:
        recording: The recording.
        queries: A query for each arm, over the recording's columns and the predictions.
        labels: Columns of predictions by half; each half is assigned by its own classifiers.
        match: Columns that identify the item.
        within: `prompt` to contrast the seeds of each prompt.
        template: Column of templates; by default `template`, if there is one.
        seed: Random seed of the halves and of the balancing.

    Returns:
        The samples that are used.

    Raises:
        EvidenceError: A column is missing, a query cannot be read, or a sample is in two arms.
        EmptyArmError: No sample matches a query.
    """
    # Numbered by place among the good samples, as `RecordedActivations` counts rows.
    table = recording.samples.iloc[recording.rows].reset_index(drop=True)
    rng = np.random.default_rng(seed)
    # One generator for items, templates and balancing: their order determines the figures.
    item = _items(table, match, within)
    half = random_halves(item, rng)
    arm = _arms(table, queries, half, labels)
    templates, template_half = _templates(table, arm, template, within, rng)
    used = arm != ""
    if template_half is not None:
        # A sample whose template is in the other half would share that template between halves.
        used &= template_half == half
    samples = pd.DataFrame(
        {
            "prompt": table["prompt"],
            "item": item,
            # Each arm's templates are split by themselves, so one text may be in either half: with
            # the arm in its name it counts as two templates.
            "template": arm + " " + templates,
            "arm": arm,
            "half": half,
            "seed": table["seed"],
        }
    )[used]
    balanced = balance_arms(samples, rng)
    return ContrastSamples(
        balanced, template_half is not None, within is not None, len(samples) - len(balanced)
    )


def split_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Split names of columns at commas.

    Args:
        names: Names of columns, or texts with several names separated by commas.

    Returns:
        The names, without surrounding whitespace.

    >>> split_names("who, place")
    ('who', 'place')
    """
    listed = [names] if isinstance(names, str) else names
    return tuple(part.strip() for name in listed for part in name.split(",") if part.strip())


def random_halves(levels: pd.Series[str], rng: np.random.Generator) -> pd.Series[str]:
    """Assign each value of a column to a half at random.

    Args:
        levels: A column, such as items, with a row for each sample.
        rng: Chooses the halves.

    Returns:
        `selection` or `evaluation` for each row. The numbers of distinct values in the halves
        differ by at most one.
    """
    # Sorted, so that the halves do not depend on the order of the samples.
    names = sorted(levels.unique())
    order = rng.permutation(len(names))
    half = {names[index]: HALVES[position % 2] for position, index in enumerate(order)}
    return levels.map(half)


def _items(table: pd.DataFrame, match: str | Sequence[str], within: str | None) -> pd.Series[str]:
    if within is not None:
        if within != "prompt":
            raise EvidenceError(f"within is {within!r}; expected 'prompt' or None.")
        if match:
            raise EvidenceError("`match` cannot be combined with within='prompt'.")
        return table["prompt"].astype(str)
    names = list(split_names(match))
    if not names:
        raise EvidenceError("No column is matched: name the one that identifies the item.")
    for name in names:
        _check_column(name, table, " to match")
    return table[names].astype(str).agg(" · ".join, axis=1)


def _arms(
    table: pd.DataFrame,
    queries: Mapping[str, str],
    half: pd.Series[str],
    labels: Mapping[str, pd.DataFrame],
) -> pd.Series[str]:
    """The arm of each row, "" for none; each half is assigned by its own predictions."""
    arms = pd.Series("", index=table.index)
    for name in HALVES:
        rows = half == name
        columns = pd.concat([table, labels[name].reset_index(drop=True)], axis=1)
        possible = rows & columns[PASSED] if PASSED in columns else rows
        for arm, query in queries.items():
            selected = matching_rows(columns, arm, query) & possible
            ambiguous = selected & (arms != "")
            if ambiguous.any():
                row = int(ambiguous.to_numpy().argmax())
                raise EvidenceError(
                    f"{int(ambiguous.sum())} samples are both {arms.iloc[row]} and {arm}, such as "
                    f"{table['prompt'].iloc[row]!r}: a sample must have the concept or lack it."
                )
            arms[selected] = arm
    for arm, query in queries.items():
        if not (arms == arm).any():
            raise EmptyArmError(
                f"No sample matches {arm} = {query!r}.{column_values(columns, query)}"
            )
    return arms


def _templates(
    table: pd.DataFrame,
    arm: pd.Series[str],
    column: str | None,
    within: str | None,
    rng: np.random.Generator,
) -> tuple[pd.Series[str], pd.Series[str] | None]:
    """The template of each row and its half; None instead of halves if they share templates."""
    name = column or TEMPLATE
    if column is not None:
        _check_column(column, table)
    if within is not None or name not in table:
        return pd.Series("", index=table.index), None
    templates = table[name].astype(str)
    arm_rows = [arm == name for name in ARMS if (arm == name).any()]
    # The only template of an arm cannot be split: the halves share it, with a warning.
    if any(templates[rows].nunique() < 2 for rows in arm_rows):
        return templates, None
    half = pd.Series("", index=table.index)
    for rows in arm_rows:
        half[rows] = random_halves(templates[rows], rng)
    return templates, half


def _check_column(name: str, table: pd.DataFrame, purpose: str = "") -> None:
    if name not in table:
        hint = suggest(name, [str(column) for column in table])
        raise EvidenceError(f"There is no column {name!r}{purpose}.{hint}")
