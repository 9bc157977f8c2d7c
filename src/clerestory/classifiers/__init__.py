"""Classifiers: what a picture shows, with what is known of their own error.

Two sets come with Lancet, of different architecture, seed and training pictures: set `a` tunes,
set `b` reports, so that what was tuned to please the one is judged by the other.

    mood = classifier("lancet:mood", role="evaluation")
    mood(pictures)            # [n, class] probabilities of pictures [n, 64, 64, 3] uint8
    mood.classes              # ("happy", "sad", …)
"""

from clerestory.classifiers.base import Classifier, class_of, classifier, condition, families
from clerestory.classifiers.heads import ClassifierHead, factor_of
from clerestory.classifiers.human_check import Check, check, checked, sheet
from clerestory.classifiers.labels import label, passes

__all__ = [
    "Check",
    "Classifier",
    "ClassifierHead",
    "check",
    "checked",
    "class_of",
    "classifier",
    "condition",
    "factor_of",
    "families",
    "label",
    "passes",
    "sheet",
]
