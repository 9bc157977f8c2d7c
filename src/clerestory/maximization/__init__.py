"""Searches: which prompts excite a unit most?

    found = excite(model, unit("text.blocks.2/mlp[311]") - 0.5 * unit("text.blocks.2/mlp[7]"))
    found.best[0].prompt, found.best[0].z

Searches are known by name (`random`, `metropolis`, `gradient`, `gradient-metropolis`, `evolve`,
`exhaustive`); `compare` runs several at equal budgets.
"""

from clerestory.maximization.base import Problem, Search, searches
from clerestory.maximization.maximize import excite
from clerestory.maximization.results import Excited, Exciting
from clerestory.maximization.search_comparison import Compared, compare
from clerestory.maximization.space import Space, words_of

__all__ = [
    "Compared",
    "Excited",
    "Exciting",
    "Problem",
    "Search",
    "Space",
    "compare",
    "excite",
    "searches",
    "words_of",
]
