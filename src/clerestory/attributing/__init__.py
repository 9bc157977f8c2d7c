"""Attributions: which piece of a prompt brings it, and what do pieces bring together?

    asked = parse_pieces("[alexandra elbakyan] with a [raven] in a [library]")
    values = asked_values(model, ["lancet:clothes=black", "found/goth"])
    attribute(model, asked, values).of

Every combination of pieces is measured in many paraphrases, which are the replicates.
"""

from clerestory.attributing.attribute import attribute
from clerestory.attributing.attribution import Attribution, Share, Split
from clerestory.attributing.carriers import paraphrases, paraphrases_of
from clerestory.attributing.pieces import Absence, Piece, Prompt, parse_pieces
from clerestory.attributing.values import Value, asked_values, path_of

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
