"""A browsable page per unit of a recording, where people name units (themes) and take blind tests.

    microscope = build([recording], Path("scope"), sites="text.*/mlp")
    serve(Path("scope"))                     # http://127.0.0.1:8642/, until Ctrl-C

`site` exports static pages, `neuronpedia` rows in that format.
"""

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
