"""Opening by folder, id, file and object, for every family; what cannot be opened, in one line."""

import json
import shutil

import numpy as np
import pytest
import torch
from families import FAMILIES, built, small_model, stable_diffusion
from helpers.bare_pipelines import DIFFUSERS_WARNINGS

from clerestory.errors import ModelError, OptionError
from clerestory.models import load, wrap

pytestmark = DIFFUSERS_WARNINGS
SMALL = {"height": 16, "width": 16, "steps": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("pipelines") / "sd"
    built(stable_diffusion).save_pretrained(place)
    return place


def refused(match, *args, **how):
    with pytest.raises(ModelError, match=match) as error:
        load(*args, device="cpu", **how)
    assert "\n" not in str(error.value)


# The size of Stable Cascade's map is kept with its two pipelines only.
@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - {"unclip", "stable_cascade"}))
def test_every_family_opens_from_its_folder_and_draws_the_same(name, tmp_path):
    pipeline = built(FAMILIES[name])
    pipeline.save_pretrained(tmp_path / "model")
    model = load(tmp_path / "model", device="cpu")
    assert type(model.pipeline) is type(pipeline)
    expected = wrap(pipeline).run("a cat", 3, **SMALL).pictures
    drawn = model.run("a cat", 3, **SMALL).pictures
    assert np.abs(drawn.astype(int) - expected).max() <= 1


def test_a_pipeline_object_stays_where_and_as_it_is():
    pipeline = built(stable_diffusion).to(torch.float64)
    model = load(pipeline)
    assert model.pipeline is pipeline and pipeline.dtype == torch.float64
    assert load(pipeline, dtype="float32").pipeline.dtype == torch.float32


def test_precision_is_single_on_a_cpu_unless_asked_for(folder):
    assert load(folder, device="cpu").pipeline.unet.dtype == torch.float32
    assert load(folder, device="cpu", dtype="bfloat16").pipeline.unet.dtype == torch.bfloat16
    refused("No precision is called 'half'", folder, dtype="half")


def test_a_kandinsky_decoder_takes_its_prior_and_says_so_without(tmp_path):
    pipeline = built(FAMILIES["unclip"])
    pipeline.decoder_pipe.save_pretrained(tmp_path / "decoder")
    pipeline.prior_pipe.save_pretrained(tmp_path / "prior")
    refused(
        "is a KandinskyV22Pipeline and has no prior: name one with --prior", tmp_path / "decoder"
    )
    refused("is a prior alone .KandinskyV22PriorPipeline.: open a Kandinsky", tmp_path / "prior")
    refused("the prior must be", tmp_path / "decoder", prior=tmp_path / "decoder")
    model = load(tmp_path / "decoder", prior=tmp_path / "prior", device="cpu")
    expected = wrap(pipeline).run("a cat", 3, **SMALL).pictures
    assert np.abs(model.run("a cat", 3, **SMALL).pictures.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("library", ["wuerstchen", "diffusers"])
def test_stable_cascade_opens_with_its_prior_from_the_hubs_folders_and_its_own(library, tmp_path):
    pipeline = built(FAMILIES["stable_cascade"])
    pipeline.decoder_pipe.save_pretrained(tmp_path / "decoder")
    pipeline.prior_pipe.save_pretrained(tmp_path / "prior")
    # As published, and as diffusers writes it since the class has moved.
    path = tmp_path / "decoder" / "model_index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "vqgan": [library, "PaellaVQModel"]}))
    model = load(tmp_path / "decoder", prior=tmp_path / "prior", device="cpu")
    assert model.family.size_multiple == 128
    run = model.run("a cat", 3, height=128, width=128, steps=1, prior_steps=2)
    assert run.pictures.shape == (1, 128, 128, 3)
    # The published scale, which the combined pipeline has, and not that of the tiny one.
    assert model.pipeline.decoder_pipe.config.latent_dim_scale == 10.67


def test_an_id_that_cannot_be_reached_says_so():
    refused(
        "is not a folder here and cannot be fetched: the hub cannot be reached", "nobody/nothing"
    )
    refused("No model is called 'a/b/c'", "a/b/c")


def test_a_hub_out_of_reach_is_asked_once(monkeypatch):
    import socket
    import time

    import huggingface_hub

    asked, began = [], time.monotonic()
    fetch = huggingface_hub.hf_hub_download
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *a, **k: asked.append(k) or fetch(*a, **k)
    )

    def refuse(*_, **__):
        raise OSError("nobody answers")

    monkeypatch.setattr(socket, "create_connection", refuse)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    refused("^The model 'nobody/nothing' is not a folder here and cannot be", "nobody/nothing")
    assert asked == [{"local_files_only": True}]
    # huggingface_hub alone tries for half a minute.
    assert time.monotonic() - began < 10


