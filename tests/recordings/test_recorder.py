"""What a recording holds, how it is resumed, and what is refused before anything is drawn."""

import errno
import os
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import tiny_model

from clerestory.errors import OutputError, PromptError, RecordingError, SeedError, SiteError
from clerestory.io import parquet
from clerestory.recordings import Recording, Store, make_plan, record, record_plan, survey
from clerestory.recordings.folder import Folder
from clerestory.recordings.writer import fill_chunk, start_recording
from recordings.small import HOW, PROMPTS, contents, recorded


def test_a_recording_holds_what_a_run_of_the_same_batches_gives(tmp_path):
    recording = recorded(tmp_path / "rec")
    for first in (0, 4, 16):
        prompts = [PROMPTS[first // 2]]
        run = tiny_model().run(prompts, (0, 1), read=HOW["sites"], steps=2, prior_steps=2)
        for site in recording.sites:
            kept = recording.read(site).isel(sample=slice(first, first + 2)).to_numpy()
            assert np.array_equal(kept, run.read(site).to_numpy().astype(np.float16)), site
        assert np.array_equal(recording.pictures([first, first + 1]), run.pictures)


def test_samples_are_prompt_by_prompt_with_their_factors(tmp_path):
    table = pd.DataFrame({"style": ["ink", "oil"], "prompt": ["a cat", "a dog"], "size": [1, 2]})
    recording = recorded(tmp_path / "rec", table, (3, 7), pictures=False, sites="text.*/mlp")
    assert list(recording.samples["prompt"]) == ["a cat", "a cat", "a dog", "a dog"]
    assert list(recording.samples["seed"]) == [3, 7, 3, 7]
    assert list(recording.samples.query("style == 'oil' and size > 1").index) == [2, 3]
    array = recording.read("text.blocks.0/mlp")
    assert array["style"].to_numpy().tolist() == ["ink", "ink", "oil", "oil"]
    assert array.dims == ("sample", "step", "unit")


def test_what_could_not_be_read_again_is_refused_before_anything_is_drawn(tmp_path, monkeypatch):
    model = tiny_model()
    plan = make_plan(model, PROMPTS, (0, 1), **HOW)
    monkeypatch.setattr(parquet, "SMALL_TABLE", -200 * 2**20)
    monkeypatch.setattr("clerestory.recordings.writer.survey", lambda *_: pytest.fail("drawn"))
    with pytest.raises(RecordingError, match=r"The plan has .* unpacked bytes, more than"):
        record_plan(model, plan, tmp_path / "rec")
    assert [path.name for path in tmp_path.glob("rec/*")] == [".lock"]
    monkeypatch.setattr("clerestory.recordings.prompts.MAX_ROWS", 20)
    with pytest.raises(RecordingError, match=r"The plan has .* samples, more than the 20"):
        make_plan(model, PROMPTS, range(20), **HOW)


def test_arrays_are_read_from_disk_only_where_they_are_used(tmp_path, monkeypatch):
    from zarr.storage import LocalStore

    recording = recorded(tmp_path / "rec")
    read, get = [], LocalStore.get

    async def noted(self, key, *args):
        read.extend([key] * ("value/c" in key))
        return await get(self, key, *args)

    monkeypatch.setattr(LocalStore, "get", noted)
    array = recording.read("text.blocks.0/mlp")
    part = array.isel(sample=[3], unit=[0])
    assert read == []
    assert part.to_numpy().shape == (1, 1, 1)
    assert read == ["text.blocks.0/mlp/value/c.0.0.0"]


def test_units_steps_and_positions_are_kept_as_asked(tmp_path):
    read = "denoiser.mid.res.0/out[2,5]@1,text.blocks.1/mlp"
    recording = recorded(tmp_path / "rec", sites=read, pool="none")
    run = tiny_model().run(PROMPTS[:1], (0, 1), read=read, pool="none", steps=2, prior_steps=2)
    for site in run.site_values:
        array = run.read(site)
        mine = recording.read(site).isel(sample=slice(0, 2))
        assert mine.dims == array.dims
        for axis in ("step", "unit", "timestep", "sigma"):
            if axis in array.coords:
                assert np.array_equal(mine[axis], array[axis]), axis
        assert np.array_equal(mine.to_numpy(), array.to_numpy().astype(np.float16))


def test_pictures_are_not_drawn_where_none_are_wanted(tmp_path):
    def fail(*args):
        raise AssertionError("the denoiser was called")

    hook = tiny_model().pipeline.unet.register_forward_pre_hook(fail)
    try:
        recording = recorded(tmp_path / "rec", pictures=False, sites="text.*/mlp")
    finally:
        hook.remove()
    with pytest.raises(RecordingError, match="holds no pictures"):
        recording.pictures(0)


def test_the_same_call_goes_on_where_another_stopped(tmp_path, monkeypatch):
    whole = recorded(tmp_path / "whole")
    calls = []
    monkeypatch.setattr(
        "clerestory.recordings.writer.fill_chunk",
        lambda store, model, chunk, tell: (
            calls.append(chunk) or fill_chunk(store, model, chunk, tell)
        ),
    )
    recorded(tmp_path / "rec")
    store = Store(tmp_path / "rec")
    for chunk in (1, 4):
        store.remove_marker(chunk)
    half = Recording.open(tmp_path / "rec")
    assert half.samples["done"].sum() == 12
    assert half.read("prior/embedding")["sample"].to_numpy().tolist() == [
        *range(4),
        *range(8, 16),
    ]
    with pytest.raises(RecordingError, match=r"Sample 5 .* is not drawn"):
        half.pictures([0, 5])
    calls.clear()
    reports = []
    recorded(tmp_path / "rec", progress=lambda label, done, of: reports.append((done, of)))
    assert calls == [1, 4]
    assert reports == [(done, 20) for done in (12, 14, 16, 18, 20)]
    assert contents(tmp_path / "rec") == contents(whole.store.folder.root)


def test_another_plan_in_the_same_folder_is_refused_with_the_differences(tmp_path):
    recorded(tmp_path / "rec")
    before = contents(tmp_path / "rec")
    for other, words in (
        ({"steps": 3}, r"options\.steps: 2 there, 3 here"),
        ({"pool": "max"}, 'pool: "mean" there, "max" here'),
        ({"sites": "text.*/mlp"}, r"read\.prior/embedding: .* there, nothing here"),
        ({"seeds": (0, 2)}, "other prompts, seeds or factors"),
        ({"chunk": 6}, "chunk: 4 there, 6 here"),
    ):
        with pytest.raises(RecordingError, match=words) as caught:
            recorded(tmp_path / "rec", **other)
        assert "\n" not in str(caught.value)
    assert contents(tmp_path / "rec") == before


def test_another_model_is_refused(tmp_path):
    recorded(tmp_path / "rec")
    other = tiny_model(1)
    other.name, name = "another", other.name
    try:
        with pytest.raises(RecordingError, match=r'model\.name: "tiny" there, "another" here'):
            record(other, PROMPTS, (0, 1), out=tmp_path / "rec", **HOW)
    finally:
        other.name = name


def test_a_kill_while_a_file_of_the_plan_is_written_leaves_a_folder_to_go_on_with(tmp_path):
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec" / "samples.parquet.123.partial").write_bytes(b"half")
    (tmp_path / "rec" / "manifest.json.123.partial").write_bytes(b"half")
    assert recorded(tmp_path / "rec").samples["done"].all()
    assert not list((tmp_path / "rec").rglob("*.partial"))


def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.setattr("clerestory.recordings.writer.survey", None)  # refused before a dry batch
    with pytest.raises(OutputError, match=r"not empty .it has mine\.txt"):
        recorded(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_second_recorder_is_refused_until_the_first_has_ended(tmp_path):
    folder = Folder(tmp_path / "rec")
    with folder.lock(), pytest.raises(RecordingError, match="Somebody else is recording"):
        recorded(tmp_path / "rec")
    assert recorded(tmp_path / "rec").samples["done"].all()


def test_the_number_of_threads_is_that_of_the_beginning(tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        recorded(tmp_path / "rec")
        store = Store(tmp_path / "rec")
        kept = contents(tmp_path / "rec")
        store.remove_marker(2)
        torch.set_num_threads(2)
        seen = []
        tap = tiny_model().pipeline.prior_text_encoder.register_forward_hook(
            lambda *_: seen.append(torch.get_num_threads())
        )
        recorded(tmp_path / "rec")
        tap.remove()
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
        assert contents(tmp_path / "rec") == kept
    finally:
        torch.set_num_threads(before)


def test_a_sample_that_is_not_finite_is_marked_and_the_job_goes_on(tmp_path, monkeypatch):
    from clerestory.models.core import sweeps as running

    row, swept = PROMPTS.index("a dog c"), running.run_sweep

    def spoilt(model, request, **options):
        bad = [place for place, one in enumerate(request.samples) if one.prompt == PROMPTS[row]]
        with before_projection(
            lambda value: value.index_fill(0, torch.tensor(bad, dtype=torch.long), torch.nan)
        ):
            return swept(model, request, **options)

    monkeypatch.setattr(running, "run_sweep", spoilt)
    recording = recorded(tmp_path / "rec", seeds=(0,), pictures=False, sites="text/pooled")
    assert recording.info()["bad"] == {row: "text/pooled: not finite"}
    assert recording.samples["bad"][row] == "text/pooled: not finite"
    assert recording.samples["done"].all()
    kept = recording.read("text/pooled")
    assert kept["sample"].to_numpy().tolist() == [one for one in range(10) if one != row]
    assert np.isfinite(kept.to_numpy()).all()


@contextmanager
def before_projection(change):
    """The tiny model, with what its last text layer takes changed."""
    layer = tiny_model().pipeline.prior_text_encoder.text_projection
    hook = layer.register_forward_pre_hook(lambda module, args: change(args[0]))
    try:
        yield
    finally:
        hook.remove()


def test_values_that_half_precision_cannot_hold_are_kept_in_float32(tmp_path):
    with before_projection(lambda value: value * 1e5):
        recording = recorded(tmp_path / "rec", pictures=False, sites="text/pooled,text.*/mlp")
        expected = tiny_model().run(PROMPTS[:1], (0, 1), read="text/pooled", pictures=False)
    kinds = {name: layout.dtype for name, layout in recording.store.layouts.items()}
    assert kinds["text/pooled"] == "float32"
    assert kinds["text.blocks.0/mlp"] == "float16"
    kept = recording.read("text/pooled").isel(sample=slice(0, 2))
    assert np.array_equal(kept.to_numpy(), expected.read("text/pooled").to_numpy())


def test_a_value_that_outgrows_half_precision_later_is_a_bad_sample(tmp_path):
    calls = []

    def grow(value):
        calls.append(1)
        return value * (1e6 if len(calls) > 3 else 1)

    with before_projection(grow):
        recording = recorded(tmp_path / "rec", pictures=False, sites="text/pooled")
    assert set(recording.info()["bad"]) == set(range(4, 20))
    assert recording.samples["bad"][4] == "text/pooled: beyond float16"


def test_a_full_disk_is_one_line_and_leaves_a_recording_to_go_on_with(tmp_path, monkeypatch):
    from zarr.storage import LocalStore

    whole = recorded(tmp_path / "whole")
    written, put = [], LocalStore.set

    async def full(self, key, value):
        if "value/c." in key:
            written.append(key)
            if len(written) > 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        await put(self, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "set", full)
        with pytest.raises(OutputError, match=r"is full: 8 of 20 samples are stored") as caught:
            recorded(tmp_path / "rec")
    assert "\n" not in str(caught.value)
    assert Recording.open(tmp_path / "rec").samples["done"].sum() == 8
    recorded(tmp_path / "rec")
    assert contents(tmp_path / "rec") == contents(whole.store.folder.root)


def test_what_cannot_be_recorded_is_refused_before_anything_is_written(tmp_path):
    for change, error in (
        ({"sites": "text.*/nothing"}, SiteError),
        ({"pool": "tokens:moose"}, PromptError),
        ({"prompts": []}, PromptError),
        ({"prompts": ["a cat", " "]}, PromptError),
        ({"seeds": ()}, SeedError),
        ({"batch": 0}, RecordingError),
        ({"chunk": 0}, RecordingError),
        ({"prompts": pd.DataFrame({"text": ["a cat"]})}, PromptError),
        ({"prompts": pd.DataFrame({"prompt": ["a cat"], "seed": [1]})}, PromptError),
    ):
        with pytest.raises(error):
            recorded(tmp_path / "rec", **{"pictures": False, "sites": "text.*/mlp", **change})
    assert not (tmp_path / "rec").exists()


def test_the_survey_says_what_the_recording_will_take(tmp_path):
    plan = make_plan(tiny_model(), PROMPTS, (0, 1), **HOW)
    found = survey(tiny_model(), plan)
    store = record_plan(tiny_model(), plan, tmp_path / "rec")
    info = Recording(store).info()
    raw = sum(layout.bytes for layout in found.layouts.values()) * 20
    assert found.bytes == raw
    assert found.samples == found.pictures == 20
    # Checksums add four bytes a file, compression of pictures takes some away.
    assert 0.7 * raw < info["bytes"] < 1.05 * raw
    assert "20 samples, 20 pictures" in found.line()


def test_plain_xarray_and_pandas_open_a_recording(tmp_path):
    import xarray as xr

    table = pd.DataFrame({"prompt": PROMPTS, "animal": ["cat"] * 5 + ["dog", None] + ["dog"] * 3})
    recording = recorded(tmp_path / "rec", table, sites=HOW["sites"] + ",text/pooled[2,5]")
    tree = xr.open_datatree(tmp_path / "rec" / "activations.zarr", engine="zarr")
    samples = pd.read_parquet(tmp_path / "rec" / "samples.parquet")
    assert tree["prompt"].to_numpy().tolist() == list(samples["prompt"])
    assert tree["seed"].to_numpy().tolist() == list(samples["seed"])
    assert tree["animal"].to_numpy().tolist() == list(samples["animal"].fillna(""))
    assert tree["complete"].to_numpy().all() and tree["sample"].size == 20
    assert {path for path in tree.groups if "value" in tree[path]} == {
        f"/{name}" for name in (*recording.sites, "pictures")
    }
    for site in recording.sites:
        values = tree[site].dataset["value"]
        assert values.dims == ("sample", "step", "unit")
        assert np.array_equal(values.to_numpy(), recording.read(site).to_numpy()), site
    assert tree["text/pooled"]["unit"].to_numpy().tolist() == [2, 5]
    assert tree["denoiser.mid.res.0/out"]["timestep"].dims == ("step",)
    assert np.array_equal(tree["pictures"]["value"][[3, 7]], recording.pictures([3, 7]))


def test_the_tree_is_that_of_plain_xarray_in_single_precision(tmp_path):
    import xarray as xr

    recording = recorded(tmp_path / "rec")
    plain = xr.open_datatree(tmp_path / "rec" / "activations.zarr", engine="zarr")
    tree = Recording.open(tmp_path / "rec").to_xarray()
    xr.testing.assert_equal(tree, plain)
    assert tree["text.blocks.0/mlp/value"].dtype == np.float32
    assert plain["text.blocks.0/mlp/value"].dtype == np.float16
    recording.store.remove_marker(1)
    plain = xr.open_datatree(tmp_path / "rec" / "activations.zarr", engine="zarr")
    assert plain["complete"].to_numpy().tolist() == [True] * 4 + [False] * 4 + [True] * 12
    tree = Recording.open(tmp_path / "rec").to_xarray()
    assert tree["sample"].to_numpy().tolist() == [*range(4), *range(8, 20)]


def test_a_kill_between_a_marker_and_its_coordinate_is_made_good(tmp_path):
    import xarray as xr

    store = recorded(tmp_path / "rec").store
    store.set_complete(2, complete=False)
    recorded(tmp_path / "rec")
    plain = xr.open_datatree(tmp_path / "rec" / "activations.zarr", engine="zarr")
    assert plain["complete"].to_numpy().all()


def test_positions_that_a_batch_lacks_are_nan_and_lengths_are_told(tmp_path, monkeypatch):
    from clerestory.models.core import sweeps as running

    site, swept = "text.blocks.0/mlp", running.run_sweep
    prompts = ["a cat", "a", "a dog at night", "a dog", "a cat at sea"]

    def ragged(model, request, **options):
        runs = swept(model, request, **options)
        longest = max(len(model.tokenize(sample.prompt)) for sample in request.samples)
        for run in runs:
            values = run.site_values[site]
            cut = [batch[:, :, :longest] for batch in values.batches]
            run.site_values[site] = replace(values, batches=cut)
        return runs

    monkeypatch.setattr(running, "run_sweep", ragged)
    how = {"sites": site, "pool": "none", "pictures": False, "batch": 1, "chunk": 2}
    recording = recorded(tmp_path / "rec", prompts, (0,), **how)
    lengths = [len(tiny_model().tokenize(prompt)) for prompt in prompts]
    group = recording.to_xarray()[site]
    assert group["length"].to_numpy().tolist() == lengths
    assert group.sizes["position"] == max(lengths) > min(lengths)
    assert (recording.samples["bad"] == "").all()
    there = np.isfinite(group["value"].to_numpy()).all((1, 3)).sum(1)
    assert there.tolist() == lengths
    # A pass over the rows has none of those that are no values.
    rows = np.concatenate(list(recording.batches(site, size=4)))
    assert len(rows) == sum(lengths) and np.isfinite(rows).all()


def test_a_recording_of_the_old_format_is_refused_in_one_line(tmp_path):
    recorded(tmp_path / "rec")
    manifest = tmp_path / "rec" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 5', '"format": 3'))
    with pytest.raises(RecordingError, match="of format 3, and this version reads 5 only") as found:
        Recording.open(tmp_path / "rec")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("harm", ["missing", "altered", "cut short"])
@pytest.mark.parametrize("name", ["text.blocks.0/mlp", "pictures"])
def test_a_damaged_chunk_is_an_error_in_whatever_reads_it(tmp_path, harm, name):
    recording = recorded(tmp_path / "rec")
    (path,) = (tmp_path / "rec/activations.zarr" / name / "value").glob("c.1.*")
    raw = path.read_bytes()
    path.unlink()
    if harm != "missing":
        path.write_bytes(raw[:-9] if harm == "cut short" else raw[:40] + b"\x99" + raw[41:])
    recording = Recording.open(tmp_path / "rec")
    readers = {
        "pictures": [lambda: recording.pictures([4, 5]), lambda: recording.pictures(range(20))],
        "text.blocks.0/mlp": [
            lambda: recording.read(name).to_numpy(),
            lambda: recording.to_xarray()[name]["value"].isel(sample=[5]).to_numpy(),
            lambda: list(recording.batches(name)),
            lambda: list(recording.chunks(name)),
        ],
    }
    for read in readers[name]:
        with pytest.raises(RecordingError):
            read()
    assert np.isfinite(recording.read("prior/embedding").to_numpy()).all()


def test_a_column_that_cannot_be_a_coordinate_is_refused(tmp_path):
    for column in ("text", "a/b", "__x", "complete"):
        table = pd.DataFrame({"prompt": ["a cat"], column: [1]})
        with pytest.raises(PromptError, match="rename it"):
            recorded(tmp_path / "rec", table, sites="text/pooled", pictures=False)


def test_batches_give_every_row_once_in_an_order_of_their_own(tmp_path):
    recording = recorded(tmp_path / "rec")
    site = "denoiser.mid.res.0/out"
    every = recording.read(site).to_numpy().reshape(-1, 24)
    parts = list(recording.batches(site, size=7, seed=1, buffer_chunks=2))
    assert [len(part) for part in parts] == [7] * 5 + [5]
    shuffled = np.concatenate(parts)
    assert not np.array_equal(shuffled, every)
    order = np.lexsort(every.T), np.lexsort(shuffled.T)
    assert np.array_equal(every[order[0]], shuffled[order[1]])
    again = np.concatenate(list(recording.batches(site, size=7, seed=1, buffer_chunks=2)))
    other = np.concatenate(list(recording.batches(site, size=7, seed=2, buffer_chunks=2)))
    assert np.array_equal(shuffled, again)
    assert not np.array_equal(shuffled, other)
    with pytest.raises(SiteError, match="a whole site"):
        next(recording.batches(site + "[3]"))


def test_a_place_in_an_object_store_will_do(tmp_path):
    import fsspec

    url = f"memory://{tmp_path.name}/rec"
    try:
        recorded(url)
        Store(url).remove_marker(3)
        assert Recording.open(url).samples["done"].sum() == 16
        recorded(url)
        local = recorded(tmp_path / "rec")
        assert contents(url) == contents(local.store.folder.root)
        assert np.array_equal(Recording.open(url).pictures([7]), local.pictures([7]))
    finally:
        fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


def test_a_plan_that_somebody_else_begins_meanwhile_is_not_begun_again(tmp_path, monkeypatch):
    import clerestory.recordings.writer as room

    whole = recorded(tmp_path / "whole")
    store = Store(tmp_path / "rec")

    def slow(model, plan):
        found = survey(model, plan)
        Store(tmp_path / "rec").create(plan, found.layouts)
        fill_chunk(Store(tmp_path / "rec"), model, 0)
        return found

    monkeypatch.setattr(room, "survey", slow)
    start_recording(store, tiny_model(), whole.store.plan)
    assert store.markers.incomplete_chunks() == list(range(1, whole.store.plan.chunks))


@pytest.mark.parametrize("out", ["", "a\0b"])
def test_what_is_no_folder_is_refused(out):
    with pytest.raises(OutputError, match="is no folder"):
        recorded(out)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is a file; give a folder"):
        recorded(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
