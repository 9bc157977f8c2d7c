"""Studies: a question in a TOML file, answered by tasks, with a report.

    study = Study.load("stained-glass", "quick")     # or the path of a file
    result = run_study(study, clerestory.load(), Path("out"))
    result.status, result.answer()                   # from the claims alone
    write_report(result)                             # report.html (one file) and results.json

A study is made of tasks, each of which runs one verb of the library; `tasks` has their kinds. Their
results stay in `out/tasks` with what they depend on: the same call goes on where it was stopped.
"""

from clerestory.studies.forecast import Forecast, forecast
from clerestory.studies.new_study import new_study
from clerestory.studies.report import write_report
from clerestory.studies.results import StudyResult, TaskRun
from clerestory.studies.runner import run_study
from clerestory.studies.schema import SCALES, Scale, Study, built_in_studies

__all__ = [
    "SCALES",
    "Forecast",
    "Scale",
    "Study",
    "StudyResult",
    "TaskRun",
    "built_in_studies",
    "forecast",
    "new_study",
    "run_study",
    "write_report",
]
