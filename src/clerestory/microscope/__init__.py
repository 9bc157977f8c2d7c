"""The microscope: a page for every unit, where people look and say what they see.

    build([Recording.open("rec")], Path("scope"))
    serve(Path("scope"))

Themes are added and never changed, and a blind test tells whether one is real.
"""

from clerestory.microscope.blind import Score, scores
from clerestory.microscope.building import build
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
