"""How well latents, neurons and directions detect a class, for `measure_dictionaries.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from dictionary_classes import HALVES, arms, prompts
from measurements import Tell

__all__ = ["KINDS", "SITES", "FactorActivations", "Site", "figures", "find_class", "unit_of"]

KINDS = {
    "neuron": ("", "neuron"),
    "latent": (":trained", "neuron"),
    "random latent": (":random", "neuron"),
    "difference of means": ("", "difference"),
    "probe": ("", "probe"),
}
"""What is compared: which site's units, and neurons or a method of fitting directions."""
SPLIT_GAIN = 0.03
"""Gain from which more latents are needed: the threshold of Chanin et al. 2024, of F1 there."""
CALIBRATED = 512
"""Samples on which a random dictionary gets as many active latents as the trained one."""


@dataclass(frozen=True)
class Site:
    """A site whose units are compared.

    Attributes:
        name: Short name, of its dictionary's folder and its figures.
        address: Address.
        step: The step that is recorded, as `@4`; "" outside the denoiser.
    """

    name: str
    address: str
    step: str = ""

    def at(self, suffix: str = "") -> str:
        """The address of the site or of its latents, with the recorded step."""
        return f"{self.address}{suffix}{self.step}"


SITES = {
    site.name: site
    for site in (
        Site("embedding", "prior/embedding"),
        Site("text2", "text.blocks.2/resid"),
        # The middle of eight steps: pictures have their shapes, and no details yet.
        Site("mid", "denoiser.mid.attn.0/out", "@4"),
    )
}


@dataclass(frozen=True, eq=False)
class FactorActivations:
    """Recorded activations of the prompts of all classes of a factor.

    Attributes:
        samples: A row for each sample: `prompt`, `level`, `item`, `phrase`, `half`, `seed`.
        by_site: `[sample, unit]` by address, means over positions; latents are means of latents.
    """

    samples: pd.DataFrame
    by_site: Mapping[str, np.ndarray]


def record_factor(model: Any, site: Site, factor: str, folder: Path, progress: Tell) -> Any:
    """The recording of a factor's prompts, resumed where there is one.

    Args:
        model: The model.
        site: The site; those before the denoiser share a recording.
        factor: The factor.
        folder: Of the recordings.
        progress: Receives updates.

    Returns:
        The recording.
    """
    from clerestory.recordings import record

    before = [each.address for each in SITES.values() if not each.step]
    kind = site.name if site.step else "text"
    return record(
        model,
        prompts(factor),
        sites=[site.at()] if site.step else before,
        seeds_per_item=1,
        # No pooling: the mean of latents is not the latents of the mean.
        pool="none",
        pictures=False,
        out=folder / f"{kind}-{factor}-{model.revision[:12]}",
        progress=lambda _, completed, total: progress(f"{kind}: {factor}", completed, total),
    )


def activations(recording: Any, site: Site, dictionaries: Mapping[str, Any]) -> FactorActivations:
    """Read a recording, encoded with both dictionaries.

    Args:
        recording: The recording.
        site: The site.
        dictionaries: Dictionaries by name.

    Returns:
        Means over positions.
    """
    from clerestory.contrasts.activations import RecordedActivations

    for name, dictionary in dictionaries.items():
        recording.attach(dictionary, name, site=site.address)
    read = RecordedActivations(recording, np.arange(len(recording.rows)))
    addresses = [site.at(), *(site.at(f":{name}") for name in dictionaries)]
    samples = recording.samples.iloc[recording.rows].reset_index(drop=True)
    return FactorActivations(samples, {address: read[address] for address in addresses})


