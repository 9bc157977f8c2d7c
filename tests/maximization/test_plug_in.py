"""A search and a vocabulary of another package join by one file and one entry point each."""

import os
import subprocess
import sys
from pathlib import Path

MODULE = '''
from dataclasses import dataclass

from clerestory.maximization.base import searches


@searches.register("in-order")
@dataclass(frozen=True)
class InOrder:
    """Scores sequences in the order of the space."""

    step: int = 1

    def run(self, problem):
        for state in list(problem.space.sequences())[:: self.step]:
            problem.scores([state])
            yield problem.spent


def letters():
    return ["b", "c", "d", "f"]
'''
SCRIPT = """
from tiny import tiny_model

from clerestory import maximize
from clerestory.maximization.base import searches

options = {"vocabulary": "letters", "words": 2, "random_prompts": 4}
options |= {"pictures": False, "progress": False}
unit = "text.blocks.0/mlp[3]"
assert "in-order" in searches
found = maximize(tiny_model(), unit, search="in-order", budget=16, **options)
assert found.search == "InOrder" and found.evaluations == 16
assert list(found.trail["words"][:3]) == ["b b", "b c", "b d"]
known = maximize(tiny_model(), unit, search="exhaustive", budget=16, **options)
assert found.best[0] == known.best[0]
"""


def test_a_search_and_a_vocabulary_of_a_plug_in_are_run(tmp_path: Path) -> None:
    (tmp_path / "ordered.py").write_text(MODULE)
    metadata = tmp_path / "ordered-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: ordered\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[clerestory.searches]\nin-order = ordered\n"
        "[clerestory.vocabularies]\nletters = ordered:letters\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, "PYTHONPATH": path}, check=True
    )
