"""Edits and reads happen or are an error that names the cause; they touch what they name alone."""

import functools
import pickle
import threading

import numpy as np
import pytest
import torch
from contract import Same
from families import FAMILIES, built, family_model, small_model, stable_diffusion
from helpers.bare_pipelines import DIFFUSERS_WARNINGS, bare, collect_outputs, to_bytes
from odd import CHANNELS, odd_pipeline

from clerestory.edits import Ablate, Add, Clamp, Erase, Patch, Reflect, Scale
from clerestory.errors import ClerestoryError, ModelError, SiteError
from clerestory.models import wrap

pytestmark = DIFFUSERS_WARNINGS
MIDDLE = "denoiser.mid.res.0/out"


def ramp(model, site, size=1e4):
    return Add(site, size * torch.linspace(-1, 1, model.sites[site].shape[1]))


@pytest.fixture(scope="module")
def edited():
    """The tiny Stable Diffusion's picture with a large edit in the middle of its UNet."""
    model = small_model(built(stable_diffusion))
    return model.run("a cat", 0, edits=[ramp(model, MIDDLE)], read=MIDDLE)


def compile_module(pipeline):
    pipeline.unet.compile(backend="eager")


def compile_part(pipeline):
    pipeline.unet = torch.compile(pipeline.unet, backend="eager")


def compile_forward(pipeline):
    pipeline.unet.forward = torch.compile(pipeline.unet.forward, backend="eager")


@pytest.mark.parametrize("compiled", [compile_module, compile_part, compile_forward])
def test_compiled_parts_are_read_and_edited_uncompiled(compiled, edited):
    model = small_model(built(stable_diffusion))
    compiled(model.pipeline)
    run = model.run("a cat", 0, edits=[ramp(model, MIDDLE)], read=MIDDLE)
    assert np.array_equal(run.pictures, edited.pictures)
    assert np.array_equal(run.read(MIDDLE), edited.read(MIDDLE))


def test_code_that_was_compiled_and_has_run_is_edited_as_well():
    model = small_model(built(stable_diffusion))
    block = model.pipeline.unet.mid_block.resnets[0]
    plain = bare(model, ["a cat"], 0)
    block.compile(backend="eager")
    assert np.array_equal(bare(model, ["a cat"], 0), plain)
    assert not np.array_equal(model.run("a cat", 0, edits=[ramp(model, MIDDLE)]).pictures, plain)
    # Outside of runs it is compiled as before.
    assert block._compiled_call_impl is not None
    assert np.array_equal(bare(model, ["a cat"], 0), plain)


def test_a_part_that_replaces_another_is_the_one_that_is_read_and_edited():
    model = small_model(built(stable_diffusion))
    before = model.run("a cat", 0).pictures
    model.revision = "of the first weights"
    model.pipeline.unet = built(stable_diffusion, seed=1).unet
    unet = model.pipeline.unet
    with collect_outputs(unet.mid_block.resnets[0]) as seen:
        bare(model, ["a cat"], 0)
    run = model.run("a cat", 0, read=MIDDLE)
    expected = torch.stack([out[1].mean((1, 2)) for out in seen])
    assert np.allclose(run.read(MIDDLE)[0], expected, atol=1e-5)
    assert not np.array_equal(run.pictures, before)
    moved = model.run("a cat", 0, edits=[ramp(model, MIDDLE)]).pictures
    assert not np.array_equal(moved, run.pictures)
    assert model.revision == ""


def test_a_layer_that_replaces_another_is_the_one_that_is_read():
    model = small_model(built(stable_diffusion))
    site = "denoiser.down.1.attn.0.blocks.0/q"
    attention = model.sites[site].module
    parent = model.pipeline.unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1
    parent.to_q = torch.nn.Linear(attention.in_features, attention.out_features, bias=False)
    with collect_outputs(parent.to_q) as seen:
        bare(model, ["a cat"], 0)
    first = seen[0]
    run = model.run("a cat", 0, read=f"{site}@0")
    assert np.allclose(run.read(site)[0, 0], first[1].mean(0), atol=1e-5)


