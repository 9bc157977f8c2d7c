"""What attribution patching estimates, and what patching measures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from clerestory.checks import check_choice
from clerestory.errors import EvidenceError, OptionError
from clerestory.io.reading import wrap_errors
from clerestory.reporting.results import Provenance, Result
from clerestory.stats.clustered_intervals import mean_interval
from clerestory.types import Floats

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["AttributionPatching", "PartKind", "PatchedParts", "SiteEstimates"]

PartKind: TypeAlias = Literal["unit", "head", "position", "step", "site"]
"""What estimates are summed to: over positions and steps; over positions, units and steps; …"""
FILE = "estimates.zarr"
TOP = 20
"""Parts in the JSON file and in a chart; the table has all."""


@dataclass(frozen=True, eq=False)
class SiteEstimates:
    """Estimates of one site.

    Attributes:
        steps: The steps that it was read at.
        units: Indices of its units.
        heads: Its number of attention heads; None without heads, or where some units were chosen.
        by_unit: `[sample, step, unit]`, sums over positions.
        by_position: `[sample, step, position]`, sums over these units.
    """

    steps: tuple[int, ...]
    units: tuple[int, ...]
    heads: int | None
    by_unit: Floats = field(repr=False)
    by_position: Floats = field(repr=False)

    def parts(self, kind: PartKind) -> tuple[list[str], Floats]:
        """Estimates of parts of one kind.

        Args:
            kind: The kind.

        Returns:
            What follows the site's address, and `[sample, part]`; nothing for heads where there are
            none.
        """
        if kind == "unit":
            return [f"[{unit}]" for unit in self.units], self.by_unit.sum(1)
        if kind == "position":
            count = self.by_position.shape[2]
            return [f" position {place}" for place in range(count)], self.by_position.sum(1)
        if kind == "step":
            names = [f"@{step}" for step in dict.fromkeys(self.steps)]
            sums = self.by_unit.sum(2)
            columns = [
                sums[:, [at for at, own in enumerate(self.steps) if own == step]].sum(1)
                for step in dict.fromkeys(self.steps)
            ]
            return names, np.stack(columns, 1)
        if kind == "site":
            return [""], self.by_unit.sum((1, 2))[:, None]
        if self.heads is None:
            return [], np.empty((len(self.by_unit), 0))
        split = self.by_unit.sum(1).reshape(len(self.by_unit), self.heads, -1)
        return [f"[h{head}]" for head in range(self.heads)], split.sum(2)


@dataclass(frozen=True, eq=False, repr=False)
class AttributionPatching(Result):
    """Estimated effects of patching corrupted runs into clean ones.

    Attributes:
        objective: The name of the objective.
        clean_prompts: Prompts whose objective is measured.
        corrupted_prompts: Prompts whose activations are patched in.
        items: The pair of each sample.
        seeds: The seed of each sample.
        clean_values: The objective of the clean samples, `[sample]`.
        corrupted_values: The objective of the corrupted ones.
        estimates: By address of the site.
        independent: Sites that the objective does not depend on; their estimates are zeros.
        ig_steps: Points of integrated gradients; 0 for the gradient of the clean run.
        last_steps: How many of the last denoising steps have gradients; None for all. Effects
            through the others are not in the estimates.
        imprecise: Sites whose gradients are so small that float16 has fewer digits of them.
        provenance: Model, version and options.
    """

    objective: str
    clean_prompts: tuple[str, ...]
    corrupted_prompts: tuple[str, ...]
    items: tuple[int, ...]
    seeds: tuple[int, ...]
    clean_values: NDArray[np.float64]
    corrupted_values: NDArray[np.float64]
    estimates: Mapping[str, SiteEstimates]
    independent: tuple[str, ...] = ()
    ig_steps: int = 0
    last_steps: int | None = None
    imprecise: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=lambda: Provenance(""))

    figures_file: ClassVar[str] = "attribution-patching.json"

    @property
    def total(self) -> float:
        """What the corrupted prompts add to the objective, the mean over samples."""
        return float((self.corrupted_values - self.clean_values).mean())

    def item_estimates(self, kind: PartKind = "unit") -> tuple[list[str], Floats]:
        """Estimates of each pair.

        Args:
            kind: What they are summed to.

        Returns:
            Addresses of the parts, and `[item, part]`, means over seeds.

        Raises:
            OptionError: There is no such kind.
        """
        check_choice(OptionError, get_args(PartKind), kind=kind)
        found = {address: each.parts(kind) for address, each in self.estimates.items()}
        names = [f"{address}{name}" for address, (own, _) in found.items() for name in own]
        values = np.concatenate([values for _, values in found.values()], 1)
        return names, _by_item(values, self.items)

    @override
    def table(self, kind: PartKind = "unit") -> pd.DataFrame:
        """A row for each part, the largest estimate first.

        Args:
            kind: `unit`, `head`, `position`, `step` or `site`.

        Returns:
            Columns `address`, `estimate`, its 95% interval over pairs `low` and `high` (NaN with
            one pair), and `share` of what the corrupted prompts add in all.
        """
        names, values = self.item_estimates(kind)
        frame = _ranked(names, values)
        # A share of nothing has no meaning.
        frame["share"] = frame["estimate"] / self.total if self.total else np.nan
        return frame

    @override
    def summary(self) -> str:
        pairs, first = len(self.clean_prompts), self.table().iloc[0]
        how = f"integrated gradients, {self.ig_steps} points" if self.ig_steps else "one gradient"
        steps = "" if self.last_steps is None else f", of the last {self.last_steps} steps only"
        return (
            f"Attribution patching of {self.objective} ({how}{steps}): {pairs} pairs add "
            f"{self.total:.3g}; the largest of {sum(len(e.units) for e in self.estimates.values())}"
            f" units is {first['address']} with {first['estimate']:.3g} "
            f"({first['low']:.3g} to {first['high']:.3g}).{self._imprecise_text()}"
        )

    def _imprecise_text(self) -> str:
        if not self.imprecise:
            return ""
        return f" float16 has few digits of the gradients at {', '.join(self.imprecise[:6])}."

    @override
    def plot(self, kind: PartKind = "unit") -> Any:
        """Bars of the largest estimates, with their intervals.

        Args:
            kind: As for `table`.

        Returns:
            An Altair chart.
        """
        import altair as alt

        frame = self.table(kind).head(TOP)
        base = alt.Chart(frame).encode(y=alt.Y("address", sort=None, title=None))
        bars = base.mark_bar().encode(
            x=alt.X("estimate", title=f"estimated effect: {self.objective}")
        )
        return bars + base.mark_rule().encode(x="low", x2="high")

    @property
    def tree(self) -> xr.DataTree:
        """All estimates with labels: a group per site, `unit_estimate` and `position_estimate`."""
        import xarray as xr

        prompts = np.array(self.clean_prompts, dtype=object)[list(self.items)]
        others = np.array(self.corrupted_prompts, dtype=object)[list(self.items)]
        root = xr.Dataset(
            {
                "clean_value": ("sample", self.clean_values),
                "corrupted_value": ("sample", self.corrupted_values),
            },
            {
                "sample": np.arange(len(self.items)),
                "item": ("sample", list(self.items)),
                "seed": ("sample", list(self.seeds)),
                "clean_prompt": ("sample", prompts),
                "corrupted_prompt": ("sample", others),
            },
        )
        groups: dict[str, xr.Dataset] = {"/": root}
        for address, each in self.estimates.items():
            groups[address] = xr.Dataset(
                {
                    "unit_estimate": (("sample", "step", "unit"), each.by_unit),
                    "position_estimate": (("sample", "step", "position"), each.by_position),
                },
                {"step": list(each.steps), "unit": list(each.units)},
                {"heads": each.heads or 0},
            )
        return xr.DataTree.from_dict(groups)

    @override
    def to_dict(self) -> dict[str, Any]:
        kinds = [kind for kind in get_args(PartKind) if self.item_estimates(kind)[0]]
        largest = {
            kind: json.loads(self.table(kind).head(TOP).to_json(orient="records")) for kind in kinds
        }
        return {**self._settings(), "total": self.total, "largest": largest}

    def _settings(self) -> dict[str, Any]:
        return {
            "objective": self.objective,
            "clean_prompts": list(self.clean_prompts),
            "corrupted_prompts": list(self.corrupted_prompts),
            "sites": list(self.estimates),
            "independent": list(self.independent),
            "ig_steps": self.ig_steps,
            "last_steps": self.last_steps,
            "imprecise": list(self.imprecise),
            "provenance": asdict(self.provenance),
        }

    @override
    def write(self, folder: Path) -> None:
        super().write(folder)
        tree = self.tree
        tree.attrs = {"settings": json.dumps(self._settings())}
        # Consolidated metadata is no part of the format yet, of which zarr warns.
        tree.to_zarr(folder / FILE, mode="w", consolidated=False)

    @classmethod
    @override
    def load(cls, folder: Path) -> Self:
        import xarray as xr

        path = Path(folder) / FILE
        if not path.is_dir():
            raise EvidenceError(f"There is no {FILE} in {folder}: give a folder that was saved.")
        with wrap_errors(path, EvidenceError):
            with xr.open_datatree(path, engine="zarr", consolidated=False, chunks=None) as opened:
                tree = opened.load()
            settings = json.loads(tree.attrs["settings"])
            settings["provenance"] = Provenance(**settings["provenance"])
            for name in ("clean_prompts", "corrupted_prompts", "independent", "imprecise"):
                settings[name] = tuple(settings[name])
            # Groups come in the order of the file system's folders.
            sites = settings.pop("sites")
            return cls(
                **settings,
                items=tuple(tree["item"].to_numpy().tolist()),
                seeds=tuple(tree["seed"].to_numpy().tolist()),
                clean_values=tree["clean_value"].to_numpy(),
                corrupted_values=tree["corrupted_value"].to_numpy(),
                estimates={site: _read_site(tree[site].to_dataset()) for site in sites},
            )


@dataclass(frozen=True, eq=False)
class PatchedParts:
    """Measured effects of patching parts of sites.

    Attributes:
        objective: The name of the objective.
        parts: Addresses.
        items: The pair of each sample.
        values: What patching a part adds to the objective, `[part, sample]`.
        clean_values: The objective without, `[sample]`.
    """

    objective: str
    parts: tuple[str, ...]
    items: tuple[int, ...]
    values: NDArray[np.float64] = field(repr=False)
    clean_values: NDArray[np.float64] = field(repr=False)

    def item_effects(self) -> Floats:
        """`[item, part]`, means over seeds."""
        return _by_item(self.values.T, self.items)

    def table(self) -> pd.DataFrame:
        """Columns `address`, `effect`, `low` and `high`, the largest effect first."""
        return _ranked(list(self.parts), self.item_effects()).rename(columns={"estimate": "effect"})


def _by_item(values: Floats, items: Sequence[int]) -> Floats:
    """Means over the samples of each item, `[item, part]`."""
    own = np.asarray(items)
    return np.stack([values[own == item].mean(0) for item in dict.fromkeys(items)])


def _ranked(names: Sequence[str], values: Floats) -> pd.DataFrame:
    import pandas as pd

    values = values.astype(np.float64)
    unknown = np.full(values.shape[1], np.nan)
    low, high = mean_interval(values) if len(values) > 1 else (unknown, unknown)
    frame = pd.DataFrame(
        {"address": list(names), "estimate": values.mean(0), "low": low, "high": high}
    )
    order = np.argsort(-np.abs(frame["estimate"].to_numpy()), kind="stable")
    return frame.iloc[order].reset_index(drop=True)


def _read_site(dataset: xr.Dataset) -> SiteEstimates:
    return SiteEstimates(
        tuple(dataset["step"].to_numpy().tolist()),
        tuple(dataset["unit"].to_numpy().tolist()),
        int(dataset.attrs["heads"]) or None,
        dataset["unit_estimate"].to_numpy(),
        dataset["position_estimate"].to_numpy(),
    )
