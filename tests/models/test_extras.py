"""Further arguments of a pipeline's call: ControlNet, IP-Adapter, clip skip, embeddings, scales."""

import copy

import numpy as np
import pytest
import torch
from contract import far
from families import (
    SIDE,
    built,
    family_model,
    flux,
    pixart,
    small_model,
    stable_diffusion,
    stable_diffusion_xl,
    tiny_unet,
)
from helpers.bare_pipelines import DIFFUSERS_WARNINGS, bare, to_bytes
from language_families import lumina_2, sana, z_image
from PIL import Image

from clerestory.edits import Add
from clerestory.errors import ClerestoryError, OptionError, SiteError
from clerestory.evaluation.cache import sample_key
from clerestory.models.core.extras import Extra
from clerestory.recordings import Recording, record

pytestmark = DIFFUSERS_WARNINGS
PROMPTS = ["a cat", "a dog by me"]


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def followed():
    """Stable Diffusion with a ControlNet."""
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    torch.manual_seed(0)
    net = ControlNetModel.from_unet(tiny_unet(), conditioning_embedding_out_channels=(8, 8))
    for block in [*net.controlnet_down_blocks, net.controlnet_mid_block]:
        torch.nn.init.normal_(block.weight, std=1.0)  # zeros before training
    torch.nn.init.normal_(net.controlnet_cond_embedding.conv_out.weight, std=1.0)
    parts = dict(built(stable_diffusion).components)
    return small_model(StableDiffusionControlNetPipeline(**parts, controlnet=net))