def test_fused_projections_are_named_as_the_cause():
    model = small_model(built(stable_diffusion))
    site = "denoiser.mid.attn.0.blocks.0/q"
    model.run("a cat", 0, read=site)
    model.pipeline.fuse_qkv_projections(vae=False)
    for wrong in ({"read": site}, {"edits": [Same(site)]}, {"taps": {site: lambda *_: None}}):
        with pytest.raises(SiteError, match=r"fused.*unfuse_qkv_projections"):
            model.run("a cat", 0, **wrong)
    model.pipeline.unfuse_qkv_projections(vae=False)
    assert model.run("a cat", 0, read=site)


def test_a_module_that_is_never_called_is_named():
    model = wrap(odd_pipeline())
    site = "denoiser.unused/out"
    for wrong in ({"read": site}, {"edits": [Same(site)]}, {"taps": {site: lambda *_: None}}):
        with pytest.raises(SiteError, match=r"not reached.*transformer\.unused was never called"):
            model.run("cat", 0, **wrong)


def test_a_block_that_a_cache_skips_at_some_steps_is_an_error(monkeypatch):
    model = small_model(built(stable_diffusion))
    block, calls = model.pipeline.unet.mid_block, []
    whole = block.forward

    def forward(hidden, *args, **kwargs):
        calls.append(1)
        return hidden if len(calls) == 2 else whole(hidden, *args, **kwargs)

    monkeypatch.setattr(block, "forward", forward)
    with pytest.raises(SiteError, match=r"not reached at call 1 of its stage.*skipped"):
        model.run("a cat", 0, read=MIDDLE)
    calls.clear()
    with pytest.raises(SiteError, match=r"not reached at call 1 of its stage.*skipped"):
        model.run("a cat", 0, edits=[ramp(model, MIDDLE)])


@pytest.mark.parametrize("steps", ["@7", "@1,7"])
def test_a_step_that_the_run_does_not_have_is_an_error_for_edits_reads_and_taps(steps):
    model, site = family_model("stable_diffusion"), f"{MIDDLE}{steps}"
    wrong = [{"read": site}, {"edits": [Same(site)]}, {"taps": {site: lambda *_: None}}]
    for each in wrong:
        with pytest.raises(SiteError, match=r"never applied|has no step 7"):
            model.run("a cat", 0, **each)


def test_lists_of_tensors_are_read_as_plain_hooks_see_them():
    pipeline = odd_pipeline()
    model = wrap(pipeline, probe=False)
    with collect_outputs(pipeline.transformer) as seen:
        expected = pipeline("cat", generator=torch.Generator().manual_seed(3))[0]
    sites = ["denoiser/latent", "denoiser/condition", "denoiser/prediction"]
    run = model.run("cat", 3, read=sites, pool="none", steps=3)
    assert np.array_equal(run.pictures, to_bytes(expected))
    rows = np.stack(
        [torch.stack(rows).flatten(2).transpose(1, 2).flatten(0, 1) for (rows,) in seen]
    )
    assert np.allclose(run.read("denoiser/prediction")[0], rows, atol=1e-6)
    # The rows have three letters and one: their positions follow one another.
    assert run.read("denoiser/condition").sizes["position"] == 4
    letters = pipeline.text_encoder.letters.weight.detach()
    states = letters[list(b"cat-")]
    assert np.allclose(run.read("denoiser/condition")[0, 0], states, atol=1e-6)


@pytest.mark.parametrize("tap", ["latent", "condition", "prediction"])
def test_lists_of_tensors_are_edited(tap):
    model = wrap(odd_pipeline())
    site = f"denoiser/{tap}"
    units = 6 if tap == "condition" else CHANNELS
    plain = model.run("cat", 3, steps=3)
    same = model.run("cat", 3, steps=3, edits=[Same(site)], read=site, pool="none")
    assert np.array_equal(plain.pictures, same.pictures)
    vector = np.linspace(5, 9, units)
    moved = model.run("cat", 3, steps=3, edits=[Add(site, vector)], read=site, pool="none")
    assert not np.array_equal(plain.pictures, moved.pictures)
    # Before the first step nothing else differs.
    assert np.allclose(moved.read(site)[0, 0], same.read(site)[0, 0] + vector, atol=1e-5)


