"""Pure statistics behind every finding: arrays in, values out.

Nothing here depends on models, files or pictures, so each function can be checked against scipy and
against simulations. Random functions take a generator.

    auroc(positive, negative)                   # [unit]: does the unit separate the two arms?
    arm_test(positive, negative)                # [unit]: is it higher in new items and phrases?
    auroc_interval(positive, negative)          # over items and phrases, also near 0 and 1
    benjamini_hochberg(p)                       # [unit]: q over all tested units
    change_interval(after, before)              # of rates on the same items and seeds
    random_search_p(best, pool, budget)         # against random search of the same budget

`random_factors` and `clustered_intervals` treat items, templates and seeds as random factors.
"""

from clerestory.stats.baselines import (
    baseline_p,
    permuted_directions,
    random_directions,
    random_search_p,
)
from clerestory.stats.clustered_intervals import (
    auroc_interval,
    clustered_auroc_interval,
    share_interval,
)
from clerestory.stats.directions import logistic_direction, rank_by_separation
from clerestory.stats.effect_sizes import frechet_distance
from clerestory.stats.intervals import Interval, clopper_pearson, wilson
from clerestory.stats.multiple_testing import benjamini_hochberg
from clerestory.stats.random_factors import (
    arm_test,
    cell_test,
    clustered_arm_test,
    pooled_midranks,
)
from clerestory.stats.ranks import auroc
from clerestory.stats.rate_intervals import change_interval, rate_interval

__all__ = [
    "Interval",
    "arm_test",
    "auroc",
    "auroc_interval",
    "baseline_p",
    "benjamini_hochberg",
    "cell_test",
    "change_interval",
    "clopper_pearson",
    "clustered_arm_test",
    "clustered_auroc_interval",
    "frechet_distance",
    "logistic_direction",
    "permuted_directions",
    "pooled_midranks",
    "random_directions",
    "random_search_p",
    "rank_by_separation",
    "rate_interval",
    "share_interval",
    "wilson",
]
