"""Rows of a source, and the stream of batches: every row once, in an order of its seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted_factors import SITE, recording

from clerestory.dictionaries.normalization import Normalization
from clerestory.dictionaries.sources import Division, RecordingSource, Rows, Source, to_rows
from clerestory.dictionaries.stream import ActivationStream, estimate
from clerestory.errors import DictionaryError


class Counting(Source):
    """Chunks of different sizes whose rows count from 0 on; no files."""

    site, sizes, repeats = "text.blocks.0/mlp", (3, 5, 2, 7), True

    def __init__(self, repeats=True):
        self.chunks, self.division, self.repeats = len(self.sizes), Division(), repeats
        self.read_chunks = []

    def identity(self):
        return {}

    def read(self, chunk, visit):
        self.read_chunks.append(chunk)
        start = sum(self.sizes[:chunk])
        values = np.arange(start, start + self.sizes[chunk], dtype=np.float32)
        return to_rows(values[:, None, None], [0], [None], None, np.random.default_rng(0))

    def _held_out(self):
        yield self.read(0, 0)


def first(stream, batches):
    return [next(stream)[:, 0].tolist() for _ in range(batches)]


def test_a_visit_has_every_row_once_and_the_next_one_another_order():
    stream = ActivationStream(Counting(), batch=1, buffer=6)
    numbers = [row for batch in first(stream, 34) for row in batch]
    assert sorted(numbers[:17]) == sorted(numbers[17:]) == list(range(17))
    assert numbers[:17] != numbers[17:]


def test_rows_that_fill_no_batch_go_into_the_next_buffer():
    stream = ActivationStream(Counting(), batch=4, buffer=6)
    numbers = [row for batch in first(stream, 17) for row in batch]
    # Four visits of 17 rows: 68 rows make 17 batches, and none is lost.
    assert sorted(numbers) == sorted(4 * list(range(17)))


@pytest.mark.parametrize("batches", [0, 1, 5, 11])
def test_a_stream_continues_where_another_stopped(batches):
    stream = ActivationStream(Counting(), batch=4, buffer=6, seed=3)
    first(stream, batches)
    place, remainder = stream.place, stream.remainder
    other = ActivationStream(Counting(), batch=4, buffer=6, seed=3)
    other.move(place, remainder)
    assert first(other, 12) == first(stream, 12)


def test_what_fits_into_the_buffer_is_read_once_unless_visits_differ():
    for repeats, times in ((True, 1), (False, 3)):
        source = Counting(repeats)
        first(ActivationStream(source, batch=17, buffer=100), 3)
        assert len(source.read_chunks) == 4 * times


def test_a_buffer_is_bounded_by_its_rows_and_one_chunk():
    stream = ActivationStream(Counting(), batch=2, buffer=6)
    for _ in range(30):
        next(stream)
        assert len(stream.rows) <= 6 + max(Counting.sizes)


def test_the_standard_normalisation_has_mean_0_and_mean_variance_1():
    values = torch.randn(5000, 3) * torch.tensor([1.0, 2.0, 4.0]) + 7
    scaled = estimate(values, "standard").apply(values)
    assert scaled.mean(0).abs().max() < 1e-4
    assert scaled.var(0, correction=0).mean() == pytest.approx(1, abs=1e-4)
    norms = estimate(values, "constant").apply(values).norm(dim=1)
    assert norms.mean() == pytest.approx(3**0.5, abs=1e-4)
    assert estimate(values, "none").kind == "none"
    with pytest.raises(DictionaryError, match="all alike"):
        estimate(torch.ones(4, 2), "standard")


def test_batches_are_normalised():
    stream = ActivationStream(Counting(), batch=17, buffer=17)
    stream.normalization = Normalization(mean=torch.tensor([10.0]), scale=torch.tensor([2.0]))
    assert sorted(first(stream, 1)[0]) == [(number - 10) / 2 for number in range(17)]


def test_positions_that_a_sample_lacks_give_no_row_and_steps_stay_with_their_rows():
    values = np.arange(24, dtype=np.float32).reshape(2, 2, 3, 2)
    values[1, :, 2] = np.nan
    rows = to_rows(values, [4, 9], [900.0, 100.0], None, np.random.default_rng(0))
    assert rows.values[:, 0].tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 18, 20]
    assert rows.steps.tolist() == [4, 4, 4, 9, 9, 9, 4, 4, 9, 9]
    assert rows.timesteps.tolist() == [900.0 if step == 4 else 100.0 for step in rows.steps]
    few = to_rows(values, [4, 9], [900.0, 100.0], 2, np.random.default_rng(0))
    # Two of each step, and those of the second sample are the two that it has.
    assert few.steps.tolist() == [4, 4, 9, 9] * 2
    assert set(few.values[4:, 0].tolist()) == {12, 14, 18, 20}


def test_all_samples_of_an_item_are_held_out_or_none(tmp_path):
    values = np.broadcast_to(np.arange(12.0)[:, None, None, None] % 4, (12, 1, 2, 3))
    source = RecordingSource(recording(tmp_path / "rec", values, items=4), SITE, Division(0.25))
    held_out = set(source.held_out().values[:, 0].tolist())
    trained = set(source.read(0, 0).values[:, 0].tolist())
    # The value of a row is the number of its item.
    assert len(held_out) == 1
    assert trained == {0, 1, 2, 3} - held_out


def test_one_item_cannot_be_divided(tmp_path):
    rec = recording(tmp_path / "rec", np.zeros((3, 1, 2, 3)), items=1)
    with pytest.raises(DictionaryError, match="give more prompts"):
        RecordingSource(rec, SITE, Division())


def test_held_out_rows_are_an_even_draw_within_their_limit(monkeypatch):
    monkeypatch.setattr("clerestory.dictionaries.sources.HELD_OUT_ROWS", 100)

    class Wide(Counting):
        def _held_out(self):
            for part in range(4):
                numbers = np.full((1000, 1), part, np.float32)
                yield Rows(numbers, np.zeros(1000, int), np.zeros(1000))

    counts = np.bincount(Wide().held_out().values[:, 0].astype(int), minlength=4)
    assert counts.sum() == 100
    assert counts.min() >= 10  # 25 expected of each part; fewer than 10 once in 100,000 draws