def test_what_the_hub_answers_is_told(monkeypatch):
    from types import SimpleNamespace

    import huggingface_hub
    from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError

    def answer(kind, status):
        response = SimpleNamespace(status_code=status, headers={}, request=None)

        def fetch(*_, **__):
            raise kind("long\ntext", response=response)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)

    answer(RepositoryNotFoundError, 401)
    refused("there is none, or it is private", "some/model")
    answer(RepositoryNotFoundError, 403)
    refused("its licence must be accepted", "some/model")
    answer(RemoteEntryNotFoundError, 404)
    refused("some/model is not a pipeline: it has no model_index.json", "some/model")


def test_a_pipeline_that_changes_pictures_is_refused(folder, tmp_path):
    place = tmp_path / "img2img"
    shutil.copytree(folder, place)
    for kind in (
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
        "StableDiffusionInstructPix2PixPipeline",
        "StableDiffusionUpscalePipeline",
    ):
        index = json.loads((place / "model_index.json").read_text())
        (place / "model_index.json").write_text(json.dumps({**index, "_class_name": kind}))
        refused(f"is a {kind}: it changes or fills in pictures that it is given", place)
    from diffusers import StableDiffusionImg2ImgPipeline

    parts = built(stable_diffusion).components
    with pytest.raises(ModelError, match="StableDiffusionImg2ImgPipeline: it changes"):
        wrap(StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False))


def test_code_that_comes_with_a_checkpoint_is_never_run(folder, tmp_path):
    place = tmp_path / "remote"
    shutil.copytree(folder, place)
    index = json.loads((place / "model_index.json").read_text())
    ran = tmp_path / "ran"
    (place / "pipeline.py").write_text(f"open({str(ran)!r}, 'w')\nclass Mine: pass\n")
    changed = json.dumps({**index, "_class_name": ["pipeline", "Mine"]})
    (place / "model_index.json").write_text(changed)
    refused("needs code of its own", place)
    (place / "unet" / "mine.py").write_text(f"open({str(ran)!r}, 'w')\nclass Net: pass\n")
    changed = json.dumps({**index, "unet": ["mine", "Net"]})
    (place / "model_index.json").write_text(changed)
    refused("cannot be opened", place)
    assert not ran.exists()


def test_pickles_are_refused_by_name_and_read_when_allowed(folder, tmp_path):
    place = tmp_path / "pickled"
    shutil.copytree(folder, place)
    for part in ("unet", "vae"):
        path = place / part / "diffusion_pytorch_model.safetensors"
        torch.save(getattr(built(stable_diffusion), part).state_dict(), path.with_suffix(".bin"))
        path.unlink()
    refused(r"unet/diffusion_pytorch_model\.bin is a pickle.*--allow-pickles", place)
    drawn = load(place, device="cpu", pickles=True).run("a cat", 3, **SMALL).pictures
    expected = load(folder, device="cpu").run("a cat", 3, **SMALL).pictures
    assert np.abs(drawn.astype(int) - expected).max() <= 1
    shutil.copytree(folder, tmp_path / "trained")
    (tmp_path / "trained" / "checkpoint-500").mkdir()
    torch.save({}, tmp_path / "trained" / "checkpoint-500" / "optimizer.bin")
    assert load(tmp_path / "trained", device="cpu")
    checkpoint = tmp_path / "model.ckpt"
    torch.save({}, checkpoint)
    refused("model.ckpt is a pickle", checkpoint)


def test_a_single_file_goes_to_the_pipeline_of_its_weights(folder, tmp_path, monkeypatch):
    import diffusers
    from diffusers.loaders import single_file_utils
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    (tmp_path / "notes.txt").write_text("?")
    refused("is not a checkpoint", tmp_path / "notes.txt")
    asked = {}

    def from_single_file(where, **how):
        asked.update(how, where=where)
        return built(stable_diffusion)

    monkeypatch.setattr(single_file_utils, "infer_diffusers_model_type", lambda _: "v1")
    monkeypatch.setattr(diffusers.StableDiffusionPipeline, "from_single_file", from_single_file)
    model = load(path, device="cpu", config=folder)
    assert asked["where"] == str(path) and asked["config"] == str(folder)
    assert asked["safety_checker"] is None
    assert model.name == str(path)
    monkeypatch.setattr(single_file_utils, "infer_diffusers_model_type", lambda _: "controlnet")
    refused("looks like 'controlnet', which is not a known text-to-image pipeline", path)


