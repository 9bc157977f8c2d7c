"""Building and verifying in a region of the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from families import family_model

from clerestory.causal import verify
from clerestory.contrasts import ContrastSamples, contrast
from clerestory.errors import EditError, EvidenceError
from clerestory.steering import SteeredModel, steer

TEXT, SITE = "text.blocks.0/mlp", "denoiser.mid.res.0/out"
LETTERS = "abcdefghijklmnop"
TARGET = "python:steering.test_families:warm"


@pytest.fixture(scope="module")
def model():
    return family_model("stable_diffusion")


@pytest.fixture(scope="module")
def found(model):
    """Directions at the text and at a map."""
    rows = [
        (f"{lead}{word} {letter}", letter, f"{arm} {half} {word}", arm, half)
        for half, own in (("selection", LETTERS[:3]), ("evaluation", LETTERS[4:7]))
        for arm, lead in (("positive", "cat "), ("negative", ""))
        for word in (half[0], f"{half[0]} {half[1]}")
        for letter in own
    ]
    samples = pd.DataFrame(rows, columns=["prompt", "item", "phrase", "arm", "half"])
    samples = samples.assign(seed=0, template="")
    run = model.run(
        list(samples["prompt"]), 0, read=[TEXT, SITE], steps=1, pictures=False, progress=False
    )
    values = {site: run.read(site).mean("step").to_numpy() for site in (TEXT, SITE)}
    design = ContrastSamples(samples, from_pictures=False)
    return contrast(values, design, methods=("difference",))


def test_what_is_built_in_a_region_reports_both_sides_and_its_card_says_so(model, found, tmp_path):
    built = steer(
        model,
        found,
        f"{TARGET}=warm",
        "cat {item}",
        region="left half",
        items=[*LETTERS[:4], *LETTERS[8:12]],
        selection_items=4,
        evaluation_items=4,
        seeds=0,
        strengths=[40.0],
        baselines=2,
        progress=False,
    )
    (edit,) = built.steered.edits
    assert edit.region == "left half" and edit.site.partition("@")[0] == SITE
    change = built.calibration.region_change
    assert change.inside.mean > 0 and change.share == 0.5 and change.items == 4
    before, after = (
        built.pictures[name][:, 0].astype(float) / 255 for name in ("unedited", "edited")
    )
    squares = ((after - before) ** 2).mean(-1)
    inside = np.sqrt(squares[:, :, :8].mean((1, 2)))
    assert change.inside.mean == pytest.approx(inside.mean(), abs=1e-6)
    built.save(tmp_path / "steered")
    card = (tmp_path / "steered" / "card.md").read_text()
    assert "inside of the region" in card and "which is 50% of the picture" in card
    assert SteeredModel.load(tmp_path / "steered", model).edits[0].region == "left half"
    assert "inside of the region" in built.summary()


def test_what_is_verified_in_a_region_leaves_out_sites_without_a_picture(model, found):
    options = {"label": "warm", "items": 2, "seeds": 7, "baselines": 2, "maps": False}
    options |= {"classifier": TARGET, "progress": False}
    result = verify(found, model, region="right half", **options)
    assert {effect.unit.partition("[")[0] for effect in result.effects} == {SITE}
    assert all(effect.region_change.share == 0.5 for effect in result.effects)
    assert any("inside of the region" in sentence for sentence in result.sentences())
    assert result.provenance.options["region"] == "right half"
    with pytest.raises(EditError, match=f"{TEXT} has a region.*tokens of the prompt"):
        verify(found, model, region="right half", units=[f"{TEXT}[difference]"], **options)


def test_findings_without_a_site_of_the_picture_are_refused(model, found):
    options = {"items": list(LETTERS[8:]), "selection_items": 4, "evaluation_items": 4}
    options |= {"baselines": 0, "progress": False}
    with pytest.raises(EditError, match="tokens of the prompt"):
        steer(
            model, found, f"{TARGET}=warm", "cat {item}", region="centre", sites=[TEXT], **options
        )
    texts = replace(found, findings=tuple(f for f in found.findings if f.site == TEXT))
    with pytest.raises(EvidenceError, match=r"region is centre.*no direction at a site with pos"):
        steer(model, texts, f"{TARGET}=warm", "cat {item}", region="centre", **options)
    with pytest.raises(EditError, match=r"region is 'word:', which is empty"):
        verify(found, model, region="word:", classifier=TARGET, label="warm", progress=False)
