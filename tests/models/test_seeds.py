import numpy as np
import pytest

from clerestory.errors import SeedError
from clerestory.models import check_seeds, parse_seeds


def test_seeds_are_ranges_lists_or_one():
    assert list(parse_seeds("0:4")) == [0, 1, 2, 3]
    assert list(parse_seeds("7")) == [7]
    assert list(parse_seeds("3, 9")) == [3, 9]


@pytest.mark.parametrize(
    "text",
    [
        "4:0",
        "0:0",
        "",
        "a:b",
        "1:2:3",
        "-1",
        "-2:4",
        "3,3",
        "1.5",
        ":",
        "0:1000000000",
        f"0:{2**64}",
        f"{2**63}",
        f"{2**63 - 1}:{2**63 + 1}",
    ],
)
def test_seeds_that_make_no_sense_are_refused_in_one_line(text):
    with pytest.raises(SeedError) as error:
        parse_seeds(text)
    assert "\n" not in str(error.value)


def test_numbers_of_any_kind_are_seeds():
    assert check_seeds(np.int64(3)) == (3,)
    assert check_seeds(np.arange(2)) == (0, 1)
    with pytest.raises(SeedError, match="no seed"):
        check_seeds(range(0))
