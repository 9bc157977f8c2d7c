"""Attribution: what does each piece of a prompt add to a value, and what do pieces add together?

    result = attribute(
        model, "[alexandra elbakyan] with a [raven] in a [library]", ["lancet:clothes=black"]
    )
    result.table()

Every coalition of pieces is measured in many paraphrases, which are the replicates; Shapley values
and pairwise interactions come with intervals.
"""

from clerestory.attribution.attribute import attribute
from clerestory.attribution.paraphrases import paraphrase, parse_paraphrases
from clerestory.attribution.pieces import Piece, Removal, SegmentedPrompt, parse_pieces
from clerestory.attribution.results import Attribution, Estimate, Interaction, Share, Split
from clerestory.attribution.targets import Target, finding_targets, parse_targets, path_targets

__all__ = [
    "Attribution",
    "Estimate",
    "Interaction",
    "Piece",
    "Removal",
    "SegmentedPrompt",
    "Share",
    "Split",
    "Target",
    "attribute",
    "finding_targets",
    "paraphrase",
    "parse_paraphrases",
    "parse_pieces",
    "parse_targets",
    "path_targets",
]
