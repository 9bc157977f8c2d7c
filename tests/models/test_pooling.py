import pytest
import torch

from clerestory.models.pooling import pooled

VALUE = torch.tensor([[[1.0], [2.0], [3.0], [4.0], [50.0]], [[9.0], [5.0], [7.0], [8.0], [60.0]]])
REAL = torch.tensor([[False, True, True, False], [False, True, False, False]])


def test_only_real_tokens_and_what_follows_the_window_are_counted():
    assert pooled(VALUE[:, :4], "mean", REAL).flatten().tolist() == [2.5, 5.0]
    assert pooled(VALUE[:, :4], "max", REAL).flatten().tolist() == [3.0, 5.0]
    assert pooled(VALUE, "mean", REAL).flatten().tolist() == pytest.approx([55 / 3, 32.5])


def test_last_is_end_of_text_or_the_last_of_the_priors_tokens():
    assert pooled(VALUE[:, :4], "last", REAL).flatten().tolist() == [3.0, 5.0]
    assert pooled(VALUE, "last", REAL).flatten().tolist() == [50.0, 60.0]


def test_where_positions_are_no_tokens_all_count():
    assert pooled(VALUE, "mean", None)[0].item() == 12.0
    assert pooled(VALUE, "last", None)[0].item() == 12.0
    assert pooled(VALUE, "max", None)[0].item() == 50.0
    assert pooled(VALUE, "none", REAL).shape == (2, 5, 1)
