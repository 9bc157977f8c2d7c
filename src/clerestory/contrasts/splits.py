"""Several random splits into halves, and how many contrasts a recording was used for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clerestory.contrasts.findings import Findings
from clerestory.errors import OutputError, RecordingError
from clerestory.stats import benjamini_hochberg

if TYPE_CHECKING:
    from clerestory.recordings import Recording

__all__ = ["combine_splits", "count_contrasts"]

LOG = "contrasts.json"
"""A recording's digests of the contrasts that were run on it."""
LEVEL = 0.05


def combine_splits(results: Sequence[Findings]) -> Findings:
    """Combine the findings of several splits.

    Args:
        results: Findings of one contrast with different halves.

    Returns:
        The findings of the first split; with several splits, p is min(1, 2 · median of the splits'
        p), where a split that did not pick a unit counts as 1, and q follows from it. Other figures
        are of the first split.

    Source: Meinshausen, Meier & Bühlmann 2009, at the median.
    """
    first = results[0]
    if len(results) == 1:
        return first
    # A unit that another split did not pick has p = 1 there: it was not worth a test.
    by_split = [{finding.unit: finding for finding in result.findings} for result in results]
    p = np.array(
        [
            min(
                1.0,
                2
                * float(
                    np.median(
                        [
                            units[finding.unit].detects.p if finding.unit in units else 1.0
                            for units in by_split
                        ]
                    )
                ),
            )
            for finding in first.findings
        ]
    )
    # Twice the median p is a valid p whatever the dependence of the splits (Rüschendorf 1982;
    # van de Wiel et al. 2009).
    q = benjamini_hochberg(p)
    findings = tuple(
        replace(
            finding,
            detects=replace(finding.detects, p=float(p[at]), q=float(q[at])),
            status=("not found" if finding.status == "found" and q[at] > LEVEL else finding.status),
        )
        for at, finding in enumerate(first.findings)
    )
    return replace(first, findings=findings)


def count_contrasts(recording: Recording, parts: Sequence[str | None]) -> int:
    """Count the different contrasts that a recording was used for, this one included.

    Each contrast on the same samples is another chance to find something: a reader has to know how
    many were tried. They are counted in a file of the recording; one that cannot be written to, as
    on a read-only disk, is not counted in.

    Args:
        recording: The recording.
        parts: What defines the contrast: queries and matched columns.

    Returns:
        How many.
    """
    # A digest for each contrast, so that running one again does not count twice.
    digest = hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()[:16]
    folder = recording.store.folder
    try:
        # Only the number is used: a damaged file is written anew.
        digests = set(map(str, json.loads(folder.read(LOG) or b"[]")))
    except (RecordingError, ValueError, TypeError):
        digests = set()
    digests.add(digest)
    # A recording on a read-only disk can still be analysed.
    with suppress(OSError, OutputError):
        folder.write(LOG, json.dumps(sorted(digests)).encode())
    return len(digests)
