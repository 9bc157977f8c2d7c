"""In every family: built from a finding, saved, loaded, drawn with, and baked or refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from families import FAMILIES, family_model

from clerestory.contrasts import ContrastSamples, contrast
from clerestory.steering import SteeredModel, bake, steer

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
LETTERS = "abcdefghijklmnop"


def warm(pictures: np.ndarray) -> np.ndarray:
    """Whether red is more than blue, for `python:steering.test_families:warm`."""
    more = pictures[..., 0].mean((1, 2)) > pictures[..., 2].mean((1, 2))
    return np.stack([~more, more], 1).astype(np.float32)


warm.classes = ("cold", "warm")  # type: ignore[attr-defined]


def found(model, site):
    rows = [
        (f"{lead}{word} {letter}", letter, f"{arm} {half} {word}", arm, half)
        for half, own in (("selection", LETTERS[:4]), ("evaluation", LETTERS[4:8]))
        for arm, lead in (("positive", "cat "), ("negative", ""))
        for word in (half[0], half[1])
        for letter in own
    ]
    samples = pd.DataFrame(rows, columns=["prompt", "item", "phrase", "arm", "half"])
    samples = samples.assign(template="", seed=0)
    run = model.run(list(samples["prompt"]), 0, read=site, pictures=False)
    values = {site: run.read(site).mean("step").to_numpy()}
    return contrast(values, ContrastSamples(samples, from_pictures=False))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_steered_model_of_every_family(family, tmp_path):
    model = family_model(family)
    texts = [one.address for one in model.sites.values() if one.stage.startswith("text")]
    site = next(address for address in texts if address.endswith("/mlp"))
    built = steer(
        model,
        found(model, site),
        "python:steering.test_families:warm=warm",
        "cat {item}",
        items=[*LETTERS[:4], *LETTERS[8:12]],
        selection_items=4,
        evaluation_items=4,
        seeds=0,
        strengths=[0.0, 2.0],
        baselines=2,
        progress=False,
    )
    folder = built.save(tmp_path / "steered")
    again = SteeredModel.load(folder, model)
    assert (again.draw("a b", 3) == built.steered.draw("a b", 3)).all()
    assert set(built.steered.calibration["baselines"]) == {"unedited", "words", "shuffled"}
    made = bake(again, tmp_path / "baked")
    assert made.exact or made.refusals[0].reason
    if not made.exact:
        assert "one branch of guidance" in made.refusals[0].reason
        assert made.refusals[0].alternative is not None