def test_a_lora_is_loaded_and_a_wrong_one_refused(folder, tmp_path):
    peft = pytest.importorskip("peft")
    from diffusers import StableDiffusionPipeline
    from peft.utils import get_peft_model_state_dict

    pipeline = built(stable_diffusion)
    config = peft.LoraConfig(
        r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False
    )
    torch.manual_seed(0)
    pipeline.unet.add_adapter(config)
    StableDiffusionPipeline.save_lora_weights(
        tmp_path, unet_lora_layers=get_peft_model_state_dict(pipeline.unet)
    )
    plain = load(folder, device="cpu").run("a cat", 3, **SMALL).pictures
    model = load(folder, device="cpu", lora=tmp_path / "pytorch_lora_weights.safetensors")
    run = model.run("a cat", 3, read="denoiser.*/q", **SMALL)
    expected = wrap(pipeline).run("a cat", 3, read="denoiser.*/q", **SMALL)
    assert np.abs(run.pictures.astype(int) - expected.pictures).max() <= 1
    assert (run.pictures != plain).any()
    for address in run.site_values:
        assert np.allclose(run.read(address), expected.read(address), atol=1e-4), address
        site = model.sites[address]
        root, _, path = site.path.partition(".")
        assert site.module is getattr(model.pipeline, root).get_submodule(path)
        assert hasattr(site.module, "lora_A")
    assert model.load_options == {"lora": str(tmp_path / "pytorch_lora_weights.safetensors")}
    refused("The LoRA .* cannot be loaded", folder, lora=tmp_path / "none.safetensors")
    refused("is a pickle", folder, lora=tmp_path / "lora.bin")


def test_offloading_without_an_accelerator_is_refused(folder):
    refused("offload='model' needs an accelerator", folder, offload="model")
    with pytest.raises(OptionError, match="offload is 'disk'; it must be 'model' or 'sequential'"):
        load(folder, device="cpu", offload="disk")


def test_the_options_of_a_sample_are_kept_with_it():
    run = small_model(built(stable_diffusion)).run("a cat", 1, steps=2, negative="dog")
    assert run.samples.loc[0, ["steps", "negative", "height"]].tolist() == [2, "dog", 16]


def test_older_files_with_other_names_for_the_same_weights_open(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    place = tmp_path / "older"
    shutil.copytree(folder, place)
    path = place / "vae" / "diffusion_pytorch_model.safetensors"
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for key, value in load_file(path).items():
        for new, old in names.items():
            key = key.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        state[key] = value
    assert any(".proj_attn." in key for key in state)
    save_file(state, path, {"format": "pt"})
    drawn = load(place, device="cpu").run("a cat", 3, **SMALL).pictures
    expected = load(folder, device="cpu").run("a cat", 3, **SMALL).pictures
    assert np.abs(drawn.astype(int) - expected).max() <= 1


def test_parts_keep_the_precision_that_they_have_on_purpose(tmp_path):
    from families import pixart

    built(pixart).save_pretrained(tmp_path / "pixart")
    pipeline = load(tmp_path / "pixart", device="cpu", dtype="float16").pipeline
    layer = pipeline.text_encoder.encoder.block[0].layer[1].DenseReluDense
    assert (layer.wo.weight.dtype, layer.wi_0.weight.dtype) == (torch.float32, torch.float16)


def test_what_is_damaged_cut_short_or_mistyped_is_one_line(folder, tmp_path):
    place = tmp_path / "damaged"
    shutil.copytree(folder, place)
    (place / "text_encoder" / "model.safetensors").write_text("version https://git-lfs\n")
    refused("cannot be opened", place)
    refused("there is no such file or folder", "checkpoints/my-sd.safetensors")
    lacking = built(stable_diffusion)
    lacking.text_encoder = None
    with pytest.raises(ModelError, match="has no text_encoder"):
        wrap(lacking)


def test_a_size_that_cannot_be_drawn_is_refused():
    with pytest.raises(OptionError, match=r"height is 20; .* draws multiples of 8"):
        small_model(built(stable_diffusion)).run("a cat", height=20)
