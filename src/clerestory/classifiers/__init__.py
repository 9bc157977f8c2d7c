"""Classifiers: probabilities of labels from pictures, with their known errors.

    mood = load_classifier("lancet:mood")
    mood(pictures)                  # [n, class] probabilities of pictures [n, 64, 64, 3] uint8
    mood.classes                    # ("happy", "sad", …)

Two classifiers of one name differ in architecture, seed and training pictures. One has the role
`selection`, the other `evaluation`, so that what one selects is evaluated by the other.
`write_sheet` and `check_classifier` compare a classifier with a person's labels.
"""

from clerestory.classifiers.base import (
    Classifier,
    Target,
    classifier_kinds,
    load_classifier,
    parse_target,
    resolve_label,
)
from clerestory.classifiers.heads import ClassifierHead, factor_of
from clerestory.classifiers.human_check import (
    HumanCheck,
    check_classifier,
    load_check,
    write_sheet,
)
from clerestory.classifiers.labels import label_samples, matches_target

__all__ = [
    "Classifier",
    "ClassifierHead",
    "HumanCheck",
    "Target",
    "check_classifier",
    "classifier_kinds",
    "factor_of",
    "label_samples",
    "load_check",
    "load_classifier",
    "matches_target",
    "parse_target",
    "resolve_label",
    "write_sheet",
]
