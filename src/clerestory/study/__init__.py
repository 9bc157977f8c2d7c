"""Studies: a question written down in a file and answered end to end, with a report.

    study = Study.load("stained-glass", "quick")     # or a path to a TOML file of your own
    ran = run(study, clerestory.load("lancet"), Path("out"))
    verdict(ran), answer(ran)                        # from the figures alone
    write(ran)                                       # report.html (one file), results.json

A study is made of steps, each of which runs one verb of the library; `steps` has their kinds. Steps
are kept in `out/steps` by what they depend on: the same call goes on where it was stopped.
"""

from clerestory.study.answering import answer, told, verdict
from clerestory.study.beginning import begun
from clerestory.study.planning import Forecast, forecast
from clerestory.study.report import write
from clerestory.study.running import Done, Ran, run
from clerestory.study.steps import Came, Claim, Step, steps
from clerestory.study.written import SCALES, Scale, Study, built_in

__all__ = [
    "SCALES",
    "Came",
    "Claim",
    "Done",
    "Forecast",
    "Ran",
    "Scale",
    "Step",
    "Study",
    "answer",
    "begun",
    "built_in",
    "forecast",
    "run",
    "steps",
    "told",
    "verdict",
    "write",
]
