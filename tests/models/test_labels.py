"""Every number stands at its own place: tokens, steps, calls, channels, sizes."""

import numpy as np
import pytest
import torch
from families import (
    FAMILIES,
    built,
    family_model,
    small_model,
    stable_diffusion,
    stable_diffusion_xl,
)
from helpers.bare_pipelines import DIFFUSERS_WARNINGS, bare, collect_outputs, to_bytes
from odd import CHANNELS, SIDE, odd_pipeline
from tiny import tiny_tokenizer

from clerestory.edits import Add
from clerestory.errors import OptionError, SiteError
from clerestory.maximization.space import prompt_space
from clerestory.models import wrap

pytestmark = DIFFUSERS_WARNINGS


def positions(model, prompt, word, window="text"):
    (mask,) = model.family.text_windows[window].word_mask([prompt], word)
    return mask.nonzero().flatten().tolist()


def with_inversion(make, vectors=4, width=32, **where):
    """A model whose pipeline learns `<toy>` after the model has read a prompt."""
    model = small_model(built(make))
    model.run("a <toy> cat", 0, read="text/tokens", pictures=False)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = {"<toy>": torch.randn(vectors, width)}
        model.pipeline.load_textual_inversion([state], **where)
    return model


@pytest.fixture(scope="module")
def toy():
    return with_inversion(stable_diffusion)


def test_words_after_a_textual_inversion_of_several_vectors_are_where_the_encoder_has_them(toy):
    prompt, site = "a <toy> cat", "text/tokens"
    seen = []
    embedding = toy.pipeline.text_encoder.get_input_embeddings()
    handle = embedding.register_forward_hook(lambda module, args, out: seen.append((args[0], out)))
    bare(toy, [prompt], 0)
    handle.remove()
    ids, states = next((ids[0], out[0]) for ids, out in seen if 513 in ids)
    place = ids.tolist().index(513)  # cat
    assert place == 6
    assert toy.run(prompt, 0, pictures=False, read=site) and positions(toy, prompt, "cat") == [
        place
    ]
    read = toy.run(prompt, 0, read=site, pool="tokens:cat", pictures=False).read(site)
    assert np.allclose(read[0, 0], states[place].detach(), atol=1e-6)
    assert positions(toy, prompt, "<toy>") == [2, 3, 4, 5]
    assert toy.tokenize(prompt) == ["a", "<toy>", "<toy>_1", "<toy>_2", "<toy>_3", "cat"]
    mean = toy.run(prompt, 0, read=site, pool="tokens:<toy>", pictures=False).read(site)
    assert np.allclose(mean[0, 0], states[2:6].detach().mean(0), atol=1e-6)


def test_an_edit_of_a_word_after_a_textual_inversion_changes_that_word(toy):
    site, prompt = "text/tokens", "a <toy> cat"
    edit = Add(site, np.ones(32), positions="tokens:cat")
    plain, moved = (
        toy.run(prompt, 0, read=site, pool="none", pictures=False, edits=edits).read(site)[0, 0]
        for edits in ([], [edit])
    )
    assert np.flatnonzero((plain != moved).any("unit")).tolist() == [6]


def test_a_textual_inversion_counts_by_its_vectors_against_the_window(toy):
    from clerestory.errors import PromptError

    toy.check_prompt("<toy> <toy> <toy> cat")
    with pytest.raises(PromptError, match="The prompt has 16 tokens and the text window holds 14"):
        toy.check_prompt("<toy> <toy> <toy> <toy>")


def test_each_encoder_of_a_pipeline_has_its_own_textual_inversion():
    model = small_model(built(stable_diffusion_xl))
    model.pipeline.tokenizer_2 = tiny_tokenizer()
    first, second = model.pipeline.tokenizer, model.pipeline.text_encoder
    state = {"<toy>": torch.ones(2, 32)}
    model.pipeline.load_textual_inversion([state], tokenizer=first, text_encoder=second)
    run = model.run("a <toy> cat", 0, read="text/tokens", pool="none", pictures=False)
    assert np.allclose(run.read("text/tokens")[0, 0, 2:4], 1.0)
    assert positions(model, "a <toy> cat", "cat") == [4]
    # The second encoder reads five signs.
    assert positions(model, "a <toy> cat", "cat", "text_2") == [7]


