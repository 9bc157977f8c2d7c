"""Models, their sites, and running them: prompts and seeds in, pictures and activations out.

A model is opened once, and its inside has addresses: `text.blocks.3/mlp`, `prior/embedding`,
`denoiser.mid.res.0/out`. A run draws every prompt with every seed, reads sites and edits them on
the way; nothing of ours stays on the model afterwards.

    model = clerestory.load("lancet")
    run = model.run(["a cat", "a moose"], range(4), read=["text.*/mlp", "prior/embedding"])
    run.pictures                            # uint8 [sample, height, width, 3]
    run.read("text.blocks.0/mlp")           # DataArray, dims sample step unit

`core` has the values, the runner and the only torch hooks (`core/hooks.py`), `families` one file a
pipeline family and `generic.py` for any other pipeline, `loading` opens hub ids, folders and files.
"""

from clerestory.models.core.runs import Run, SiteValues
from clerestory.models.core.seeds import check_seeds, parse_seeds, parse_size
from clerestory.models.core.types import (
    Branch,
    Edit,
    Options,
    PerSample,
    Pool,
    Sample,
    Site,
    Sites,
    Step,
)
from clerestory.models.loading.load import load, wrap
from clerestory.models.model import Model
from clerestory.models.profile import Checkpoint, ModelPlugin, ModelProfile

__all__ = [
    "Branch",
    "Checkpoint",
    "Edit",
    "Model",
    "ModelPlugin",
    "ModelProfile",
    "Options",
    "PerSample",
    "Pool",
    "Run",
    "Sample",
    "Site",
    "SiteValues",
    "Sites",
    "Step",
    "check_seeds",
    "load",
    "parse_seeds",
    "parse_size",
    "wrap",
]
