"""Models, their sites, and running them: prompts and seeds in, pictures and activations out.

A model is opened once, and its inside has addresses: `text.blocks.3/mlp`, `prior/embedding`,
`denoiser.mid.res.0/out`. A run draws every prompt with every seed, reads sites and edits them on
the way; nothing of ours stays on the model afterwards.

    model = clerestory.load("lancet")
    run = model.run(["a cat", "a moose"], range(4), read=["text.*/mlp", "prior/embedding"])
    run.pictures                            # uint8 [sample, height, width, 3]
    run.activations["text.blocks.0/mlp"]    # xarray, dims sample step unit

`base.py` has the values, `family.py` what a family of models must say about itself, one file each
(`unclip.py`, `stable_diffusion.py`, …) says it, `generic.py` serves what no family knows,
`hooks.py` has the only torch hooks.
"""

from clerestory.models.base import (
    Activations,
    Branch,
    Edit,
    Noted,
    Options,
    PerSample,
    Pool,
    Run,
    Sample,
    Site,
    Sites,
    Step,
)
from clerestory.models.loading import load, wrap
from clerestory.models.model import Model
from clerestory.models.seeds import check_seeds, parse_seeds, parse_size

__all__ = [
    "Activations",
    "Branch",
    "Edit",
    "Model",
    "Noted",
    "Options",
    "PerSample",
    "Pool",
    "Run",
    "Sample",
    "Site",
    "Sites",
    "Step",
    "check_seeds",
    "load",
    "parse_seeds",
    "parse_size",
    "wrap",
]
