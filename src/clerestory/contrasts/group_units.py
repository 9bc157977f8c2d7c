"""Values of units in the prompts of groups, and the figures of the units of a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clerestory.contrasts.activations import RecordedActivations
from clerestory.contrasts.findings import Finding, Findings
from clerestory.contrasts.groups import Group, GroupUnit
from clerestory.contrasts.pairs import HALVES
from clerestory.stats import auroc, omega_squared
from clerestory.types import Integers

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recordings import Recording

__all__ = ["PromptValues", "group_with_figures", "split_prompts_by_class"]

MIXED = ""
"""The group of a prompt whose seeds have several classes."""
PREVALENCE_QUANTILE = 0.75
"""Quantile of the other groups' values that is the threshold of `GroupUnit.prevalence`."""

Values = NDArray[np.float64]


class PromptValues:
    """Values of units in the prompts of the evaluation half, averaged over seeds.

    They are centred within the levels of the controlled columns. If the seeds of each prompt are
    contrasted, there is a value for each prompt and class, centred within the prompt.

    Attributes:
        classes: `[prompt]`, the classes of all seeds of the prompt.
        groups: `[prompt]`, the class of the prompt; `MIXED` if its seeds have several.
        samples: `[prompt]`, the number of its first sample.
    """

    def __init__(
        self, recording: Recording, samples: pd.DataFrame, controlled: Sequence[str], within: bool
    ) -> None:
        """Prepare to read a recording.

        Args:
            recording: The recording.
            samples: As in `Groups.samples`, indexed by position in `Recording.rows`.
            controlled: Columns within whose levels prompts are compared.
            within: Whether the seeds of each prompt are contrasted.
        """
        rows = samples[samples["half"] == HALVES[1]]
        if within:
            # A prompt whose seeds all have one class has nothing to compare.
            rows = rows[rows.groupby("prompt")["group"].transform("nunique") > 1]
        cells = rows.groupby(["prompt", "group"] if within else "prompt", sort=True)
        self.classes = [frozenset(map(str, names)) for names in cells["group"].unique()]
        self.groups = np.array(
            [next(iter(names)) if len(names) == 1 else MIXED for names in self.classes]
        )
        self.samples = cells["sample"].first().to_numpy()
        self._activations = RecordedActivations(recording, rows.index.to_numpy())
        self._codes = cells.ngroup().to_numpy()
        # The first row of each cell, in the order of `_codes`.
        first = cells.head(1).assign(code=cells.ngroup()).sort_values("code")
        strata = ["prompt"] if within else [f"={name}" for name in controlled]
        self._strata = first.groupby(strata).ngroup().to_numpy() if strata else None

    def read(self, finding: Finding, direction: Values | None) -> Values:
        """Read the value of a unit in each prompt.

        Args:
            finding: The unit.
            direction: Its direction; None for a neuron.

        Returns:
            `[prompt]`, multiplied by the sign of the unit.
        """
        values = self._activations[finding.site].astype(np.float64)
        column = values[:, self._column(finding)] if direction is None else values @ direction
        means = _group_means(column, self._codes)
        if self._strata is not None:
            # Removes differences between prompts that come from the controlled columns alone.
            means = means - _group_means(means, self._strata)[self._strata]
        return np.asarray(finding.sign * means)

    def _column(self, finding: Finding) -> int:
        unit = int(finding.unit.rpartition("[")[2].partition("]")[0])
        recorded = self._activations.units.get(finding.site)
        # If only some units were recorded, their columns are numbered from 0.
        return unit if recorded is None else recorded.index(unit)


def split_prompts_by_class(samples: pd.DataFrame, name: str) -> tuple[set[str], set[str]]:
    """Split prompts into those whose samples all have a class, and those without any such sample.

    Args:
        samples: Columns `prompt` and `group`, a row for each sample.
        name: The class.

    Returns:
        The two sets of prompts; prompts of which only some samples have the class are in neither.
    """
    share = (samples["group"] == name).groupby(samples["prompt"]).mean()
    return set(share.index[share == 1]), set(share.index[share == 0])


def group_with_figures(
    name: str, findings: Findings, values: PromptValues, names: Sequence[str]
) -> Group:
    """Make a group from its findings, and compute the figures of its units.

    Args:
        name: The class of the group.
        findings: The units that separate it from the others.
        values: Values of units in the prompts of the evaluation half.
        names: The classes of all groups, against which units are compared.

    Returns:
        The group.
    """
    units = []
    for finding in findings.findings:
        direction = findings.direction(finding.unit) if finding.kind == "direction" else None
        units.append(_unit(name, finding, values.read(finding, direction), values, names))
    return Group(len(findings.items[HALVES[1]]), tuple(units), findings)


def _unit(
    name: str, finding: Finding, value: Values, prompts: PromptValues, names: Sequence[str]
) -> GroupUnit:
    groups, unmixed = prompts.groups, prompts.groups != MIXED
    members = value[groups == name]
    others = value[np.array([name not in classes for classes in prompts.classes])]
    detects = finding.detects
    # Mixed prompts belong to no group.
    codes = np.unique(groups[unmixed], return_inverse=True)[1]
    several_groups = len(np.unique(codes)) > 1
    return GroupUnit(
        unit=finding.unit,
        kind=finding.kind,
        sign=finding.sign,
        auroc=detects.auroc,
        low=detects.low,
        high=detects.high,
        q=detects.q,
        omega2=float(omega_squared(value[unmixed][:, None], codes)[0]) if several_groups else 0.0,
        prevalence=(
            float((members > np.quantile(others, PREVALENCE_QUANTILE)).mean())
            if len(others)
            else 0.0
        ),
        auroc_against={
            other: float(auroc(members[:, None], value[groups == other][:, None])[0])
            for other in names
            if other != name and (groups == other).any()
        },
    )


def _group_means(values: Values, codes: Integers) -> Values:
    return np.asarray(np.bincount(codes, weights=values) / np.bincount(codes))
