"""Activations as a tree, runs and models that are saved and pickled."""

import pickle
import sys

import numpy as np
import pytest
import xarray as xr
from families import FAMILIES, family_model
from helpers.bare_pipelines import DIFFUSERS_WARNINGS
from tiny import tiny_model, tiny_pipeline

from clerestory.errors import SiteError
from clerestory.models import load

pytestmark = DIFFUSERS_WARNINGS
SITES = ["text.blocks.0/mlp", "text.blocks.0/resid", "prior/embedding", "denoiser/latent"]
SMALL = {"height": 16, "width": 16, "steps": 2, "prior_steps": 2}


@pytest.fixture(scope="module")
def run():
    return tiny_model().run(["a cat", "a dog"], (3, 7), read=SITES, **SMALL)


def test_the_tree_has_a_group_for_each_site_with_the_numbers_that_were_read(run):
    tree = run.activations
    for site in SITES:
        value = tree[site]["value"]
        assert value.dims == ("sample", "step", "unit")
        assert np.array_equal(value, run.site_values[site].array())
        assert np.array_equal(value, run.read(site))
    assert list(tree["prompt"].values) == ["a cat", "a cat", "a dog", "a dog"]
    assert list(tree["seed"].values) == [3, 7, 3, 7]
    assert {"timestep", "sigma"} <= set(tree["denoiser/latent"].coords)
    assert "timestep" not in tree["text.blocks.0/mlp"].coords
    assert tree.attrs["branch"] == "cond"


def test_groups_share_the_roots_samples(run):
    tree = run.activations.isel(sample=[2, 3])
    assert tree["text.blocks.0/mlp/value"].shape[0] == tree["denoiser/latent/value"].shape[0] == 2
    assert list(tree["text.blocks.0/mlp"].sample.values) == [2, 3]


def test_positions_are_kept_where_they_are_not_pooled():
    run = tiny_model().run("a cat", 0, read=SITES[0], pool="none", pictures=False)
    assert run.activations[SITES[0]]["value"].dims == ("sample", "step", "position", "unit")


@pytest.mark.parametrize("engine", ["zarr", "h5netcdf"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_a_tree_is_saved_and_opened_again_with_its_names(run, engine, tmp_path):
    if engine == "zarr":
        run.activations.to_zarr(tmp_path / "tree")
    else:
        pytest.importorskip("h5netcdf")
        run.activations.to_netcdf(tmp_path / "tree", engine=engine)
    with xr.open_datatree(tmp_path / "tree", engine=engine) as opened:
        assert opened.identical(run.activations)


def test_a_run_survives_pickling(run):
    copy = pickle.loads(pickle.dumps(run))
    assert np.array_equal(copy.pictures, run.pictures)
    assert copy.activations.identical(run.activations)
    assert copy.samples.equals(run.samples)
    assert len(pickle.dumps(run)) < 2 * sum(run.site_values[s].array().nbytes for s in SITES) + 2e5


def test_a_part_of_a_site_is_read_by_address(run):
    units = run.read("text.blocks.0/mlp[2,5]")
    assert np.array_equal(units, run.site_values[SITES[0]].array()[..., [2, 5]])
    assert list(units.unit.values) == [2, 5] and units.prompt.values[0] == "a cat"
    assert run.read("denoiser/latent@1").sizes["step"] == 1
    with pytest.raises(SiteError, match=r"No site that was read is called 'text\.blocks\.1/mlp'"):
        run.read("text.blocks.1/mlp")
    with pytest.raises(SiteError, match="step 9 of denoiser/latent was not read"):
        run.read("denoiser/latent@9")


def test_a_runs_name_is_short(run):
    assert repr(run) == "Run(4 samples, pictures of 16×16, 4 sites)"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_a_pipeline_is_pickled_with_its_pipeline(family):
    model = family_model(family)
    expected = model.run("a cat", 1).pictures
    copy = pickle.loads(pickle.dumps(model))
    assert (copy.name, copy.defaults, list(copy.sites)) == (
        model.name,
        model.defaults,
        list(model.sites),
    )
    assert np.array_equal(copy.run("a cat", 1).pictures, expected)


def test_a_model_of_a_folder_is_pickled_by_its_name(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path / "tiny")
    model = load(tmp_path / "tiny", device="cpu")
    model.defaults = model.defaults.replace(**SMALL)
    raw = pickle.dumps(model)
    assert len(raw) < 10_000
    copy = pickle.loads(raw)
    assert copy.name == model.name
    assert np.array_equal(copy.run("a cat", 1).pictures, model.run("a cat", 1).pictures)


def test_a_run_shows_no_bars_where_nobody_is_looking(capfd, monkeypatch):
    tiny_model().run("a cat", **SMALL)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    tiny_model().run("a cat", **SMALL, progress=False)
    assert capfd.readouterr() == ("", "")
    tiny_model().run("a cat", **SMALL)
    assert "drawing" in capfd.readouterr().err


def test_a_silenced_caller_silences_the_runs_within(capfd, monkeypatch):
    from clerestory.reporting.progress import progress_bars

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bars(False):
        tiny_model().run("a cat", **SMALL)
    assert capfd.readouterr() == ("", "")
    tiny_model().run("a cat", **SMALL)
    assert "drawing" in capfd.readouterr().err
