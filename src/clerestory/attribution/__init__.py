"""Attributions: which piece of a prompt brings it, and what do pieces bring together?

    asked = parse_pieces("[alexandra elbakyan] with a [raven] in a [library]")
    values = asked_values(model, ["lancet:clothes=black", "found/goth"])
    attribute(model, asked, values).of

Every combination of pieces is measured in many paraphrases, which are the replicates.
"""

from clerestory.attribution.attribute import attribute
from clerestory.attribution.paraphrases import paraphrases, paraphrases_of
from clerestory.attribution.pieces import Absence, Piece, Prompt, parse_pieces
from clerestory.attribution.results import Attribution, Share, Split
from clerestory.attribution.values import Value, asked_values, path_of

__all__ = [
    "Absence",
    "Attribution",
    "Piece",
    "Prompt",
    "Share",
    "Split",
    "Value",
    "asked_values",
    "attribute",
    "paraphrases",
    "paraphrases_of",
    "parse_pieces",
    "path_of",
]
