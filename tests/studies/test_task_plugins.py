"""A package adds a kind of task, and a study, by entry points: one file each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TASK = '''
from pathlib import Path

from clerestory.studies.tasks import Claim, Cost, Task, TaskContext, TaskResult, tasks, to_status


@tasks.register("count")
class Count(Task):
    """Counts the sites of a stage."""

    stage: str
    least: int = 1

    def method(self):
        return f"The sites of {self.stage} were counted."

    def cost(self, context):
        return Cost()

    def run(self, context, folder):
        count = sum(site.stage == self.stage for site in context.model.sites.values())
        status = to_status(count >= self.least)
        text = f"The stage {self.stage} has {count} sites."
        return TaskResult((Claim("count", text, status, f"at least {self.least}", count),))
'''
STUDY = """
name = "sites"
question = "How many sites has the text encoder?"
headline = ["count.text"]

[count.text]
stage = "text"

[quick."count.text"]
least = 10000
"""
CODE = """
import json, sys
from pathlib import Path
from tiny import tiny_model
from clerestory.studies import Study, StudyResult, run_study, write_report

model, statuses = tiny_model(), {}
for scale in ("quick", "full"):
    out = Path(sys.argv[1]) / scale
    write_report(run_study(Study.load("sites", scale), model, out))
    statuses[scale] = [StudyResult.load(out).status, StudyResult.load(out).answer()[1]]
print(json.dumps(statuses))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A machine where a package with a task and a study is installed."""
    package = tmp_path / "counting"
    (package / "studies").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "task.py").write_text(TASK)
    (package / "studies" / "__init__.py").touch()
    (package / "studies" / "sites.toml").write_text(STUDY)
    metadata = tmp_path / "counting-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: counting\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[clerestory.tasks]\ncount = counting.task\n"
        "[clerestory.studies]\ncounting = counting.studies\n"
    )
    tests = str(Path(__file__).parents[1])
    path = [str(tmp_path), os.environ.get("PYTHONPATH", ""), tests]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def test_a_task_and_a_study_of_a_package_run(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    statuses = json.loads(done.stdout)
    assert statuses["quick"][0] == "not supported" and statuses["full"][0] == "supported"
    assert statuses["full"][1].startswith("The stage text has ")
    listed = [sys.executable, "-m", "clerestory", "study", "list", "--json"]
    studies = subprocess.run(listed, env=environment, capture_output=True, text=True, check=True)
    assert "sites" in {study["name"] for study in json.loads(studies.stdout)}
