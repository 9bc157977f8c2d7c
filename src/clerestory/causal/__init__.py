"""Causal checks: how changing a unit, a block or a step changes the picture.

Detecting is not controlling: a unit may follow a concept without causing it.

    result = verify(findings, model, classifier="lancet:style", label="stained glass")
    result.sentences()                  # ("Of 7 units, 1 controls 'stained glass': …", …)
    result.table()                      # a row for each unit: detects, addition, ablation, …

`trace` maps in which blocks and at which steps a concept enters; it needs no findings.
"""

from clerestory.causal.group_control import RankedGroups, rank_groups
from clerestory.causal.results import Effect, TraceResult, UnitEffect, VerificationResult
from clerestory.causal.tracing import trace
from clerestory.causal.verify import verify

__all__ = [
    "Effect",
    "RankedGroups",
    "TraceResult",
    "UnitEffect",
    "VerificationResult",
    "rank_groups",
    "trace",
    "verify",
]
