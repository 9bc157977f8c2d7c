from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import planted_samples as planted

from clerestory.contrasts import Findings, contrast
from clerestory.errors import EvidenceError, OutputError


@pytest.fixture
def found() -> Findings:
    samples = planted.samples(items=12, phrases=4, seeds=1)
    return contrast(planted.activations(samples.table), samples)


def test_findings_are_the_same_after_saving_and_loading(found: Findings, tmp_path: Path) -> None:
    found.save(tmp_path / "findings")
    again = Findings.load(tmp_path / "findings")
    assert again.to_dict() == found.to_dict()
    assert again.findings == found.findings
    for site, direction in found.directions.items():
        np.testing.assert_array_equal(again.directions[site], direction)


def test_as_many_findings_as_many_sites_and_steps_have_are_read_again(
    found: Findings, tmp_path: Path
) -> None:
    many = replace(found, findings=(found.findings[0],) * 20_000)
    many.save(tmp_path / "many")
    assert len(Findings.load(tmp_path / "many")) == 20_000


def test_nothing_is_overwritten(found: Findings, tmp_path: Path) -> None:
    found.save(tmp_path)
    with pytest.raises(OutputError):
        found.save(tmp_path)


def test_a_folder_without_findings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"holds no findings: .* the folder of a `find --out`"):
        Findings.load(tmp_path)
    (tmp_path / "findings.json").write_text("{}")
    with pytest.raises(EvidenceError, match="holds no findings"):
        Findings.load(tmp_path)


def test_findings_are_a_sentence_a_table_and_a_map(found: Findings) -> None:
    first = found.top_ranked("direction")
    assert repr(found).startswith(f"Findings: {len(found.found())} of {found.tested} picks found")
    assert first.unit in repr(found) and len(repr(found)) < 200
    table = found.table().set_index("unit")
    assert table.loc[first.unit, "auroc"] == first.detects.auroc
    assert table["kind"].tolist() == sorted(table["kind"]), "directions, then neurons"
    assert len(found.table(1)) == 2
    assert first.unit in found._repr_html_()
    assert found.plot().to_dict()["layer"]


def test_a_field_that_no_version_writes_is_refused(found: Findings, tmp_path: Path) -> None:
    found.save(tmp_path / "findings")
    path = tmp_path / "findings" / "findings.json"
    path.write_text(path.read_text().replace('"tested"', '"tried"'))
    with pytest.raises(EvidenceError, match="holds no findings that can be read"):
        Findings.load(tmp_path / "findings")
