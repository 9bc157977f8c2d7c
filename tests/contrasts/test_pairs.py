from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import planted_samples as planted

from clerestory.contrasts import pair_samples
from clerestory.errors import EvidenceError


def test_seeds_count_once_however_many_a_template_has() -> None:
    rows = [("a", "one", 0, 1.0), ("a", "one", 1, 3.0), ("a", "two", 0, 8.0)]
    parts = []
    for half in ("selection", "evaluation"):
        for arm in ("positive", "negative"):
            for item, template, seed, value in rows:
                parts.append((half, arm, f"{half} {item}", f"{half} {arm} {template}", seed, value))
    table = pd.DataFrame(parts, columns=["half", "arm", "item", "template", "seed", "value"])
    table["prompt"] = table["template"] + table["item"]
    arms = pair_samples(table).evaluation.average(table[["value"]].to_numpy())
    assert arms.positive.tolist() == [[5.0]]  # (mean of 1 and 3) and 8
    assert arms.hard_negative is None


def test_an_item_that_lacks_an_arm_is_left_out() -> None:
    table = planted.samples(items=5)
    lost = (table["item"] == "evaluation thing 02") & (table["arm"] == "hard_negative")
    assert len(pair_samples(table[~lost].reset_index(drop=True)).evaluation.items) == 4


def _shared_item(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(item=table["item"].str.replace("evaluation thing 01", "selection thing 01"))


def _shared_template(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(
        template=table["template"].str.replace("positive evaluation 1", "positive selection 1")
    )


def _no_positive(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["arm"] != "positive") | (table["half"] == "evaluation")]


def _no_evaluation(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["half"] == "selection"]


def _hard_negatives_in_one_half(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["arm"] != "hard_negative") | (table["half"] == "evaluation")]


def _no_seed(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="seed")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_shared_item, "1 items are in both halves, for example 'selection thing 01'"),
        (_shared_template, "1 templates are in both halves"),
        (
            lambda t: t.assign(
                prompt=t["prompt"].replace(
                    "hard_negative evaluation 1 1", "positive evaluation 1 1"
                )
            ),
            "more than one arm, for example 'positive evaluation 1 1'",
        ),
        (
            _no_positive,
            "No sample of the selection half is positive: its arms are hard_negative, negative",
        ),
        (_no_evaluation, "No sample of the evaluation half"),
        (_hard_negatives_in_one_half, "give both halves some"),
        (_no_seed, "no column 'seed'"),
    ],
)
def test_what_cannot_carry_a_finding_is_refused_in_one_line(spoil, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(EvidenceError, match=message) as refused:
        pair_samples(spoil(planted.samples()).reset_index(drop=True))
    assert "\n" not in str(refused.value)


def test_arms_grow_by_a_projection() -> None:
    arms = pair_samples(planted.samples(items=2)).evaluation.average(np.ones((72, 2)))
    longer = arms.append_units(arms.project(np.array([3.0, 4.0])))
    assert longer.positive.shape == (2, 3)
    np.testing.assert_allclose(longer.positive[:, -1], 1.4)
    np.testing.assert_allclose(arms.project(np.zeros(2)).positive, 0.0)
