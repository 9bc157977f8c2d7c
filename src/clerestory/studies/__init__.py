"""Studies: a question written down in a file and answered end to end, with a report.

    study = Study.load("stained-glass", "quick")     # or a path to a TOML file of your own
    ran = run(study, clerestory.load("lancet"), Path("out"))
    verdict(ran), answer(ran)                        # from the figures alone
    write(ran)                                       # report.html (one file), results.json

A study is made of steps, each of which runs one verb of the library; `steps` has their kinds. Steps
are kept in `out/steps` by what they depend on: the same call goes on where it was stopped.
"""

from clerestory.studies.forecast import Forecast, forecast
from clerestory.studies.new_study import begun
from clerestory.studies.report import write
from clerestory.studies.runner import Done, Ran, run
from clerestory.studies.schema import SCALES, Scale, Study, built_in
from clerestory.studies.verdict import answer, told, verdict

__all__ = [
    "SCALES",
    "Done",
    "Forecast",
    "Ran",
    "Scale",
    "Study",
    "answer",
    "begun",
    "built_in",
    "forecast",
    "run",
    "told",
    "verdict",
    "write",
]
