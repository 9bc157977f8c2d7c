from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from contrasts import planted

from clerestory.contrasts import halves
from clerestory.errors import EvidenceError


def test_seeds_count_once_however_many_a_phrasing_has() -> None:
    rows = [("a", "one", 0, 1.0), ("a", "one", 1, 3.0), ("a", "two", 0, 8.0)]
    parts = []
    for half in ("discovery", "report"):
        for arm in ("shown", "absent"):
            for content, phrase, seed, value in rows:
                parts.append(
                    (half, arm, f"{half} {content}", f"{half} {arm} {phrase}", seed, value)
                )
    table = pd.DataFrame(parts, columns=["half", "arm", "content", "phrase", "seed", "value"])
    table["prompt"] = table["phrase"] + table["content"]
    sides = halves(table).report.sides(table[["value"]].to_numpy())
    assert sides.shown.tolist() == [[5.0]]  # (mean of 1 and 3) and 8
    assert sides.decoy is None


def test_a_content_that_lacks_an_arm_is_left_out() -> None:
    table = planted.samples(contents=5)
    lost = (table["content"] == "report thing 02") & (table["arm"] == "decoy")
    assert len(halves(table[~lost].reset_index(drop=True)).report.contents) == 4


def _shared_content(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(
        content=table["content"].str.replace("report thing 01", "discovery thing 01")
    )


def _shared_phrase(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(phrase=table["phrase"].str.replace("shown report 1", "shown discovery 1"))


def _no_shown(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["arm"] != "shown") | (table["half"] == "report")]


def _no_report(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["half"] == "discovery"]


def _half_a_decoy(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["arm"] != "decoy") | (table["half"] == "report")]


def _no_seed(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="seed")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_shared_content, "1 contents stand in both halves, 'discovery thing 01'"),
        (_shared_phrase, "1 phrases stand in both halves"),
        (
            lambda t: t.assign(prompt=t["prompt"].replace("decoy report 1 1", "shown report 1 1")),
            "more than one side, 'shown report 1 1'",
        ),
        (_no_shown, "No sample of the discovery half is 'shown': its arms are absent, decoy"),
        (_no_report, "No sample of the report half"),
        (_half_a_decoy, "both or neither"),
        (_no_seed, "no column 'seed'"),
    ],
)
def test_what_cannot_carry_a_finding_is_refused_in_one_line(spoil, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(EvidenceError, match=message) as refused:
        halves(spoil(planted.samples()).reset_index(drop=True))
    assert "\n" not in str(refused.value)


def test_sides_grow_by_a_projection() -> None:
    sides = halves(planted.samples(contents=2)).report.sides(np.ones((72, 2)))
    longer = sides.beside(sides.along(np.array([3.0, 4.0])))
    assert longer.shown.shape == (2, 3)
    np.testing.assert_allclose(longer.shown[:, -1], 1.4)
    np.testing.assert_allclose(sides.along(np.zeros(2)).shown, 0.0)
