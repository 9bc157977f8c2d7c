"""An edit of another package joins by one file and one entry point."""

import os
import subprocess
import sys
from pathlib import Path

MODULE = '''
from dataclasses import dataclass
from typing import ClassVar

from clerestory.edits import Affine, SiteEdit, edits
from clerestory.edits.base import affine_identity


@edits.register("negate")
@dataclass(frozen=True, eq=False)
class Negate(SiteEdit):
    """Multiplies a whole site by minus `amount`."""

    amount: float = 1.0

    def __call__(self, value):
        return -self.amount * value

    def as_affine(self, units):
        identity = affine_identity(units)
        return Affine(-self.amount * identity.matrix, identity.bias)
'''
SCRIPT = """
import sys
import numpy as np
from tiny import tiny_model
from negating import Negate
from clerestory.steering import SteeredModel, bake

model = tiny_model()
steered = SteeredModel(model, [Negate("text.blocks.0/mlp", branch="both", amount=2.0)])
again = SteeredModel.load(steered.save(sys.argv[1] + "/saved"), model)
assert again.edits[0].to_dict() == steered.edits[0].to_dict()
drawn, plain = again.draw("a cat", 1), model.run("a cat", 1).pictures
assert (drawn == steered.draw("a cat", 1)).all() and (drawn != plain).any()
baked = bake(again, sys.argv[1] + "/baked")
assert baked.exact and not baked.refusals, baked
"""


def test_an_edit_of_a_plug_in_runs_is_saved_and_is_baked(tmp_path: Path) -> None:
    (tmp_path / "negating.py").write_text(MODULE)
    metadata = tmp_path / "negating-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: negating\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[clerestory.edits]\nnegate = negating\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        check=True,
    )
