"""Which groups the model's units control: groups ranked by the effect of their first units.

groups = group(recording, by="embedding", control="place")
ranked = rank_groups(groups, model)
ranked.table()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from typing_extensions import override

from clerestory.causal.results import DERIVED, UnitEffect, derived_figures
from clerestory.causal.verify import verify
from clerestory.contrasts import Groups
from clerestory.errors import EvidenceError
from clerestory.evaluation import CacheOption
from clerestory.io.digests import DIGEST, check_seal
from clerestory.io.reading import path_inside, read_json, wrap_errors
from clerestory.io.validation import to_jsonable, validate
from clerestory.models import Model
from clerestory.models.provenance import provenance_of
from clerestory.reporting.results import Provenance, Result
from clerestory.types import ProgressOption

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GroupControl", "RankedGroups", "rank_groups"]


@dataclass(frozen=True)
class GroupControl:
    """How a group is controlled.

    Attributes:
        group: The group's name.
        effects: The effects of its units on how often pictures belong to it, the one with the
            highest lower limit first; empty where none of them reaches the picture.
    """

    group: str
    effects: tuple[UnitEffect, ...]

    @property
    def low(self) -> float:
        """The highest lower limit of its units' additions; −1 without any."""
        return self.effects[0].addition.low if self.effects else -1.0


@dataclass(frozen=True, eq=False, repr=False)
class RankedGroups(Result):
    """Groups by how much their units control them.

    Attributes:
        groups: The groups, the one with the highest lower limit of an effect first.
        provenance: Version, model and options.
    """

    figures_file = "control.json"
    groups: tuple[GroupControl, ...]
    provenance: Provenance

    def summary(self) -> str:
        """The groups that some unit is shown to control."""
        shown = [
            each.group
            for each in self.groups
            if any(effect.status == "supported" for effect in each.effects)
        ]
        return f"{len(shown)} of {len(self.groups)} groups are controlled: {', '.join(shown)}"

    def table(self) -> pd.DataFrame:
        """A row for each unit of each group."""
        import pandas as pd

        rows = [
            {
                "group": each.group,
                "unit": effect.unit,
                "detects": effect.detects,
                "effect": effect.addition.effect,
                "low": effect.addition.low,
                "high": effect.addition.high,
                "q": effect.q,
                "status": effect.status,
            }
            for each in self.groups
            for effect in each.effects
        ]
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Every figure, and the status of each unit, ready for JSON."""
        content: dict[str, Any] = to_jsonable(self)
        for group, one in zip(content["groups"], self.groups, strict=True):
            for entry, effect in zip(group["effects"], one.effects, strict=True):
                entry |= derived_figures(effect)
        return content

    @classmethod
    @override
    def load(cls, folder: Path) -> Self:
        content = read_json(path_inside(folder, cls.figures_file, EvidenceError), EvidenceError)
        check_seal(content, cls.figures_file, EvidenceError)
        with wrap_errors(cls.figures_file, EvidenceError):
            content.pop(DIGEST, None)
            for entry in [effect for group in content["groups"] for effect in group["effects"]]:
                for name in DERIVED:
                    entry.pop(name, None)
        return validate(cls, content, cls.figures_file, EvidenceError)

    def plot(self) -> Any:
        """Detection against control, a point for each unit, as an Altair chart."""
        import altair as alt

        return (
            alt.Chart(self.table())
            .mark_circle()
            .encode(
                x=alt.X("detects:Q", title="detection, AUROC", scale=alt.Scale(domain=[0, 1])),
                y=alt.Y("effect:Q", title="control, change of the group's rate"),
                color=alt.Color("group:N", sort=None),
                tooltip=["unit:N", "low:Q", "high:Q", "status:N"],
            )
        )


def rank_groups(
    groups: Groups,
    model: Model,
    *,
    items: int = 24,
    seeds_per_item: int = 2,
    baselines: int | None = None,
    units: Mapping[str, Sequence[str]] | None = None,
    others: Sequence[str] = (),
    cache: CacheOption = True,
    progress: ProgressOption = True,
) -> RankedGroups:
    """Rank clusters by how much their units control how often pictures belong to them.

    Each group goes through `verify`: its first units are added to prompts of the evaluation half
    without the group, and new pictures are assigned to the clusters.

    Args:
        groups: Groups of `group(…, by="embedding")`, or of a classifier.
        model: The recorded model.
        items: As in `verify`.
        seeds_per_item: As in `verify`.
        baselines: As in `verify`.
        units: Addresses of units by group; by default those of `verify`.
        others: Classifiers of side effects. Without any, no group is shown to be controlled.
        cache: As in `verify`.
        progress: As in `verify`.

    Returns:
        The groups, the one whose unit has the highest lower limit first.

    Raises:
        EvidenceError: The clusters are not of pictures, or those of an earlier version's folder.
    """
    if groups.clusters is None and groups.classifier.startswith("clusters of "):
        raise EvidenceError("This folder of groups has no clusters: call `group` again.")
    opened = groups.clusters and groups.clusters.open(model)
    classifier: Any = opened or groups.classifier
    ranked = []
    for name in groups.groups:
        result = verify(
            groups.findings(name),
            model,
            classifier=classifier,
            label=name,
            units=(units or {}).get(name, ()),
            items=items,
            seeds_per_item=seeds_per_item,
            baselines=baselines,
            maps=False,
            others=others,
            cache=cache,
            progress=progress,
        )
        effects = sorted(result.effects, key=lambda effect: -effect.addition.low)
        ranked.append(GroupControl(name, tuple(effects)))
    ranked.sort(key=lambda each: -each.low)
    options = {
        "classifier": groups.classifier,
        "items": items,
        "seeds_per_item": seeds_per_item,
        "baselines": baselines,
        "others": list(others),
    }
    return RankedGroups(tuple(ranked), provenance_of(model, options))
