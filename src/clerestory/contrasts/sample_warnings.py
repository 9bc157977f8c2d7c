"""Warnings of how samples were recorded: left out, repeated, with shared seeds, pooled latents."""

from __future__ import annotations

import pandas as pd

from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.recordings import Recording

__all__ = ["ONE_POSITION", "latent_warnings", "sample_warnings"]

ONE_POSITION = ("/embedding", "/pooled")
"""Ends of sites with one position, whose values no pool changes."""


def sample_warnings(recording: Recording, samples: pd.DataFrame) -> list[EvidenceWarning]:
    """Warn of samples that are left out, and of replicates that are none.

    Args:
        recording: The recording.
        samples: The used samples, with `prompt`, `item` and `seed`.

    Returns:
        The warnings.
    """
    warnings = []
    bad = int((recording.samples["bad"] != "").sum())
    missing = int((~recording.samples["done"]).sum())
    if bad:
        warnings.append(EvidenceWarning("bad-samples", f"{bad} bad samples were left out."))
    if missing:
        text = f"{missing} samples are not recorded yet."
        warnings.append(EvidenceWarning("bad-samples", text))
    # The same prompt and seed draw the same picture twice.
    repeated = samples.duplicated(["prompt", "seed"])
    if repeated.any():
        prompt = samples.loc[repeated, "prompt"].iloc[0]
        text = (
            f"{int(repeated.sum())} samples have the prompt and seed of another, such as "
            f"{prompt!r}: they count as one replicate only within their cell."
        )
        warnings.append(EvidenceWarning("repeated-items", text))
    items = samples.groupby("prompt")["item"].nunique()
    if (items > 1).any():
        text = (
            f"{int((items > 1).sum())} prompts belong to several items, such as "
            f"{items.index[items > 1][0]!r}: these items are no independent replicates."
        )
        warnings.append(EvidenceWarning("repeated-items", text))
    if _shares_seeds(recording, samples):
        text = (
            "Items share their seeds: the claim is about these seeds. Record with `seeds_per_item`."
        )
        warnings.append(EvidenceWarning("shared-seeds", text))
    return warnings


def latent_warnings(recording: Recording) -> list[EvidenceWarning]:
    """Warn of latents of pooled values, which no position has.

    Args:
        recording: The recording, with the dictionaries that are attached to it.

    Returns:
        A warning for each dictionary that was not trained on values that were pooled so.
    """
    pool = recording.store.plan.pool
    if pool == "none":
        return []
    return [
        EvidenceWarning(
            "other",
            f"{address} encodes the {pool} over positions, which is not the {pool} of the "
            "latents of the positions: record with pool none to have these.",
        )
        for address in recording.sites
        for attached in [recording.latents(address)]
        if attached is not None
        and not attached.base.endswith(ONE_POSITION)
        and getattr(attached.dictionary, "metadata", {}).get("pool") != pool
    ]


def _shares_seeds(recording: Recording, samples: pd.DataFrame) -> bool:
    """Whether most samples have a seed that other items have too.

    What the noise of such a seed draws is in all of these items, and would be taken for a property
    of the arms. Text encoders do not see the noise.
    """
    if all(site.startswith("text") for site in recording.sites):
        return False
    items = samples.groupby("seed")["item"].nunique()
    return bool((samples["seed"].map(items) > 1).mean() > 0.5)
