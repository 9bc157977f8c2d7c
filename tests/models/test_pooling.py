import pytest
import torch

from clerestory.models.core.pooling import Pooler

VALUE = torch.tensor([[[1.0], [2.0], [3.0], [4.0], [50.0]], [[9.0], [5.0], [7.0], [8.0], [60.0]]])
REAL = torch.tensor([[False, True, True, False], [False, True, False, False]])


def test_only_real_tokens_and_what_follows_the_window_are_counted():
    assert Pooler("mean", REAL)(VALUE[:, :4]).flatten().tolist() == [2.5, 5.0]
    assert Pooler("max", REAL)(VALUE[:, :4]).flatten().tolist() == [3.0, 5.0]
    assert Pooler("mean", REAL)(VALUE).flatten().tolist() == pytest.approx([55 / 3, 32.5])


def test_last_is_end_of_text_or_the_last_of_the_priors_tokens():
    assert Pooler("last", REAL)(VALUE[:, :4]).flatten().tolist() == [3.0, 5.0]
    assert Pooler("last", REAL)(VALUE).flatten().tolist() == [50.0, 60.0]


def test_where_positions_are_no_tokens_all_count():
    assert Pooler("mean", None)(VALUE)[0].item() == 12.0
    assert Pooler("last", None)(VALUE)[0].item() == 12.0
    assert Pooler("max", None)(VALUE)[0].item() == 50.0
    assert Pooler("none", REAL)(VALUE).shape == (2, 5, 1)


def test_one_pooler_serves_sites_with_and_without_positions_after_the_window():
    mean = Pooler("mean", REAL)
    for _ in range(2):
        assert mean(VALUE[:, :4]).flatten().tolist() == [2.5, 5.0]
        assert mean(VALUE).flatten().tolist() == pytest.approx([55 / 3, 32.5])