@pytest.mark.parametrize("kind", [tuple, "named", dict, "object"])
def test_several_values_keep_their_type_or_are_refused(kind, monkeypatch):
    from collections import namedtuple
    from types import SimpleNamespace

    pack = {
        "named": lambda value: namedtuple("Pair", "one two")(value, 1),
        "object": lambda value: SimpleNamespace(one=value),
        tuple: lambda value: (value, 1),
        dict: lambda value: {"one": value, "two": 1},
    }[kind]
    model = wrap(odd_pipeline())
    layer, seen = model.pipeline.transformer.inside, []
    convolve, network = layer.forward, model.pipeline.transformer

    def unpack(module, args, output):
        seen.append(type(output))
        if kind == "object":
            return output.one
        return next(iter(output.values())) if kind is dict else output[0]

    monkeypatch.setattr(layer, "forward", lambda latent: pack(convolve(latent)))
    # Runs after the prepended hook of the edit.
    layer.register_forward_hook(unpack)
    edit = Add("denoiser.inside/out", [1e3] * CHANNELS)
    if kind == "object":
        with pytest.raises(SiteError, match="gives a SimpleNamespace"):
            model.run("cat", 0, edits=[edit], steps=3)
        return
    plain = model.run("cat", 0, steps=3)
    before = set(seen)
    assert not np.array_equal(model.run("cat", 0, edits=[edit], steps=3).pictures, plain.pictures)
    assert set(seen) == before or kind == "named"
    assert all(getattr(each, "__name__", "") in ("tuple", "dict", "Pair") for each in seen)
    assert network is model.pipeline.transformer


def test_a_lora_that_is_loaded_after_the_model_is_read_and_edited():
    peft = pytest.importorskip("peft")
    model = small_model(built(stable_diffusion))
    site = "denoiser.mid.attn.0.blocks.0/q"
    attention = model.pipeline.unet.mid_block.attentions[0].transformer_blocks[0].attn1
    plain = model.run("a cat", 0, read=site)
    model.revision, model.reopen = "1.0", lambda: model
    config = peft.LoraConfig(r=2, lora_alpha=8, init_lora_weights=False, target_modules=["to_q"])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.pipeline.unet.add_adapter(config)
    with collect_outputs(attention.to_q) as seen:
        bare(model, ["a cat"], 0)
    run = model.run("a cat", 0, read=site)
    expected = torch.stack([out[1].mean(0) for out in seen])
    assert np.allclose(run.read(site)[0], expected, atol=1e-5)
    assert np.abs(run.read(site) - plain.read(site)).max() > 0.01
    after = model.run("a cat", 0, read=site, pool="none", edits=[Clamp(f"{site}[1]", 9.0)])
    assert np.allclose(after.read(site)[..., 1], 9.0)
    # Whoever opens the model by its name would get it without the LoRA.
    assert model.revision == "" and model.reopen is None
    model.pipeline.unet.unload_lora()
    again = model.run("a cat", 0, read=site)
    assert np.array_equal(again.read(site), plain.read(site))
    assert model.revision == "1.0" and model.reopen is not None


def test_a_model_whose_part_was_replaced_takes_its_weights_along_when_pickled():
    model = small_model(built(stable_diffusion))
    model.reopen = functools.partial(small_model, None)
    model.pipeline.unet = built(stable_diffusion, seed=1).unet
    expected = model.run("a cat", 0).pictures
    model.reopen = functools.partial(small_model, None)
    model.pipeline.unet = built(stable_diffusion, seed=2).unet
    other = pickle.loads(pickle.dumps(model))
    assert np.array_equal(other.run("a cat", 0).pictures, model.run("a cat", 0).pictures)
    assert not np.array_equal(other.run("a cat", 0).pictures, expected)


