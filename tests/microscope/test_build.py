"""What `build` writes, against the recording itself."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers.recordings import factorial, recording_of

from clerestory.errors import EvidenceError, OutputError, RecordingError, SiteError
from clerestory.microscope import Microscope, Themes, build
from clerestory.microscope.views import Views
from clerestory.naming import may_be_shown
from clerestory.recordings import record
from microscope.conftest import MIDDLE, MLP, PROMPTS

building = sys.modules["clerestory.microscope.build"]
"""The module; the package has a function of the same name."""


def test_galleries_are_the_ends_of_the_recorded_values(built, recorded):
    microscope = Microscope(built)
    values = recorded[0].read(MLP).to_numpy().mean(1)
    may = np.array([may_be_shown(prompt) for prompt in PROMPTS])
    unit = microscope.unit(MLP, 5)
    own = np.where(may, values[:, 5], -np.inf)
    assert unit.figure("most")[0] == own.argmax()
    assert may[unit.figure("most")].all() and may[unit.figure("least")].all()
    assert unit.figure("values") == pytest.approx(values[:, 5])
    assert float(unit.figure("mean")) == pytest.approx(values[:, 5].mean(), abs=1e-6)


def test_about_half_of_the_prompts_is_kept_back_whatever_their_order():
    marks = [may_be_shown(f"a prompt {number}") for number in range(1000)]
    assert 450 < sum(marks) < 550


def test_where_a_unit_is_high_is_what_was_recorded(built, recorded):
    microscope = Microscope(built)
    values = recorded[1].read(MIDDLE).to_numpy().mean(1)
    unit = microscope.unit(MIDDLE, 3)
    best = int(unit.figure("most")[0])
    place = int(np.flatnonzero(unit.figure("where-samples") == best)[0])
    heat = np.asarray(unit.figure("where")[place], float)
    plain = values[best, :, 3]
    assert heat.size == plain.size > 1
    assert heat.ravel().argmax() == plain.argmax()
    assert unit.figure("values")[best] == pytest.approx(plain.mean(), rel=1e-3, abs=1e-4)


def test_related_units_are_of_the_same_recording_and_never_the_unit_itself(built):
    microscope = Microscope(built)
    first, second = (microscope.unit(site, 0) for site in (MLP, MIDDLE))
    width = first.site.units
    assert (first.figure("near") < width).all() and (second.figure("near") >= width).all()
    assert 0 not in first.figure("near") and width not in second.figure("near")
    other = microscope.at(int(first.figure("near")[0]))
    r = np.corrcoef(first.figure("values"), other.figure("values"))[0, 1]
    assert float(first.figure("near-r")[0]) == pytest.approx(r, abs=1e-5)


def test_a_killed_build_goes_on_and_ends_the_same(recorded, built, tmp_path, monkeypatch):
    whole = building._save_site

    def dies(recording, one, folder, out):
        if one.address == MIDDLE:
            raise KeyboardInterrupt
        whole(recording, one, folder, out)

    monkeypatch.setattr(building, "_save_site", dies)
    with pytest.raises(KeyboardInterrupt):
        build(recorded, tmp_path / "scope")
    with pytest.raises(RecordingError, match="not built to its end"):
        Microscope(tmp_path / "scope")
    done = []
    monkeypatch.setattr(
        building, "_save_site", lambda *how: (done.append(how[1].address), whole(*how))
    )
    build(recorded, tmp_path / "scope")
    assert done == [MIDDLE]
    for name in ("most", "values", "near", "near-r"):
        for site in (MLP, MIDDLE):
            one, two = (
                Microscope(at).sites[site].figure(name) for at in (built, tmp_path / "scope")
            )
            assert np.array_equal(one, two)


def test_damaged_figures_and_pictures_are_told_and_built_again(recorded, scope):
    first, second = scope / "sites" / "000", scope / "sites" / "001"
    (picture, other) = sorted((scope / "pictures").rglob("*.png"))[:2]
    damaged = [first / "values.npy", first / "most.npy", second / "near.npy", picture, other]
    whole = {path: path.read_bytes() for path in damaged}
    raw = bytearray(whole[damaged[0]])
    raw[-2] ^= 8
    damaged[0].write_bytes(raw)
    damaged[1].unlink()
    damaged[2].write_bytes(whole[damaged[2]][:-9])
    picture.write_bytes(whole[picture][:-40])
    other.write_bytes(b"")
    for site, name in ((MLP, "values"), (MLP, "most"), (MIDDLE, "near")):
        with pytest.raises(RecordingError) as caught:
            Microscope(scope).sites[site].figure(name)
        assert "\n" not in str(caught.value)
    build(recorded, scope)
    assert {path: path.read_bytes() for path in damaged} == whole


def test_a_part_of_a_site_is_refused_rather_than_numbered_from_zero(tmp_path):
    table = factorial(items=40, phrases=1)
    values = np.random.default_rng(0).normal(size=(len(table), 1, 3)).astype("f4")
    recording = recording_of(table, {MLP: values}, tmp_path / "rec")
    with pytest.raises(SiteError, match="selects a part of a site"):
        build([recording], tmp_path / "scope", sites=f"{MLP}[1]")
    layout = recording.store.layouts[MLP]
    units = replace(layout, labels={**layout.labels, "unit": [7, 8, 9]})
    recording.store.layouts[MLP] = units
    with pytest.raises(RecordingError, match=r"only some of .* were recorded"):
        build([recording], tmp_path / "scope")


def test_positions_that_a_prompt_lacks_are_no_values(tmp_path):
    table = factorial(items=40, phrases=1)
    values = np.random.default_rng(0).normal(size=(len(table), 1, 4, 3)).astype("f4")
    # Every third prompt has two positions of four.
    values[::3, :, 2:] = np.nan
    recording = recording_of(table, {MLP: values}, tmp_path / "rec")
    site = build([recording], tmp_path / "scope").sites[MLP]
    assert np.allclose(site.figure("values").T, np.nanmean(values[:, 0], 1), atol=1e-6)
    assert not site.has("where")


def test_what_cannot_be_built_is_told(recorded, built, tmp_path, model):
    with pytest.raises(OutputError, match="other recordings or sites"):
        build(recorded[:1], built)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(OutputError, match="not empty"):
        build(recorded, tmp_path / "full")
    with pytest.raises(RecordingError, match="in two of the recordings"):
        build([recorded[0], recorded[0]], tmp_path / "twice")
    with pytest.raises(RecordingError, match="several or none"):
        build([], tmp_path / "none")
    few = record(model, PROMPTS[:20], sites=MLP, out=tmp_path / "few")
    with pytest.raises(EvidenceError, match="60 or more"):
        build([few], tmp_path / "less")
    with pytest.raises(RecordingError, match=r"holds no microscope: .*`microscope build --out`"):
        Microscope(tmp_path)


def test_units_that_there_are_not_are_told(built):
    microscope = Microscope(built)
    assert microscope.named(f"{MLP}[3]") == microscope.named(f"{MLP}/3")
    for site, number, problem in (
        (MLP, 9999, "units 0 to"),
        ("text", 0, "no site"),
        (MLP, "x", "units 0"),
    ):
        with pytest.raises(SiteError, match=problem):
            microscope.unit(site, number)


def test_sites_open_on_units_that_a_word_tells_apart_in_held_out_prompts(tmp_path):
    """Of six units the last is raised by a word, the first by a word on visible prompts alone."""
    table = factorial(items=40, phrases=6)
    values = np.random.default_rng(0).normal(size=(len(table), 1, 6)).astype("f4")
    has_word = table["style"].eq("glass").to_numpy()
    visible = np.array([may_be_shown(prompt) for prompt in table["prompt"]])
    values[:, 0, 5] += 2 * has_word
    values[:, 0, 0] += 3 * (has_word & visible)
    recording = recording_of(table, {MLP: values}, tmp_path / "rec")
    microscope = build([recording], tmp_path / "scope")
    scores = microscope.sites[MLP].figure("selectivity")
    held_out = values[~visible, 0, 5]
    inside, outside = held_out[has_word[~visible]], held_out[~has_word[~visible]]
    auroc = (inside[:, None] > outside).mean()
    error = ((len(held_out) + 1) / (12 * len(inside) * len(outside))) ** 0.5
    assert scores[5] == pytest.approx(auroc - 2 * error, abs=1e-6) and scores[0] < 0.55
    views = Views(microscope, Themes(tmp_path / "scope" / "themes.sqlite"))
    assert views.site(MLP)["rows"][0]["number"] == 5
    assert views.site(MLP, "number")["rows"][0]["number"] == 0
    (first,) = views.model()["interesting"]
    assert (first["unit"], first["word"]) == (f"{MLP}[5]", "glass")
