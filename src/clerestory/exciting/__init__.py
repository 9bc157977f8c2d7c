"""Searches: which prompts excite a unit most?

    found = excite(model, unit("text.blocks.2/mlp[311]") - 0.5 * unit("text.blocks.2/mlp[7]"))
    found.best[0].prompt, found.best[0].z

Searches are known by name (`random`, `metropolis`, `gradient`, `gradient-metropolis`, `evolve`,
`exhaustive`); `compare` runs several at equal budgets.
"""

from clerestory.exciting.base import Problem, Search, searches
from clerestory.exciting.comparing import Compared, compare
from clerestory.exciting.excite import excite
from clerestory.exciting.excited import Excited, Exciting
from clerestory.exciting.objectives import Objective, along, drawn, parse_objective, unit
from clerestory.exciting.space import Space, words_of

__all__ = [
    "Compared",
    "Excited",
    "Exciting",
    "Objective",
    "Problem",
    "Search",
    "Space",
    "along",
    "compare",
    "drawn",
    "excite",
    "parse_objective",
    "searches",
    "unit",
    "words_of",
]
