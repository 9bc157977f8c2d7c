"""The check of the branches of guidance: the prompt changes one of them and not the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from clerestory.diagnostics.examination import Examination, SkippedCheckError, Verdict
from clerestory.errors import ClerestoryError
from clerestory.models import Run
from clerestory.types import Floats

__all__ = ["branch_sites", "branches"]

SITES = ("denoiser/condition", "denoiser/prediction")
"""Sites that have both branches, besides the conditioning sites."""
GUIDANCE, NEGATIVE = 4.0, "blurry"
"""What gives a second branch where the defaults have none."""
SAME, SAME_IN_HALF = 1e-3, 3e-2
"""Largest change of the unconditional branch by rounding, relative to the size of the values."""


def branch_sites(examination: Examination) -> list[str]:
    """The sites at which branches are compared: those of these that were read."""
    records = examination.survey.sites if examination.survey is not None else {}
    addresses = dict.fromkeys((*examination.model.conditioning_sites, *SITES))
    one_branch = examination.model.family.conditional_sites
    return [each for each in addresses if each in records and each not in one_branch]


def branches(examination: Examination) -> Verdict:
    """Another prompt changes the conditional branch, and not the unconditional one."""
    sites = branch_sites(examination)
    if examination.batch is None or not sites:
        raise SkippedCheckError("no batch with a conditioning site was drawn")
    # States of what these prompts do not have are zeros (quotations in HunyuanImage).
    sites = [site for site in sites if examination.batch.site_values[site].array().any()]
    cond = {site: _change(examination.batch, site, 0, 2) for site in sites}
    run = _unconditional(examination, sites)
    uncond = {site: _change(run, site, 0, 1) for site in sites}
    limit = SAME_IN_HALF if examination.is_half else SAME
    wrong = [
        f"{site} (conditional {cond[site]:.2g}, unconditional {uncond[site]:.2g} of its size)"
        for site in sites
        if uncond[site] > limit or cond[site] <= 10 * uncond[site]
    ]
    if wrong:
        return False, (
            f"another prompt does not change the conditional branch alone at {', '.join(wrong)}: "
            "this pipeline orders its branches otherwise than its family says, so do not rely on "
            "branch="
        )
    return True, f"another prompt changes the conditional branch alone at {' and '.join(sites)}"


def _unconditional(examination: Examination, sites: list[str]) -> Run:
    """Both prompts with the same noise, read in the unconditional branch."""
    guidance = examination.model.options(**examination.options).guidance
    plain: dict[str, Any] = {"guidance": guidance if guidance > 1 else GUIDANCE}
    refusal = ""
    # Guidance-distilled models (Flux) have a second branch with a negative prompt only.
    for options in (plain, {**plain, "negative": NEGATIVE}):
        try:
            return examination.draw(
                "the unconditional branch",
                prompts=[examination.prompt, examination.other_prompt],
                seeds=[0, 0],
                read=sites,
                branch="uncond",
                pictures=False,
                **options,
            )
        except ClerestoryError as error:
            refusal = refusal or str(error)
    raise SkippedCheckError(f"no unconditional branch can be read here: {refusal}")


def _change(run: Run, site: str, first: int, second: int) -> float:
    """How far two samples are apart at the first step, relative to the size of the values."""
    # With the same noise the first step differs by the prompt alone, later ones by what it drew.
    values: Floats = run.site_values[site].array()[:, 0]
    size = float(np.sqrt(np.square(values, dtype=np.float64).mean()))
    return float(np.abs(values[first] - values[second]).max()) / max(size, 1e-12)
