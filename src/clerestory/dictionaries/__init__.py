"""Dictionaries: sparse autoencoders and transcoders, whose latents are units like any other.

    dictionary = Dictionary.load("glass16k")
    latents = dictionary.encode(values)

A dictionary maps the values of one site to latents, most of which are zero, and latents back to
values. Loading and use need torch and safetensors only. One file of `kinds` holds one activation
function.
"""

from clerestory.dictionaries.absorption import Absorption, absorption
from clerestory.dictionaries.activation import Activation, activations
from clerestory.dictionaries.dictionary import Dictionary
from clerestory.dictionaries.evaluation import evaluate
from clerestory.dictionaries.evaluation_results import DictionaryEvaluation
from clerestory.dictionaries.normalization import Normalization
from clerestory.dictionaries.reconstruct import Reconstruct
from clerestory.dictionaries.training import train

__all__ = [
    "Absorption",
    "Activation",
    "Dictionary",
    "DictionaryEvaluation",
    "Normalization",
    "Reconstruct",
    "absorption",
    "activations",
    "evaluate",
    "train",
]
