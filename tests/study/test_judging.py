from __future__ import annotations

import numpy as np
import pytest
from study import miniature

from clerestory.errors import TableError
from clerestory.numeric import wilson
from clerestory.study.judging import Judged, Panel, change, compared, known, rate


def _flags(*rows: str) -> np.ndarray:
    return np.array([[sign == "x" for sign in row] for row in rows])


def test_an_interval_counts_contents_and_not_pictures() -> None:
    found = rate(_flags("xxxx", "xxxx", "...."))
    assert (found.rate, found.contents) == (pytest.approx(2 / 3), 3)
    assert (found.low, found.high) == wilson(2, 3)


def test_newcombes_interval_is_that_of_his_paper() -> None:
    # 56/70 less 48/80: 0.2, interval 0.0524 to 0.3339 (Newcombe 1998, table II, row a, method 10).
    one, other = (rate(np.arange(of)[:, None] < hits) for hits, of in ((56, 70), (48, 80)))
    found = change(one, other)
    assert (found.change, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_kept_is_beside_the_unedited_picture_and_asked_beside_the_prompt() -> None:
    unedited = Judged(
        _flags("..", ".."), _flags("..", ".."), np.array([["cat", "dog"], ["owl"] * 2])
    )
    edited = Judged(
        _flags("xx", "x."), _flags(".x", ".."), np.array([["cat", "cat"], ["owl", "ant"]])
    )
    found = compared(edited, unedited, ("cat", "ant"))
    assert found.style.rate == 0.75
    assert found.subject_kept.rate == 0.5
    assert found.subject_asked.rate == 0.75
    assert found.object_added.change == 0.25


def test_a_class_that_the_classifier_lacks_is_refused_with_the_nearest() -> None:
    judges = {**miniature.told()["classifiers"], "style": {"name": "stub:style", "shows": "glas"}}
    study = miniature.definition(classifiers=judges)
    with pytest.raises(TableError, match=r"no class 'glas'. Did you mean glass"):
        Panel.open(study, "a", miniature.stubs)


def test_the_error_of_a_foreign_classifier_is_not_known() -> None:
    found = known(miniature.stubs("stub:style", "b"), "glass")
    assert (found.source, found.right, found.right_in_style) == ("stub", None, None)