@pytest.mark.parametrize(
    ("prompt", "place"),
    [
        ("a <|endoftext|> cat", 3),
        ("a <|startoftext|> dog cat", 4),
        ("<|startoftext|>a cat<|endoftext|>", 3),
    ],
)
def test_words_beside_special_tokens_are_where_the_encoder_has_them(prompt, place):
    model, site = family_model("stable_diffusion"), "text/tokens"
    ids = model.pipeline.tokenizer(prompt).input_ids
    assert ids.index(513) == place and positions(model, prompt, "cat") == [place]
    weights = model.pipeline.text_encoder.get_input_embeddings().weight
    read = model.run(prompt, 0, read=site, pool="tokens:cat", pictures=False).read(site)
    assert np.allclose(read[0, 0], weights[513].detach(), atol=1e-6)
    window = model.family.text_windows["text"]
    # All but the two that the tokenizer adds.
    assert window.token_ids([prompt]) == [ids[1:-1]]
    assert len(model.tokenize(prompt)) == len(ids) - 2


@pytest.mark.parametrize("prompt", ["a cat", "a <|endoftext|> cat", "a cat <|endoftext|>"])
def test_the_last_token_is_the_one_from_which_the_encoder_takes_its_pooled_state(prompt):
    model = family_model("stable_diffusion_xl")
    encoder, tokenizer = model.pipeline.text_encoder_2, model.pipeline.tokenizer_2
    window = model.family.text_windows["text_2"].window
    ids = tokenizer(prompt, padding="max_length", max_length=window, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = encoder(ids).text_embeds[0].numpy()
    norm = next(m for name, m in encoder.named_modules() if name.endswith("final_layer_norm"))
    site = [each for each in model.sites if each.startswith("text_2.") and "resid" in each][-1]

    def embeds(value):
        with torch.no_grad():
            return encoder.text_projection(norm(torch.tensor(value))).numpy()

    read = model.run(prompt, 0, read=site, pool="last", pictures=False).read(site)[0, 0]
    assert np.allclose(embeds(read.to_numpy()), expected, atol=1e-4)
    edit = Add(site, np.ones(len(read)), positions="last")
    plain, moved = (
        model.run(prompt, 0, read=site, pool="none", pictures=False, edits=edits).read(site)[0, 0]
        for edits in ([], [edit])
    )
    (place,) = np.flatnonzero((plain != moved).any("unit"))
    assert ids[0, place] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in ids[0, :place]


def test_special_tokens_of_t5_are_tokens_of_the_prompt():
    model = family_model("pixart")
    window = model.family.text_windows["text"]
    assert positions(model, "a </s> cat", "cat") == [2]
    ids = model.pipeline.tokenizer("a </s> cat").input_ids
    assert window.token_ids(["a </s> cat"]) == [ids[:-1]]


def test_raw_tokens_are_those_of_the_encoder_that_is_searched():
    model = family_model("flux")
    clip, t5 = model.pipeline.tokenizer.get_vocab(), model.pipeline.tokenizer_2.get_vocab()
    for site, vocabulary in (
        ("text.blocks.0/mlp", clip),
        ("text_2.blocks.0/mlp", t5),
        ("denoiser/condition", t5),
    ):
        space = prompt_space(model, words=2, tokens=True, sites=[site])
        names = {number: token for token, number in vocabulary.items()}
        assert space.tokens is not None
        for word, number in zip(space.vocabulary, space.tokens, strict=True):
            assert names[number].replace("</w>", " ").replace("▁", " ").strip() == word.strip()


def test_a_search_over_raw_tokens_of_a_second_encoder_scores_what_it_reads():
    from clerestory import maximize

    model, site = family_model("flux"), "text_2.blocks.0/mlp[3]"
    result = maximize(
        model,
        site,
        search="gradient",
        words=2,
        tokens=True,
        budget=8,
        random_prompts=20,
        pool="mean",
        pictures=False,
        progress=False,
    )
    best = result.best[0]
    read = model.run(best.prompt, 0, read=site, pictures=False).read(site)
    assert np.isclose(best.score, float(read.squeeze()), atol=1e-4)


def test_calls_of_a_module_within_a_step_are_labelled():
    pipeline = odd_pipeline()
    model, site = wrap(pipeline), "denoiser.twice/out"
    with collect_outputs(pipeline.transformer.twice) as seen:
        pipeline("cat", generator=torch.Generator().manual_seed(3))
    run = model.run("cat", 3, steps=3, read=site)
    read = run.read(site)
    assert read.step.values.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert read.call.values.tolist() == [0, 1, 2, 3] * 3
    means = torch.stack([output.flatten(1, 2).mean(1)[0] for output in seen])
    assert np.allclose(read[0], means.detach(), atol=1e-6)
    step = run.read(f"{site}@1")
    assert step.call.values.tolist() == [0, 1, 2, 3] and np.array_equal(step[0], read[0, 4:8])
    assert (
        "call"
        not in model.run("cat", 3, steps=3, read="denoiser/latent").read("denoiser/latent").coords
    )
    with pytest.raises(SiteError, match="several times in a step"):
        run.site_values[site].by_step()


def test_a_recording_keeps_the_calls_of_a_step(tmp_path):
    import clerestory
    from clerestory.contrasts.activations import RecordedActivations

    model, site = wrap(odd_pipeline()), "denoiser.twice/out"
    recording = clerestory.record(
        model, ["cat", "dog"], [0], sites=[site], out=tmp_path / "rec", steps=3, progress=False
    )
    read = recording.read(site)
    expected = model.run(["cat", "dog"], 0, read=site, steps=3).read(site)
    assert read.call.values.tolist() == expected.call.values.tolist()
    assert np.allclose(read, expected, atol=1e-2)
    values = RecordedActivations(recording, np.arange(2))
    assert list(values) == [f"{site}@{step}" for step in range(3)]
    assert np.allclose(values[f"{site}@1"], expected.sel(step=1).mean("step"), atol=1e-2)


def test_maps_with_the_channels_last_are_read_as_such():
    pipeline = odd_pipeline()
    model, seen = wrap(pipeline), {}
    for name in ("last", "inside", "line"):
        with collect_outputs(getattr(pipeline.transformer, name)) as outputs:
            pipeline("cat", generator=torch.Generator().manual_seed(3))
        seen[name] = outputs[0].detach()
    sites = {name: f"denoiser.{name}/out" for name in seen}
    run = model.run("cat", 3, steps=3, read=list(sites.values()), pool="none")
    for name, site in sites.items():
        units = model.sites[site].shape[1]
        read = run.read(site)
        assert read.sizes["unit"] == units, name
        moved = seen[name] if name == "last" else seen[name].movedim(1, -1)
        assert np.allclose(read[0, 0], moved.reshape(-1, units), atol=1e-6), name
    assert model.sites["denoiser.last/out"].shape[1] == 4
    assert tuple(seen["last"].shape) == (1, 2, SIDE, 4)


@pytest.mark.parametrize("name", ["last", "inside", "line"])
def test_maps_with_the_channels_last_are_edited_as_such(name):
    pipeline = odd_pipeline()
    model, layer = wrap(pipeline), getattr(pipeline.transformer, name)
    site = f"denoiser.{name}/out"
    units = model.sites[site].shape[1]
    vector = torch.linspace(-2, 3, units)
    shape = (1, 1, 1, -1) if name == "last" else (1, -1) + (1,) * (2 if name == "inside" else 1)
    handle = layer.register_forward_hook(lambda m, args, out: out + vector.reshape(shape))
    expected = pipeline("cat", generator=torch.Generator().manual_seed(3))[0]
    handle.remove()
    run = model.run("cat", 3, steps=3, edits=[Add(site, vector.numpy())])
    assert np.array_equal(run.pictures, to_bytes(expected))


# Karlo draws the size of its networks only.
@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - {"karlo"}))
def test_a_size_is_drawn_as_it_is_asked_for_or_refused(name):
    model = family_model(name)
    drawn = 0
    for side in (*range(30, 34), 40, 48):
        for height, width in ((side, 16), (16, side)):
            try:
                run = model.run("a cat", 0, height=height, width=width, steps=2)
            except OptionError as error:
                assert "multiples of" in str(error)
                continue
            assert run.pictures.shape[1:3] == (height, width)
            assert (run.samples.height == height).all() and (run.samples.width == width).all()
            drawn += 1
    assert drawn >= 4


def test_the_table_has_the_size_that_was_drawn():
    model = wrap(odd_pipeline())
    run = model.run("cat", 0, steps=3)
    assert run.pictures.shape == (1, SIDE, SIDE, CHANNELS)
    assert run.samples.height.tolist() == run.samples.width.tolist() == [SIDE]
    tall = model.run("cat", 0, steps=3, height=2 * SIDE, width=SIDE)
    assert tall.pictures.shape[1:3] == (2 * SIDE, SIDE)
    with pytest.raises(OptionError, match="OddPipeline was asked for 4×7 pixels and drew 4×4"):
        model.run("cat", 0, steps=3, height=7, width=SIDE)


@pytest.mark.weights
def test_lancet_refuses_sizes_that_it_would_round():
    import clerestory

    model = clerestory.load("lancet", device="cpu")
    with pytest.raises(OptionError, match="height is 65; lancet draws multiples of 16"):
        model.run("a cat", 0, height=65, width=65)
