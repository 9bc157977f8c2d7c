"""Microscope."""

from clerestory.microscope.blind import Score, scores
from clerestory.microscope.build import build
from clerestory.microscope.export import neuronpedia, site
from clerestory.microscope.folder import Microscope, Unit
from clerestory.microscope.server import application, serve
from clerestory.microscope.themes import Theme, Themes

__all__ = [
    "Microscope",
    "Score",
    "Theme",
    "Themes",
    "Unit",
    "application",
    "build",
    "neuronpedia",
    "scores",
    "serve",
    "site",
]
