"""Which terms need no noise."""

import families
import pytest
from tiny import tiny_model

from clerestory.evaluation import unit
from clerestory.evaluation.terms import is_seed_independent


def terms(address):
    return [term for _, term in unit(address).terms]


@pytest.mark.parametrize(
    ("stage", "alike"), [("text", True), ("prior", False), ("denoiser", False)]
)
def test_a_pipeline_of_no_known_family_has_noise_beyond_its_text(stage, alike):
    model = families.small_model(families.built(families.unknown_pipeline))
    site = next(site.address for site in model.sites.values() if site.stage == stage)
    assert is_seed_independent(model, terms(f"{site}[0]")) is alike


def test_of_a_known_one_text_is_noiseless_and_the_prior_is_not():
    model = tiny_model()
    assert is_seed_independent(model, terms("text/pooled[0]"))
    assert not is_seed_independent(model, terms("text/pooled[0]"), ["prior/embedding"])
