"""Searches: which prompts maximize a unit?

    found = maximize(model, unit("text.blocks.2/mlp[311]") - 0.5 * unit("text.blocks.2/mlp[7]"))
    found.best[0].prompt, found.best[0].z

Searches are known by name (`random`, `metropolis`, `gradient`, `gradient-metropolis`, `evolve`,
`exhaustive`); `compare_searches` runs several at equal budgets.
"""

from clerestory.maximization.base import Problem, Search, searches
from clerestory.maximization.compare import compare
from clerestory.maximization.maximize import maximize
from clerestory.maximization.results import MaximizationResult, MaximizedPrompt
from clerestory.maximization.search_comparison import SearchComparison, compare_searches
from clerestory.maximization.space import Space, words_of

__all__ = [
    "MaximizationResult",
    "MaximizedPrompt",
    "Problem",
    "Search",
    "SearchComparison",
    "Space",
    "compare",
    "compare_searches",
    "maximize",
    "searches",
    "words_of",
]
