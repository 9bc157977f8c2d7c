import numpy as np
import pytest
import torch

from clerestory.edits import Add
from clerestory.errors import EditError

VALUE = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
DIRECTION = np.arange(5.0)


def test_add_moves_every_position_by_strength_times_scale_times_direction():
    moved = Add("a/mlp", DIRECTION, strength=2.0, scale=0.25)(VALUE) - VALUE
    assert torch.allclose(moved, 0.5 * torch.arange(5.0).expand(3, 4, 5), atol=1e-6)


def test_strengths_can_differ_by_sample():
    edit = Add("a/mlp", DIRECTION, [0.0, 1.0, -2.0])
    moved = edit(VALUE) - VALUE
    assert torch.allclose(moved[:, 0, 1], torch.tensor([0.0, 1.0, -2.0]), atol=1e-6)
    assert torch.equal(edit.at([1, 2])(VALUE[1:]), edit(VALUE)[1:])


def test_a_strength_of_zero_changes_nothing_and_input_is_left_alone():
    before = VALUE.clone()
    assert torch.equal(Add("a/mlp", DIRECTION, 0.0)(VALUE), VALUE)
    Add("a/mlp", DIRECTION)(VALUE)
    assert torch.equal(VALUE, before)


def test_the_dtype_stays():
    assert Add("a/mlp", DIRECTION)(VALUE.half()).dtype == torch.float16


def test_in_deviations_a_strength_of_one_is_one_standard_deviation():
    activations = np.random.default_rng(0).normal(size=(500, 5)) * [1, 1, 1, 1, 7]
    edit = Add.in_deviations("a/mlp", [0, 0, 0, 0, 3.0], activations)
    assert edit(torch.zeros(1, 1, 5))[0, 0, 4].item() == pytest.approx(activations[:, 4].std())


def test_the_direction_is_kept_as_it_was():
    given = DIRECTION.copy()
    edit = Add("a/mlp", given)
    given[:] = 0
    assert edit.vector.tolist() == DIRECTION.tolist()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"direction": [[1.0, 2.0]]}, "shape"),
        ({"direction": [1.0, float("nan")]}, "finite"),
        ({"strength": float("inf")}, "finite"),
        ({"strength": [[1.0]]}, r"strength\[0\] is \[1.0\]; it must be a valid number"),
        ({"site": "a/mlp[3]"}, "not units or heads"),
    ],
)
def test_what_cannot_be_added_is_refused(arguments, words):
    with pytest.raises(EditError, match=words):
        Add(**{"site": "a/mlp", "direction": DIRECTION, **arguments})


def test_a_direction_or_strengths_that_do_not_fit_are_refused():
    with pytest.raises(EditError, match="is for 5 units and the site has 4"):
        Add("a/mlp", DIRECTION)(VALUE[..., :4])
    with pytest.raises(EditError, match="2 strengths for 3 samples"):
        Add("a/mlp", DIRECTION, [1.0, 2.0])(VALUE)
    with pytest.raises(EditError, match="the run has more samples"):
        Add("a/mlp", DIRECTION, [1.0, 2.0]).at([1, 2])
    with pytest.raises(EditError, match="zero"):
        Add.in_deviations("a/mlp", np.zeros(5), VALUE[0].numpy())
