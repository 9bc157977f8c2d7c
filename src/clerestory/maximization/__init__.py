"""Searches for prompts that maximize a unit, a direction or a classifier's label.

    result = maximize(model, unit("text.blocks.2/mlp[311]") - 0.5 * unit("text.blocks.2/mlp[7]"))
    result.best[0].prompt, result.status, result.p      # against random search of that budget

Searches are known by name (`random`, `metropolis`, `gradient`, `gradient-metropolis`, `evolve`,
`exhaustive`); `compare_searches` runs several at equal budgets. `compare` compares the words of a
search with a plain prompt and a steered model.
"""

from clerestory.maximization.base import Problem, Search
from clerestory.maximization.compare import ComparisonResult, compare
from clerestory.maximization.maximize import maximize
from clerestory.maximization.results import MaximizationResult, MaximizedPrompt
from clerestory.maximization.search_comparison import SearchComparison, compare_searches
from clerestory.maximization.space import Space, prompt_space
from clerestory.maximization.units import maximize_units

__all__ = [
    "ComparisonResult",
    "MaximizationResult",
    "MaximizedPrompt",
    "Problem",
    "Search",
    "SearchComparison",
    "Space",
    "compare",
    "compare_searches",
    "maximize",
    "maximize_units",
    "prompt_space",
]