@pytest.fixture(scope="module")
def adapted():
    """Stable Diffusion with an IP-Adapter, whose image encoder is a tiny CLIP."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    torch.manual_seed(0)
    pipeline = built(stable_diffusion)
    size = {"hidden_size": 16, "projection_dim": 16, "image_size": 8, "patch_size": 4}
    config = CLIPVisionConfig(
        **size, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    pipeline.register_modules(
        image_encoder=CLIPVisionModelWithProjection(config).eval(),
        feature_extractor=CLIPImageProcessor(size=8, crop_size=8),
    )
    width = pipeline.unet.config.cross_attention_dim
    weights = {
        "image_proj": {
            "proj.weight": torch.randn(4 * width, 16),
            "proj.bias": torch.zeros(4 * width),
            "norm.weight": torch.ones(width),
            "norm.bias": torch.zeros(width),
        },
        "ip_adapter": {
            f"{number}.to_{part}_ip.weight": torch.randn(attention.to_k.out_features, width)
            for number, attention in _cross_attentions(pipeline.unet)
            for part in "kv"
        },
    }
    pipeline.unet._load_ip_adapter_weights([weights])
    pipeline.set_ip_adapter_scale(1.0)
    return small_model(pipeline)


def _cross_attentions(unet):
    """Each cross-attention with its number in files of an IP-Adapter: 1, 3, 5 …"""
    named = [name for name in unet.attn_processors if "attn2" in name]
    modules = [unet.get_submodule(name.removesuffix(".processor")) for name in named]
    return zip(range(1, 2 * len(modules), 2), modules, strict=True)


def test_a_controlnet_follows_its_picture_as_it_does_alone(followed):
    extra = {"image": picture(0), "controlnet_conditioning_scale": 2.0}
    run = followed.run(PROMPTS, 5, extra=extra, read="*", batch=2)
    assert np.array_equal(run.pictures, bare(followed, PROMPTS, 5, extra=extra))
    other = followed.run(PROMPTS, 5, extra={**extra, "image": picture(1)})
    assert not np.array_equal(run.pictures, other.pictures)
    single = followed.run(PROMPTS[1], 5, extra=extra)
    assert np.abs(single.pictures[0].astype(int) - run.pictures[1]).max() <= 1
    site = "denoiser.mid.res.0/out"
    far = Add(site, 50.0 * torch.ones(followed.sites[site].shape[1]))
    edited = followed.run(PROMPTS, 5, extra=extra, edits=[far])
    assert not np.array_equal(run.pictures, edited.pictures)


def test_a_picture_for_each_prompt_comes_from_a_function(followed):
    pictures = dict(zip(PROMPTS, map(picture, range(2)), strict=True))
    extra = {"image": lambda prompts: [pictures[prompt] for prompt in prompts]}
    together = followed.run(PROMPTS, 5, extra=extra).pictures.astype(int)
    for drawn, prompt in zip(together, PROMPTS, strict=True):
        alone = followed.run(prompt, 5, extra={"image": pictures[prompt]}).pictures
        assert np.abs(drawn - alone[0]).max() <= 1


def test_without_its_picture_a_controlnet_is_one_line(followed):
    with pytest.raises(ClerestoryError, match="image") as error:
        followed.run("a cat", 0)
    assert "\n" not in str(error.value)


def test_an_ip_adapter_reads_its_picture_as_it_does_alone(adapted):
    extra = {"ip_adapter_image": picture(0)}
    run = adapted.run(PROMPTS, 5, extra=extra, read="denoiser*", batch=2)
    assert np.array_equal(run.pictures, bare(adapted, PROMPTS, 5, extra=extra))
    other = adapted.run(PROMPTS, 5, extra={"ip_adapter_image": picture(1)})
    assert not np.array_equal(run.pictures, other.pictures)


def test_clip_skip_draws_as_the_pipeline_does_and_what_it_leaves_out_is_no_site():
    model = family_model("stable_diffusion_xl")
    # Other encoders have one block that feeds, and two blocks.
    skipped = {"clip_skip": 1}
    expected = bare(model, PROMPTS, 5, extra=skipped)
    assert np.array_equal(model.run(PROMPTS, 5, extra=skipped).pictures, expected)
    assert not np.array_equal(bare(model, PROMPTS, 5), expected)
    with pytest.raises(SiteError, match="clip_skip=1 of extra leaves this block out"):
        model.run("a cat", 0, read="text.blocks.0/resid", extra=skipped)
    # The second encoder's last block makes the pooled embedding all the same.
    assert model.run("a cat", 0, read="text_2.blocks.1/resid", extra=skipped)


def test_embeddings_take_the_place_of_the_prompt():
    model = family_model("stable_diffusion")
    with torch.no_grad():
        states = model.pipeline.encode_prompt(
            "a zebra", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )[0]
    expected = bare(model, ["a zebra"], 5)
    assert np.array_equal(model.run("a cat", 5, extra={"prompt_embeds": states}).pictures, expected)
    run = model.run(
        ["a zebra", "a cat"],
        5,
        extra={
            "prompt_embeds": lambda prompts: (
                states
                * torch.tensor([[[1.0]] if prompt == "a zebra" else [[0.5]] for prompt in prompts])
            )
        },
        read="denoiser/condition",
        pool="none",
    )
    values = run.read("denoiser/condition").values[:, 0]
    assert np.array_equal(values[0], states[0]) and np.array_equal(values[1], states[0] / 2)
    with torch.no_grad():
        halved = model.pipeline(
            prompt_embeds=states / 2,
            negative_prompt="",
            height=SIDE,
            width=SIDE,
            num_inference_steps=3,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(5),
            output_type="np",
        ).images
    assert np.array_equal(run.pictures[1:], to_bytes(halved))


@pytest.mark.filterwarnings("ignore")
def test_words_that_compel_weighs():
    compel = pytest.importorskip("compel")
    model = small_model(built(stable_diffusion_xl))
    weigh = compel.CompelForSDXL(model.pipeline)

    def weighed(prompts):
        return weigh([prompt.replace("cat", "(cat)1.5") for prompt in prompts])

    extra = {
        "prompt_embeds": lambda prompts: weighed(prompts).embeds,
        "pooled_prompt_embeds": lambda prompts: weighed(prompts).pooled_embeds,
    }
    prompts = ["a cat by me", "a dog"]
    site = "denoiser/condition"
    run = model.run(prompts, 5, extra=extra, read=[site, "denoiser/pooled"], pool="none")
    states = weighed(prompts)
    assert np.array_equal(run.read(site).values[:, 0], states.embeds)
    assert np.array_equal(run.read("denoiser/pooled").values[:, 0, 0], states.pooled_embeds)
    plain = model.run(prompts, 5)
    assert not np.array_equal(run.pictures[0], plain.pictures[0])
    assert np.array_equal(run.pictures[1], plain.pictures[1])
    # Start token and `a` stand before the word.
    word = model.run(prompts[0], 5, extra=extra, read=site, pool="tokens:cat").read(site)
    assert np.allclose(word.values[0, 0], states.embeds[0, 2], atol=1e-6)


@pytest.mark.parametrize(
    ("extra", "error", "words"),
    [
        ({"prompt_embeds": torch.zeros(1, 3, 32)}, OptionError, "has the shape"),
        ({"prompt_embeds": torch.zeros(3, 16, 32)}, OptionError, "a function of the prompts"),
        ({"clip_skp": 1}, OptionError, "clip_skip"),
        ({"num_inference_steps": 3}, OptionError, "write steps="),
        ({"pag_scale": 3.0}, OptionError, "write perturbed_guidance="),
        ({"output_type": "pil"}, OptionError, "leave it out"),
        ({"callback_on_step_end": print}, OptionError, "leave it out"),
        ({"clip_skip": object()}, OptionError, "of type object"),
    ],
)
def test_what_would_not_do_what_is_asked_is_refused(extra, error, words):
    with pytest.raises(error, match=words):
        family_model("stable_diffusion").run("a cat", 0, extra=extra)


def test_states_of_a_branch_that_is_not_drawn_are_refused():
    model = family_model("stable_diffusion")
    extra = {"negative_prompt_embeds": torch.zeros(1, *model.sites["denoiser/condition"].shape)}
    with pytest.raises(OptionError, match="which these options do not use"):
        model.run("a cat", 0, guidance=1.0, extra=extra)


def test_sites_of_a_text_encoder_that_is_not_used_are_refused():
    model = family_model("stable_diffusion")
    extra = {"prompt_embeds": torch.zeros(1, *model.sites["denoiser/condition"].shape)}
    with pytest.raises(SiteError, match="take the place of what the text encoders give"):
        model.run("a cat", 0, read="text.blocks.0/mlp", extra=extra)
    with pytest.raises(SiteError, match="prompt_embeds"):
        model.run("a cat", 0, edits=[far(model, "text.blocks.0/mlp")], extra=extra)


def test_the_values_of_conditioning_sites_are_no_further_arguments():
    with pytest.raises(OptionError, match="takes no argument 'image_embeds'"):
        family_model("unclip").run("a cat", 0, extra={"image_embeds": torch.zeros(1, 32)})


def test_the_scale_of_a_lora_is_heeded_by_text_encoder_and_denoiser():
    peft = pytest.importorskip("peft")
    pipeline = built(stable_diffusion)
    for part, modules in (("unet", ["to_q"]), ("text_encoder", ["q_proj", "v_proj"])):
        config = peft.LoraConfig(r=2, lora_alpha=8, target_modules=modules, init_lora_weights=False)
        peft.inject_adapter_in_model(config, getattr(pipeline, part))
    model = small_model(pipeline)
    half = {"cross_attention_kwargs": {"scale": 0.5}}
    expected = bare(model, PROMPTS, 5, extra=half)
    assert np.array_equal(model.run(PROMPTS, 5, extra=half).pictures, expected)
    assert not np.array_equal(bare(model, PROMPTS, 5), expected)


def test_flux_takes_further_arguments_of_its_own():
    model = small_model(built(flux))
    extra = {"sigmas": [1.0, 0.6, 0.3]}
    run = model.run("a cat", 5, extra=extra, read="denoiser/prediction")
    assert np.array_equal(run.pictures, bare(model, ["a cat"], 5, extra=extra))
    assert run.read("denoiser/prediction").sizes["step"] == 3


def test_a_pipeline_of_no_known_family_takes_them_too():
    from diffusers import DiffusionPipeline

    class Unknown(type(built(stable_diffusion))):
        pass

    pipeline = Unknown(**built(stable_diffusion).components, requires_safety_checker=False)
    assert isinstance(pipeline, DiffusionPipeline)
    model = small_model(pipeline)
    extra = {"guidance_rescale": 0.7}
    assert np.array_equal(
        model.run("a cat", 5, extra=extra).pictures, bare(model, ["a cat"], 5, extra=extra)
    )
    with pytest.raises(OptionError, match="takes no argument 'guidance_rescal'"):
        model.run("a cat", 0, extra={"guidance_rescal": 1})


def test_they_are_compared_and_saved_by_what_they_hold():
    one, same, other = (Extra({"image": picture(seed), "scale": 1.5}) for seed in (0, 0, 1))
    assert one == same != other and hash(one) == hash(same)
    assert one["scale"] == 1.5 and one["image"].startswith("sha256:")
    array = np.arange(6.0).reshape(2, 3)
    saved = [Extra({"x": each})["x"] for each in (array, torch.tensor(array), array.T)]
    assert saved[0] == saved[1] != saved[2]
    functions = [lambda prompts: None, lambda prompts: None]
    assert Extra({"x": functions[0]}) == Extra({"x": functions[0]}) != Extra({"x": functions[1]})
    lists = Extra({"image": [picture(0), picture(1)]})
    assert lists.arguments(["a cat"])["image"][0].size == (SIDE, SIDE)
    with pytest.raises(OptionError, match="give the value itself"):
        Extra(dict(lists)).arguments(["a cat"])
    model = family_model("stable_diffusion")
    keys = {
        sample_key("m", "a cat", 0, model.options(extra=extra), [], "picture")
        for extra in ({}, {"clip_skip": 1}, {"clip_skip": 2})
    }
    assert len(keys) == 3


def test_a_recording_goes_on_with_the_same_picture_only(followed, tmp_path):
    extra = {"image": picture(0)}
    recording = record(
        followed, PROMPTS, sites="denoiser.mid.res.0/out", out=tmp_path / "r", extra=extra
    )
    run = followed.run(PROMPTS, 0, extra=extra, read="denoiser.mid.res.0/out")
    assert np.array_equal(recording.pictures([0, 1]), run.pictures)
    assert recording.store.plan.options.extra["image"].startswith("sha256:")
    again = {"sites": "denoiser.mid.res.0/out", "out": tmp_path / "r"}
    assert len(record(followed, PROMPTS, **again, extra=extra).rows) == 2
    with pytest.raises(ClerestoryError):
        record(followed, PROMPTS, **again, extra={"image": picture(1)})
    saved = Recording.open(tmp_path / "r").store.plan.options.extra
    with pytest.raises(OptionError, match="give the value itself"):
        followed.run("a cat", 0, extra=saved)
    assert run.samples["extra.image"][0] == saved["image"]


@pytest.mark.parametrize(
    ("make", "name"), [(lumina_2, "cfg_trunc_ratio"), (z_image, "cfg_truncation")]
)
def test_steps_without_guidance_are_read_as_such(make, name):
    model, calls = small_model(built(make), steps=4), []

    def keep(_, inputs, outputs):
        maps = outputs[0]
        rows = [maps] if isinstance(maps, torch.Tensor) and maps.ndim == 3 else [*maps]
        calls.append([row.flatten(1).float().mean(1).numpy() for row in rows])

    hook = model.pipeline.transformer.register_forward_hook(keep)
    options = {"guidance": 4.0, "extra": {name: 0.5}, "progress": False}
    found = {}
    for branch in ("cond", "uncond"):
        calls.clear()
        run = model.run("a cat", 0, read="denoiser/prediction", branch=branch, **options)
        found[branch] = run.activations["denoiser/prediction"]
    hook.remove()
    rows = [row for call in calls for row in call]
    # Guidance ends after half of the steps: with the prompt, without, with, without, with, with.
    guided = (len(rows) - 4) * 2
    assert 0 < guided < 8
    expected = {"cond": [*rows[:guided:2], *rows[guided:]], "uncond": rows[1:guided:2]}
    for branch, values in found.items():
        read = values["value"].values[0]
        assert np.allclose(read, np.stack(expected[branch]), atol=1e-5), branch
        assert list(values["step"]) == list(range(len(read)))
    assert len(found["cond"]["step"]) == 4


@pytest.mark.parametrize(
    ("make", "name", "value", "words"),
    [
        (sana, "complex_human_instruction", ["Draw it:"], "has no effect here"),
        (lumina_2, "system_prompt", "You draw.", "has no effect here"),
        (flux, "prompt_2", "a dog", "has no effect here"),
        (pixart, "use_resolution_binning", True, "every run sets itself"),
        (pixart, "clean_caption", True, "every run sets itself"),
    ],
)
def test_arguments_that_would_change_nothing_are_refused(make, name, value, words):
    with pytest.raises(OptionError, match=f"{name}.*{words}"):
        small_model(built(make)).run("a cat", extra={name: value})


def test_a_value_that_is_changed_later_is_drawn_as_it_was_given(followed):
    edges = np.asarray(picture(1)).copy()
    arguments = {"image": edges[None] / 255}
    model = copy.copy(followed)
    model.defaults = model.defaults.replace(extra=arguments)
    before = model.run("a cat", 0).pictures
    arguments["image"][:] = 0
    assert np.array_equal(model.run("a cat", 0).pictures, before)
    assert not np.array_equal(model.run("a cat", 0, extra=arguments).pictures, before)