class InPlace:
    """Adds a vector by writing into the activations that it is given."""

    def __init__(self, site, vector, positions="all", branch="cond"):
        self.site, self.vector, self.positions, self.branch = site, vector, positions, branch

    def __call__(self, value):
        value += torch.as_tensor(self.vector)
        return value


@pytest.mark.parametrize("name", FAMILIES)
def test_edits_that_write_in_place_change_what_the_others_change(name):
    model = family_model(name)
    sites = [s for s in ("text/tokens", "denoiser/latent") if s in model.sites]
    for site in (*sites, model.conditioning_site):
        vector = np.linspace(-3, 3, model.sites[site].shape[1], dtype=np.float32)
        tokens = bool(model.family.hooks_by_address[site].text_window)
        for positions in ("all", "tokens:cat") if tokens else ("all",):
            one, other = (
                model.run("a cat", 0, edits=[edit], read=site, pool="none", steps=2)
                for edit in (
                    InPlace(site, vector, positions),
                    Add(site, vector, positions=positions),
                )
            )
            assert np.array_equal(one.pictures, other.pictures), (site, positions)
            assert np.array_equal(one.read(site), other.read(site)), (site, positions)


def kinds(site, units):
    """Every kind of edit with `positions`, at one site."""
    direction = np.linspace(-1, 1, units)
    values = np.random.default_rng(0).normal(size=(40, units))
    return [
        Add(site, direction, 5.0, positions="tokens:cat"),
        Ablate(site, direction, positions="tokens:cat"),
        Clamp(f"{site}[1]", 9.0, positions="tokens:cat"),
        Scale(f"{site}[1]", 9.0, positions="tokens:cat"),
        Reflect(site, direction, positions="tokens:cat"),
        Erase.fit(site, values, np.arange(40) % 2, positions="tokens:cat"),
        InPlace(site, np.ones(units, np.float32), "tokens:cat"),
    ]


@pytest.mark.parametrize("site", ["text/tokens", "denoiser/condition"])
def test_every_edit_changes_the_word_that_it_names_and_no_other_position(site):
    model = family_model("stable_diffusion")
    read = functools.partial(model.run, "a dog cat by a dog", 0, read=site, pool="none")
    plain = read(pictures=False).read(site)[0, 0]
    for edit in kinds(site, model.sites[site].shape[1]):
        after = read(pictures=False, edits=[edit]).read(site)[0, 0]
        changed = np.flatnonzero((after != plain).any("unit"))
        assert set(changed) <= {3}, type(edit).__name__
    patch = Patch(site, np.zeros((1, *plain.shape), np.float32), positions="tokens:cat")
    after = read(pictures=False, edits=[patch]).read(site)[0, 0]
    assert np.flatnonzero((after != plain).any("unit")).tolist() == [3]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_tap_that_writes_into_what_it_gets_changes_nothing(name):
    model = family_model(name)
    expected = bare(model, ["a cat"], 0)
    run = model.run("a cat", 0, taps={"*": lambda value, step: value.fill_(7.0)})
    assert np.array_equal(run.pictures, expected)


def test_what_a_tap_keeps_stays_as_it_was():
    model, kept = wrap(odd_pipeline()), []

    def empty(module, args):
        args[0].zero_()

    # The layer after it writes into what the tap has seen.
    model.pipeline.transformer.back.register_forward_pre_hook(empty)
    taps = {"denoiser.twice/out": lambda value, step: kept.append(value)}
    model.run("cat", 0, steps=3, taps=taps)
    assert len(kept) == 12 and all(value.abs().max() > 0 for value in kept)


@pytest.fixture(scope="module")
def tiled():
    pipeline = built(stable_diffusion)
    pipeline.vae.enable_tiling()
    return small_model(pipeline)


