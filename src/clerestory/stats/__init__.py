"""Pure statistics behind every finding: arrays in, values out.

Nothing here depends on models, files or pictures, so each function can be checked against scipy and
against results computed by hand. Rows are replicates (items or prompts), columns are units. Random
functions take a generator.

    auroc(positive, negative)                   # [unit]: does the unit separate the two arms?
    signed_rank(positive - negative)            # [unit]: p of Wilcoxon's paired test
    benjamini_hochberg(p)                       # [unit]: q over all tested units
    clopper_pearson(29, 30)                     # exact binomial interval, valid near 1
"""

from clerestory.stats.directions import (
    logistic_direction,
    rank_by_separation,
)
from clerestory.stats.effect_sizes import frechet_distance, omega_squared
from clerestory.stats.intervals import (
    Interval,
    bootstrap_auroc,
    bootstrap_means,
    clopper_pearson,
    wilson,
)
from clerestory.stats.multiple_testing import benjamini_hochberg, count_flips_with_findings
from clerestory.stats.ranks import auroc, signed_rank

__all__ = [
    "Interval",
    "auroc",
    "benjamini_hochberg",
    "bootstrap_auroc",
    "bootstrap_means",
    "clopper_pearson",
    "count_flips_with_findings",
    "frechet_distance",
    "logistic_direction",
    "omega_squared",
    "rank_by_separation",
    "signed_rank",
    "wilson",
]