def random_dictionary(trained: Any, recording: Any, site: Site) -> Any:
    """A dictionary of random directions with the trained one's size, scale and active latents.

    Args:
        trained: The trained dictionary.
        recording: A recording of the site.
        site: The site.

    Returns:
        The one of `matched_random`, which `clerestory dictionary evaluate` compares with too.
    """
    import torch

    from clerestory.dictionaries.baselines import matched_random

    recorded = recording.read(site.address).to_numpy()
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(recorded))[:CALIBRATED])
    rows = recorded[chosen].reshape(-1, recorded.shape[-1])
    values = torch.from_numpy(rows[np.isfinite(rows).all(1)].astype(np.float32))
    return matched_random(trained, values[:: max(1, len(values) // 8192)])


def find_class(recorded: FactorActivations, factor: str, level: str) -> Any:
    """Findings of a class: units are selected on one half, and evaluated on the other.

    Args:
        recorded: The factor's activations.
        factor: The factor.
        level: The class.

    Returns:
        The findings, with the first unit of every kind among the picks.
    """
    from clerestory.contrasts import ContrastSamples, contrast

    arm_of = {name: arm for arm, names in arms(factor, level).items() for name in names}
    arm = recorded.samples["level"].map(arm_of)
    chosen = recorded.samples[arm.notna()]
    table = chosen[["prompt", "item", "half", "seed"]].assign(
        arm=arm[arm.notna()],
        # The words of a level: other levels of the arm may have the same frames.
        phrase=chosen["level"] + ": " + chosen["phrase"],
        template="",
    )
    return contrast(
        {address: values[table.index] for address, values in recorded.by_site.items()},
        ContrastSamples(table, from_pictures=False),
        methods=("difference", "probe", "sparse"),
        # Beside the first unit of each site, which is always tested.
        top=1,
        progress=False,
    )


def unit_of(findings: Any, site: Site, kind: str) -> Any:
    """The unit of a kind that the selection half ranks first.

    Args:
        findings: Findings of the class.
        site: The site.
        kind: One of `KINDS`.

    Returns:
        Its finding.
    """
    suffix, method = KINDS[kind]
    if method == "neuron":
        return findings.top_ranked("neuron", site.at(suffix))
    at = site.at(suffix)
    return next(f for f in findings.by_kind("direction", at) if f"[{method}]" in f.unit)


def figures(recorded: FactorActivations, findings: Any, site: Site, trained: Any) -> dict[str, Any]:
    """What is saved of a class: each kind's detection, splitting and absorption.

    Args:
        recorded: The factor's activations.
        findings: Findings of the class.
        site: The site.
        trained: The trained dictionary.

    Returns:
        Figures, ready for JSON.
    """
    curves = {
        kind: [[count, _worse(negative, hard)] for count, negative, hard in findings.curves[at]]
        for kind, (suffix, method) in KINDS.items()
        for at in [site.at(suffix)]
        if method == "neuron"
    }
    needed = latents_needed(curves["latent"])
    return {
        "kinds": {kind: _detection(unit_of(findings, site, kind)) for kind in KINDS},
        "curves": curves,
        "needed": needed,
        "absorption": _absorption(recorded, findings, site, trained, needed),
        "items": {half: len(names) for half, names in findings.items.items()},
        "templates": dict(findings.templates),
        "tested": findings.tested,
        "warnings": [warning.kind for warning in findings.warnings],
    }


def latents_needed(curve: list[list[Any]]) -> int:
    """The number of latents after which twice as many gain no more than `SPLIT_GAIN`.

    Args:
        curve: Numbers of latents and AUROCs of sparse probes of them.

    Returns:
        The smallest such number; the largest of the curve where there is none.
    """
    for (count, auroc), (_, following) in pairwise(curve):
        if following - auroc <= SPLIT_GAIN:
            return int(count)
    return int(curve[-1][0])


def _detection(finding: Any) -> dict[str, Any]:
    detects = finding.detects
    hard = detects.hard_negative_auroc is not None and detects.hard_negative_auroc < detects.auroc
    prefix = "hard_negative_" if hard else ""
    return {
        "unit": finding.unit,
        "sign": finding.sign,
        "status": finding.status,
        "q": detects.q,
        # Against the arm that is harder to tell apart.
        "auroc": detects.worst_auroc,
        "low": getattr(detects, f"{prefix}low"),
        "high": getattr(detects, f"{prefix}high"),
        "negative_auroc": detects.auroc,
        "hard_negative_auroc": detects.hard_negative_auroc,
    }


def _worse(negative: float, hard: float | None) -> float:
    return negative if hard is None else min(negative, hard)


def _absorption(
    recorded: FactorActivations, findings: Any, site: Site, trained: Any, needed: int
) -> dict[str, Any]:
    """Absorption of the latents that the class needs, in the evaluation half's positives."""
    from clerestory.contrasts import ContrastSamples
    from clerestory.contrasts.direction_methods import fit_sparse_probe
    from clerestory.dictionaries import absorption

    table = findings.samples
    values, latents = (recorded.by_site[site.at(suffix)] for suffix in ("", ":trained"))
    design = ContrastSamples(table, from_pictures=False).design(HALVES[0])
    probe = fit_sparse_probe(design.average(latents[table.index]), needed)
    main = np.flatnonzero(probe > 0)
    direction = findings.directions[unit_of(findings, site, "probe").unit]
    # No latent is higher with the class: there is none that could be absorbed.
    if not len(main) or not direction.any():
        return {"main": [], "samples": 0, "full": None, "fraction": None}
    positive = table.index[(table["half"] == HALVES[1]) & (table["arm"] == "positive")]
    negative = table.index[(table["half"] == HALVES[0]) & (table["arm"] == "negative")]
    result = absorption(
        trained,
        values[positive],
        latents[positive],
        direction,
        main.tolist(),
        (values[negative].mean(0), latents[negative].mean(0)),
    )
    there = result.samples > 0
    return {
        "main": main.tolist(),
        "samples": result.samples,
        "full": result.full if there else None,
        "fraction": result.fraction if there else None,
    }
