"""Queries and objectives come from files and pages: whatever they say, they end at once."""

from __future__ import annotations

import time

import pandas as pd
import pytest

from clerestory.contrasts.queries import matching_rows, query_columns
from clerestory.errors import EvidenceError, SearchError
from clerestory.evaluation import parse_objective

TABLE = pd.DataFrame({"style": ["ink", "oil"], "seed": [1, 2], "my col": ["a", "b"]})
TABLE["café"] = ["x", "y"]
BAD = {
    "a tower of powers": "9**9**9**9 == seed",
    "a shift": "1 << 99999999999 == seed",
    "many nots": "not " * 3000 + "seed == 1",
    "many parentheses": "(" * 500 + "seed == 1" + ")" * 500,
    "a long sum": "seed" + " + 1" * 3000 + " == 2",
    "many conditions": " or ".join(["seed == 1"] * 500),
    "a long text": "style == 'a" + "a" * 30_000 + "'",
    "a text times a number": "style * 1000000000 == 'x'",
    "a quoted column times a number": "`my col` * 1000000000 == 'a'",
    "a constant times a number": "'a' * 9999999999 == style",
    "a list times a number": "[1] * 999999999 == seed",
    "a format": "'%999999999d' % seed == style",
    "a huge number": "seed == " + "9" * 5000,
    "a huge product": "seed * 9999999999999999999 == 1",
    "a NUL": "seed == 1\0",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_query_without_end_is_refused_at_once_in_one_line(kind: str) -> None:
    started = time.process_time()
    with pytest.raises(EvidenceError) as caught:
        matching_rows(TABLE, "positive", BAD[kind])
    query_columns(BAD[kind])
    assert time.process_time() - started < 1
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("seed * 2 == 4", [False, True]),
        ("seed % 2 == 0", [False, True]),
        ("-seed == -1", [True, False]),
        ("(style == 'ink') & (seed < 3)", [True, False]),
        ("`my col` == 'b' and not seed == 1", [False, True]),
        ("cafe\u0301 == 'x'", [True, False]),  # the column's name in another normal form
        (" or ".join(f"seed == {seed}" for seed in range(2, 90)), [False, True]),
    ],
)
def test_arithmetic_of_numbers_and_many_conditions_are_read(query: str, rows: list[bool]) -> None:
    assert list(matching_rows(TABLE, "positive", query)) == rows


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9**9 * 'a/b[1]'",
        "-" * 3000 + "'a/b[1]'",
        "1" + "0" * 400 + " * 'text/b[1]'",
        "1e308 * 1e308 * 'text/b[1]'",
        "'a/b[1]'" + " + 'a/b[1]'" * 2000,
        "'a/b[1]'\0",
    ],
)
def test_an_objective_without_end_is_refused_at_once_in_one_line(text: str) -> None:
    with pytest.raises(SearchError) as caught:
        parse_objective(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
