"""Studies: a question written down in a file and answered end to end, with a report.

    study = Definition.load("stained-glass")        # or a path to a TOML file of your own
    results = run(study, clerestory.load("lancet"), Path("out"))
    results.answer                                  # one sentence, from the figures alone

The folder then holds `report.html` (one file), `results.json` (every figure), `findings/` and,
unless nothing was found, `steered/`: the model with the direction added.
"""

from clerestory.study.definition import Definition, built_in
from clerestory.study.plan import Plan, plan
from clerestory.study.results import Results
from clerestory.study.run import run

__all__ = ["Definition", "Plan", "Results", "built_in", "plan", "run"]