def test_reading_an_autoencoder_that_tiles_is_refused_rather_than_drawn_otherwise(tiled):
    site = "vae.up.0.res.0/out"
    plain = tiled.run("a cat", 0, height=48, width=48)
    assert np.array_equal(plain.pictures, bare(tiled, ["a cat"], 0, height=48, width=48))
    for wrong in ({"read": site}, {"edits": [Same(site)]}, {"taps": {site: lambda *_: None}}):
        with pytest.raises(SiteError, match=r"48×48 tile by tile.*disable_tiling"):
            tiled.run("a cat", 0, height=48, width=48, **wrong)
    # Pictures of a single tile are whole.
    run = tiled.run("a cat", 0, read=site)
    assert np.array_equal(run.pictures, bare(tiled, ["a cat"], 0))
    assert tiled.pipeline.vae.use_tiling


def test_dropout_of_a_part_in_training_mode_is_off_while_it_runs():
    model = small_model(built(stable_diffusion))
    expected = model.run("a cat", 0).pictures
    for module in model.pipeline.unet.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    model.pipeline.unet.train()
    assert np.array_equal(model.run("a cat", 0).pictures, expected)
    assert model.pipeline.unet.training


def test_two_threads_on_one_pipeline_get_their_own_values():
    pipeline = built(stable_diffusion)
    # Two models of one pipeline share its parts, as two threads on one model do.
    models = [small_model(pipeline), small_model(pipeline)]
    edits = [[], [ramp(models[1], "text/tokens", 5.0)]]
    sites = ["text.blocks.0/resid", "denoiser/prediction"]
    expected = [models[0].run("a cat", 0, edits=each, read=sites) for each in edits]
    wrong, errors = [], []

    def work(number):
        try:
            for _ in range(4):
                run = models[number].run("a cat", 0, edits=edits[number], read=sites)
                same = all(np.array_equal(run.read(s), expected[number].read(s)) for s in sites)
                if not same or not np.array_equal(run.pictures, expected[number].pictures):
                    wrong.append(number)
        except ClerestoryError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and not wrong


def test_a_call_of_a_module_in_another_thread_is_neither_edited_nor_counted():
    model = family_model("stable_diffusion")
    encoder, ids = model.pipeline.text_encoder, torch.tensor([[516, 5, 517]])
    with torch.no_grad():
        expected = encoder(ids)[0]
    outside = []

    def tap(value, step):
        def call():
            with torch.no_grad():
                outside.append(encoder(ids)[0])

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    edits = [ramp(model, "text.blocks.0/resid", 50.0)]
    model.run("a cat", 0, taps={"text.blocks.0/resid": tap}, edits=edits)
    assert outside and all(torch.equal(each, expected) for each in outside)


def test_a_run_within_a_tap_of_the_same_model_is_refused():
    model = family_model("stable_diffusion")

    def tap(value, step):
        model.run("a dog", 1)

    with pytest.raises(ModelError, match="A run of this model is in progress"):
        model.run("a cat", 0, taps={MIDDLE: tap})
    assert model.run("a cat", 0)


@pytest.mark.parametrize("site", ["denoiser.mid.attn.0.blocks.0/mlp", "denoiser.mid.res.0/out"])
def test_a_module_that_is_given_parts_of_the_batch_is_an_error(site):
    model = small_model(built(stable_diffusion))
    expected = model.run(["a cat", "a dog"], 0).pictures
    unet = model.pipeline.unet
    whole = unet.forward

    def row_by_row(sample, timestep, encoder_hidden_states=None, return_dict=True, **kwargs):
        rows = [
            whole(sample[at : at + 1], timestep, encoder_hidden_states[at : at + 1], **kwargs)[0]
            for at in range(len(sample))
        ]
        return (torch.cat(rows),)

    if "mlp" in site:
        for module in unet.modules():
            if hasattr(module, "set_chunk_feed_forward"):
                module.set_chunk_feed_forward(1, dim=0)
    else:
        unet.forward = row_by_row
    assert np.allclose(model.run(["a cat", "a dog"], 0).pictures.astype(int), expected, atol=1)
    for wrong in (
        {"read": site},
        {"edits": [ramp(model, site)]},
        {"taps": {site: lambda *_: None}},
    ):
        with pytest.raises(SiteError, match=r"has 1 rows in a call, and the batch has 4.*parts of"):
            model.run(["a cat", "a dog"], 0, **wrong)
