"""Names of units by machine, each scored: does it tell high from low, does it raise the unit?

    names = name_units(recording, model, sites="text.*/mlp")
    names.of("text.blocks.2/mlp[311]")[0]   # its name, with its detection and its drawing

Candidates are words and pairs of words of the prompts, and words of the vocabulary that fit the
unit's highest samples in the model's own space of texts and pictures, where it has one. They are
chosen on half of the prompts, and scored on the other half and on new prompts made from the name.
"""

from clerestory.naming.name_units import name_units
from clerestory.naming.results import DetectionScore, DrawingScore, UnitName, UnitNames
from clerestory.naming.samples import may_be_shown
from clerestory.naming.texts import score_texts

__all__ = [
    "DetectionScore",
    "DrawingScore",
    "UnitName",
    "UnitNames",
    "may_be_shown",
    "name_units",
    "score_texts",
]
