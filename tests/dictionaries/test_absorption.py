"""Absorption where it is known which latent carries the concept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from clerestory.dictionaries import Dictionary
from clerestory.dictionaries.absorption import absorption
from clerestory.dictionaries.kinds.relu import ReLU
from clerestory.dictionaries.normalization import Normalization
from clerestory.errors import DictionaryError

ANIMAL, HORSE, ITEM = 0, 1, 2
"""Latents: the concept, a more specific one, and one that has nothing to do with it."""


def planted(horse=(1.0, 1.0, 0.0), scale=1.0):
    """Three units and three latents; that of horses also has the direction of animals."""
    decoder = torch.tensor([[1.0, 0.0, 0.0], list(horse), [0.0, 0.0, 1.0]])
    return Dictionary(
        encoder=torch.eye(3),
        encoder_bias=torch.zeros(3),
        decoder=decoder,
        decoder_bias=torch.zeros(3),
        activation=ReLU(),
        normalization=Normalization(scale=torch.tensor([scale])),
    )


def measured(latents, dictionary=None, main=(ANIMAL,)):
    dictionary = dictionary or planted()
    latents = np.array(latents, dtype=np.float64)
    values = dictionary.decode(torch.from_numpy(latents).float()).numpy()
    without = (np.zeros(3), np.zeros(3))
    return absorption(dictionary, values, latents, np.array([2.0, 0, 0]), list(main), without)


def test_nothing_is_absorbed_where_the_main_latent_carries_the_concept():
    result = measured([[1.0, 0.0, 5.0], [2.0, 0.0, 1.0]])
    assert (result.samples, result.full, result.fraction) == (2, 0.0, 0.0)


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_a_specific_latent_absorbs_the_concept_of_a_third_of_the_samples(scale):
    samples = [[1.0, 0.0, 5.0], [1.0, 0.0, 0.0], [0.0, 1.0, 5.0]]
    result = measured(samples, planted(scale=scale))
    assert result.full == pytest.approx(1 / 3) and result.fraction == pytest.approx(1 / 3)


def test_a_part_of_the_concept_is_absorbed_where_both_are_active():
    # Half of each projection is the main latent's: partly absorbed, and not in full.
    result = measured([[1.0, 1.0, 0.0], [1.0, 1.0, 3.0]])
    assert result.full == 0.0 and result.fraction == pytest.approx(0.5)


def test_a_latent_without_the_direction_absorbs_nothing():
    result = measured([[1.0, 0.0, 9.0], [1.0, 9.0, 0.0]], planted(horse=(0.0, 1.0, 0.0)))
    assert result.full == 0.0 and result.fraction == 0.0


def test_what_samples_without_the_concept_have_too_is_carried_by_no_latent():
    dictionary = planted(horse=(0.9, 0.1, 0.0))
    latents = np.array([[1.0, 4.0, 0.0], [1.0, 4.0, 1.0]])
    values = dictionary.decode(torch.from_numpy(latents).float()).numpy()
    common = np.array([0.0, 4.0, 0.0])
    without = (dictionary.decode(torch.from_numpy(common).float()).numpy(), common)
    result = absorption(dictionary, values, latents, np.array([1.0, 0, 0]), [ANIMAL], without)
    assert result.samples == 2 and result.fraction == 0.0


def test_a_concept_that_moves_nothing_is_in_no_sample():
    result = measured([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]])
    assert result.samples == 0 and np.isnan(result.full) and np.isnan(result.fraction)


@pytest.mark.parametrize("change", [{"main": []}, {"direction": np.zeros(3)}])
def test_no_main_latent_and_no_direction_are_refused(change):
    arguments = {"direction": np.ones(3), "main": [0], "without": (np.zeros(3), np.zeros(3))}
    dictionary = replace(planted(), site="prior/embedding")
    with pytest.raises(DictionaryError, match="needs a main latent"):
        absorption(dictionary, np.ones((2, 3)), np.ones((2, 3)), **{**arguments, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dictionary": replace(planted(), output_site="prior/embedding")}, "transcoder"),
        ({"main": [3]}, "from 0 to 2"),
        ({"main": [-1]}, "from 0 to 2"),
        ({"values": np.ones((2, 4))}, r"values have the shape \[2, 4\]"),
        ({"latents": np.ones((3, 3))}, r"latents have the shape \[3, 3\]"),
        ({"values": np.full((2, 3), np.nan)}, "not finite"),
        ({"without": (np.zeros(3), np.zeros(2))}, "mean latents"),
    ],
)
def test_what_does_not_fit_the_dictionary_is_refused(change, message):
    arguments = {
        "dictionary": planted(),
        "values": np.ones((2, 3)),
        "latents": np.ones((2, 3)),
        "direction": np.ones(3),
        "main": [0],
        "without": (np.zeros(3), np.zeros(3)),
    }
    with pytest.raises(DictionaryError, match=message):
        absorption(**{**arguments, **change})


def test_directions_are_what_latents_decode_to():
    dictionary = planted(scale=7.0)
    one = dictionary.decode_difference(torch.eye(3))
    assert torch.equal(dictionary.directions, one)
    assert dictionary.directions[ANIMAL].tolist() == [7.0, 0.0, 0.0]
