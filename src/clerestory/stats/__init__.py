"""The statistics under every finding: arrays in, values out.

Nothing here knows of models, files or pictures, so each function can be checked against scipy and
against answers known by hand. Rows are replicates (contents, prompts), columns are units; chance
comes in as a generator.

    auroc(shown, absent)                    # [unit]: does the unit tell the two sides apart?
    signed_rank(shown - absent)             # [unit]: p of Wilcoxon's paired test
    benjamini_hochberg(p)                   # [unit]: q over everything that was tested
    clopper_pearson(29, 30)                 # an interval that is honest near 1
    shuffled(shown - absent, norm, rng)     # [20, unit]: directions that a finding must beat
"""

from clerestory.stats.directions import difference, project, shuffled
from clerestory.stats.frechet import frechet
from clerestory.stats.intervals import (
    Interval,
    bootstrap_auroc,
    bootstrap_means,
    clopper_pearson,
    newcombe,
    wilson,
)
from clerestory.stats.multiple_testing import benjamini_hochberg, flips_that_find
from clerestory.stats.probes import logistic, standing_out
from clerestory.stats.ranks import auroc, signed_rank, win_rate
from clerestory.stats.variance import omega_squared

__all__ = [
    "Interval",
    "auroc",
    "benjamini_hochberg",
    "bootstrap_auroc",
    "bootstrap_means",
    "clopper_pearson",
    "difference",
    "flips_that_find",
    "frechet",
    "logistic",
    "newcombe",
    "omega_squared",
    "project",
    "shuffled",
    "signed_rank",
    "standing_out",
    "wilson",
    "win_rate",
]
