"""What a model knows: does it know a name, or fall back on the context?

    found = familiarity(model, "alexandra elbakyan", out=Path("known"))
    found.said, found.p                         # 'unfamiliar: falls back on context', 0.62
    familiarities(model, ["tycho brahe", "ada lovelace"])   # each beside the same controls

`names.py` makes names up, `contexts.py` has the contexts and what each makes of such names,
`seeing.py` draws and looks, `apart.py` has the statistics, `page.py` the page.
"""

from clerestory.recognition.contexts import CONTEXTS, Made, made_of
from clerestory.recognition.familiarity import familiarities, familiarity
from clerestory.recognition.names import made_up
from clerestory.recognition.results import Familiarity

__all__ = [
    "CONTEXTS",
    "Familiarity",
    "Made",
    "familiarities",
    "familiarity",
    "made_of",
    "made_up",
]
