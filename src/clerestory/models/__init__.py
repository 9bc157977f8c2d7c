"""Models, their sites, and running them: prompts and seeds in, pictures and activations out.

A model is opened once. Its activations have addresses, such as `text.blocks.3/mlp`,
`prior/embedding` and `denoiser.mid.res.0/out`. A run draws every prompt with every seed, and reads
and edits sites on the way; all hooks are removed after it.

    model = clerestory.load("lancet")
    run = model.run(["a cat", "a moose"], range(4), read=["text.*/mlp", "prior/embedding"])
    run.pictures                            # uint8 [sample, height, width, 3]
    run.read("text.blocks.0/mlp")           # DataArray, dims sample step unit

`core` has the values, the runner and the only torch hooks (`core/hooks.py`), `families` one file
per pipeline family and `generic.py` for any other, `loading` opens hub ids, folders and files.
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
