"""Classifiers: what a picture shows, with what is known of their own error.

Two sets come with Lancet, of different architecture, seed and training pictures: set `a` tunes,
set `b` reports, so that what was tuned to please the one is judged by the other.

    mood = classifier("lancet:mood", which="b")
    mood(pictures)            # [n, class] probabilities of pictures [n, 64, 64, 3] uint8
    mood.classes              # ("happy", "sad", …)
"""

from clerestory.classifying.base import Classifier, class_of, classifier, condition, families
from clerestory.classifying.checking import Check, check, checked, sheet
from clerestory.classifying.labels import label, passes
from clerestory.classifying.lancet import FactorClassifier, LancetClassifiers

__all__ = [
    "Check",
    "Classifier",
    "FactorClassifier",
    "LancetClassifiers",
    "check",
    "checked",
    "class_of",
    "classifier",
    "condition",
    "families",
    "label",
    "passes",
    "sheet",
]
