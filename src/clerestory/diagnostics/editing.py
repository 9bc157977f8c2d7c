"""Checks of reading and of edits: no picture changes without a real edit, each stage's moves it."""

from __future__ import annotations

import numpy as np

from clerestory.diagnostics.examination import (
    Examination,
    SkippedCheckError,
    Verdict,
    picture_difference,
)
from clerestory.diagnostics.survey import SiteRecord
from clerestory.edits import Add, Scale
from clerestory.errors import EditError
from clerestory.types import Pictures

__all__ = ["edits", "identity", "reading"]

STRENGTHS = (1.0, 30.0, 300.0, 0.1)
"""Sizes of the edits, in multiples of a site's values; the first that moves the picture counts.

The last is for half precision, in which the others may overflow."""
SPREAD = 5
"""Sites of a stage that are edited at once where it is not known which affect the picture."""


def reading(examination: Examination) -> Verdict:
    """Reading every site leaves the picture as it is, to the byte."""
    first, sites = examination.comparable_picture(), examination.read_sites()
    survey = examination.survey
    assert survey is not None and survey.picture is not None
    picture = examination.draw("every site read", read=sites, cost="read").pictures
    assert picture is not None
    detail = picture_difference(first, picture) or picture_difference(first, survey.picture)
    if not detail:
        return True, f"with all {len(sites)} sites read, the picture is the same to the byte"
    return False, (
        f"reading changes the picture ({detail}): report it with the pipeline's class, and do "
        "not compare runs that read other sites"
    )


def identity(examination: Examination) -> Verdict:
    """Edits that change nothing leave the picture as it is, to the byte."""
    first, sites = examination.comparable_picture(), _editable_sites(examination)
    identities = [Scale(f"{site}[0]", 1.0, branch="both") for site in sites]
    picture = examination.draw("edits that change nothing", edits=identities).pictures
    assert picture is not None
    detail = picture_difference(first, picture)
    if not detail:
        return True, f"a unit times 1 at all {len(sites)} sites: the same picture to the byte"
    return False, f"a unit times 1 changes the picture ({detail}): do not trust edits here"


def edits(examination: Examination) -> Verdict:
    """An edit in each stage moves the picture."""
    first, sites = examination.comparable_picture(), _editable_sites(examination)
    effects: list[str] = []
    failures: list[str] = []
    for stage in examination.stages:
        targets = _choose(
            examination, [site for site in sites if _stage(examination, site) == stage]
        )
        text = targets[0] if len(targets) == 1 else f"{len(targets)} sites of {stage} at once"
        if targets:
            (effects if _moves(examination, first, stage, targets) else failures).append(text)
    if not effects and not failures:
        raise SkippedCheckError("no site that is read is known to affect the picture")
    if not failures:
        return True, f"one edit in each stage moves the picture: {', '.join(effects)}"
    return False, (
        f"an edit moves the picture at {', '.join(effects) or 'no site'}, but not at "
        f"{', '.join(failures)}: the pipeline does not use that value"
    )


def _stage(examination: Examination, site: str) -> str:
    return examination.sites[site].stage


def _editable_sites(examination: Examination) -> list[str]:
    """Sites that were read and have numbers to change."""
    sites = examination.read_sites()
    assert examination.survey is not None
    records = examination.survey.sites
    return [site for site in sites if "float" in records[site].dtype and records[site].units]


def _choose(examination: Examination, sites: list[str]) -> list[str]:
    """One site in the middle of a stage, or some where it is not known which affect the picture."""
    tables = examination.sites
    effective = [
        site
        for site in sites
        # One vector on all queries or keys changes nothing: softmax takes no notice of what all of
        # its inputs share.
        if tables[site].affects_output and tables[site].tap.rpartition("_")[2] not in ("q", "k")
    ]
    if effective:
        return [effective[len(effective) // 2]]
    unknown = [site for site in sites if tables[site].affects_output is None]
    spread = np.linspace(0, len(unknown) - 1, min(SPREAD, len(unknown))).round().astype(int)
    return [unknown[index] for index in dict.fromkeys(spread.tolist())]


def _moves(examination: Examination, first: Pictures, stage: str, sites: list[str]) -> bool:
    assert examination.survey is not None
    for strength in STRENGTHS:
        changes = [_edit(site, examination.survey.sites[site], strength) for site in sites]
        try:
            picture = examination.draw(f"an edit in {stage}", edits=changes).pictures
        except EditError:
            # It made values that are not finite.
            continue
        assert picture is not None
        if picture_difference(first, picture):
            return True
    return False


def _edit(site: str, record: SiteRecord, strength: float) -> Add:
    signs = np.random.default_rng(0).choice([-1.0, 1.0], record.units)
    return Add(site, signs, strength * (record.size or 1.0))
