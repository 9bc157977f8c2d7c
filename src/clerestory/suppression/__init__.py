"""Suppression: what counteracts something that a prompt brings unasked, and at what cost?

    result = suppress(
        model,
        "alexandra elbakyan with a raven",
        unwanted="lancet:clothes=black",
        preserve="raven",
    )
    result.table()

Methods, from a negative prompt to searched words, are compared: each one's setting is chosen on one
half of the paraphrases by selection classifiers, and evaluated on the other half by others.
"""

from clerestory.suppression.association import Association
from clerestory.suppression.method import (
    MethodContext,
    SuppressionMethod,
    suppression_methods,
)
from clerestory.suppression.results import MethodResult, SuppressionResult
from clerestory.suppression.scores import Score
from clerestory.suppression.suppress import suppress

__all__ = [
    "Association",
    "MethodContext",
    "MethodResult",
    "Score",
    "SuppressionMethod",
    "SuppressionResult",
    "suppress",
    "suppression_methods",
]
