"""Causal checks: how changing a unit, a block or a step changes the picture.

Detecting is not controlling: a unit may follow a concept without causing it.

    result = verify(findings, model, classifier="lancet:style", label="stained glass")
    result.sentences()                  # ("Of 7 units, 1 controls 'stained glass': …", …)
    result.table()                      # a row for each unit: detects, addition, ablation, …

`map_effects` maps in which blocks and at which steps a concept enters; it needs no findings.
`trace` finds the path of an effect: the few heads, MLPs or units that carry it, and their edges.
`attribution_patching` estimates every unit's effect of patching from one gradient, and
`patch_parts` measures the effects of a few.
"""

from clerestory.causal.attribution_patching import attribution_patching, patch_parts
from clerestory.causal.effect_maps import map_effects
from clerestory.causal.graph_results import EffectMap, GraphEdge, GraphNode, TraceResult
from clerestory.causal.group_control import RankedGroups, rank_groups
from clerestory.causal.patching_results import AttributionPatching, PatchedParts
from clerestory.causal.results import Effect, EffectMaps, UnitEffect, VerificationResult
from clerestory.causal.tracing import trace
from clerestory.causal.verify import verify

__all__ = [
    "AttributionPatching",
    "Effect",
    "EffectMap",
    "EffectMaps",
    "GraphEdge",
    "GraphNode",
    "PatchedParts",
    "RankedGroups",
    "TraceResult",
    "UnitEffect",
    "VerificationResult",
    "attribution_patching",
    "map_effects",
    "patch_parts",
    "rank_groups",
    "trace",
    "verify",
]
