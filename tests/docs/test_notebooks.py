"""The notebooks run from the first cell to the last, small, and find what is known to be there."""

import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.exhaustive

PLACES = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture
def after(tmp_path, monkeypatch):
    """What an expression is at the end of a notebook, all of whose cells were run in quick form."""
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    for variable in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    here = tmp_path / "here"
    here.mkdir()

    def told(name, expression):
        (path,) = [one for one in PLACES if one.stem == name]
        notebook = nbformat.read(path, as_version=4)
        last = nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({expression}))")
        notebook.cells.append(last)
        where = {"metadata": {"path": str(here)}}
        small = {"CLERESTORY_QUICK": "1", "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
        client = NotebookClient(notebook, timeout=600, resources=where)
        client.execute(env={**os.environ, **small})
        assert not list(here.iterdir())
        return json.loads(last.outputs[0]["text"])

    return told


@pytest.mark.weights
def test_style_finds_the_direction_that_controls_it_and_builds_with_it(after):
    told = after(
        "style",
        """{
            "found": [
                direction.unit,
                direction.detects.auroc,
                direction.detects.hard_negative_auroc,
            ],
            "controls": [one.unit for one in result.effects if one.controls],
            "rates": {name: ways["target_rate"] for name, ways in measured["baselines"].items()},
            "steered": measured["target_rate"],
            "exact": baked.exact,
        }""",
    )
    unit, auroc, hard_negative = told["found"]
    assert unit.startswith("prior/embedding[") and min(auroc, hard_negative) >= 0.95
    assert "prior/embedding[difference]" in told["controls"]
    assert told["rates"]["unedited"] == told["rates"]["shuffled"] == 0
    assert told["steered"] >= 0.75 and told["exact"]


@pytest.mark.weights
def test_mood_finds_what_makes_pictures_scared(after):
    told = after(
        "mood",
        """{
            "aurocs": {one.unit: one.auroc for one in scared.units},
            "things": sorted(set(prompts.set_index("prompt").thing[most])),
            "controls": [one.unit for one in result.effects if one.controls],
        }""",
    )
    assert told["aurocs"]["prior/embedding[difference]"] >= 0.9
    assert told["things"] and set(told["things"]) <= {"a spider", "a ghost"}
    assert told["controls"] == ["prior/embedding[difference]"]


@pytest.mark.weights
def test_knowledge_tells_an_unknown_name_and_what_the_raven_brings(after):
    told = after(
        "knowledge",
        """{
            "known": [[one.verdict, one.p] for one in known],
            "shares": {f"{row.what}: {row.piece}": row.share for row in shares.itertuples()},
            "without": [found.before.unwanted, found.control.unwanted, found.chosen.came.unwanted],
        }""",
    )
    (verdict, asked), (_, familiar) = told["known"]
    assert verdict == "not shown to be familiar" and asked > 0.1 > familiar
    shares = told["shares"]
    assert shares["lancet:clothes=black clothes: raven"] > 0.4
    assert shares["lancet:pallor=pale: raven"] > 0.9
    assert all(share < 0.1 for name, share in shares.items() if not name.endswith("raven"))
    before, without, after_it = told["without"]
    assert before > 0.9 and without < 0.1 and after_it < 0.1


@pytest.mark.parametrize("path", PLACES, ids=lambda path: path.stem)
def test_what_is_kept_of_a_notebook_is_small_and_says_nothing_of_a_machine(path):
    text = path.read_text()
    notebook = json.loads(text)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"} and len(text) < 600_000
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)
    for cell in notebook["cells"]:
        assert not cell["metadata"]
        if cell["cell_type"] == "code":
            assert cell["execution_count"]
            for output in cell["outputs"]:
                assert output["output_type"] != "error" and output.get("name") != "stderr"
