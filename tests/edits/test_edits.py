"""Every kind of edit on values whose answer is known, at the positions that it names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.dictionaries import small_dictionary
from sklearn.linear_model import LogisticRegression
from tiny import WIDTH, tiny_model

from clerestory.dictionaries import Reconstruct
from clerestory.edits import Ablate, Add, Clamp, Erase, Patch, Reflect, Scale, edits
from clerestory.errors import ClerestoryError, EditError, PromptError
from clerestory.steering import SteeredModel

VALUE = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
WAY = np.array([0.0, 3.0, 4.0, 0.0, 0.0])
SITE = "text.blocks.0/mlp"
UNITS = 48
RNG = np.random.default_rng(3)


def along(value):
    return value @ torch.tensor(WAY / 5, dtype=torch.float32)


def test_renorm_keeps_each_positions_length_and_turns_it():
    moved = Add("a/b", WAY, renorm=True)(VALUE)
    assert torch.allclose(moved.norm(dim=-1), VALUE.norm(dim=-1), atol=1e-5)
    parallel = torch.nn.functional.cosine_similarity(moved, VALUE + torch.tensor(WAY).float(), -1)
    assert torch.allclose(parallel, torch.ones(3, 4), atol=1e-5)


def test_ablate_sets_the_level_and_keeps_the_rest():
    held = Ablate("a/b", WAY, level=2.0)(VALUE)
    assert torch.allclose(along(held), torch.full((3, 4), 2.0), atol=1e-5)
    off = held - VALUE
    assert torch.allclose(
        off - along(off)[..., None] * torch.tensor(WAY / 5).float(), off * 0, atol=1e-5
    )


def test_clamp_and_scale_touch_one_neuron_only():
    clamped, scaled = Clamp("a/b[2]", 7.0)(VALUE), Scale("a/b[2]", -2.0)(VALUE)
    assert (clamped[..., 2] == 7).all() and torch.equal(scaled[..., 2], -2 * VALUE[..., 2])
    others = [0, 1, 3, 4]
    for made in (clamped, scaled):
        assert torch.equal(made[..., others], VALUE[..., others])
    assert Clamp("a/b[2]@3", 1).site == "a/b@3"


def test_reflect_turns_back_only_what_reaches_beyond_and_keeps_lengths():
    level = 0.2
    turned = Reflect("a/b", WAY, level=level)(VALUE)
    beyond = along(VALUE) > level
    assert torch.equal(turned[~beyond], VALUE[~beyond])
    assert torch.allclose(turned.norm(dim=-1), VALUE.norm(dim=-1), atol=1e-5)
    assert (along(turned)[beyond] < level).all()
    mirrored = Reflect("a/b", WAY)(VALUE)
    assert torch.allclose(along(mirrored), -along(VALUE).abs(), atol=1e-5)


def test_after_erase_no_linear_classifier_tells_the_concept_and_little_else_changes():
    labels = np.repeat([0, 1], 400)
    activations = RNG.normal(size=(800, 6)) @ RNG.normal(size=(6, 6)) + 3
    activations[labels == 1] += [2, 0, 1, 0, 0, 0]
    edit = Erase.fit("a/b", activations, labels)
    erased = edit(torch.tensor(activations[:, None], dtype=torch.float32))[:, 0].numpy()
    accuracies = [
        LogisticRegression(max_iter=500).fit(x, labels).score(x, labels)
        for x in (activations, erased)
    ]
    assert accuracies[0] > 0.7 and accuracies[1] < 0.53
    apart = erased[labels == 1].mean(0) - erased[labels == 0].mean(0)
    assert np.allclose(apart, 0, atol=1e-4)
    assert edit.left.shape == (6, 1)
    with pytest.raises(EditError, match="two classes"):
        Erase.fit("a/b", activations, np.zeros(800))


def test_a_patch_of_one_sample_goes_into_all():
    sample = VALUE[:1].numpy()
    assert torch.equal(Patch("a/b", sample)(VALUE), VALUE[:1].expand(3, 4, 5))
    assert torch.equal(Patch("a/b", VALUE.numpy()).at([2])(VALUE[:1]), VALUE[2:])
    with pytest.raises(EditError, match="positions must fit"):
        Patch("a/b", sample[:, :2])(VALUE)


@pytest.mark.parametrize("positions", ["last", "tokens", "tokens:cat", "all"])
def test_an_edit_is_made_at_the_positions_that_it_names(positions):
    model = tiny_model()
    edit = Add(SITE, np.ones(UNITS), positions=positions)
    texts = ["a cat", "cat dog"]
    plain, moved = (
        model.run(texts, read=SITE, pool="none", pictures=False, edits=made).read(SITE)
        for made in ([], [edit])
    )
    changed = np.abs((moved - plain).to_numpy()[:, 0]).max(-1) > 0.5
    window = model.family.text_windows["text"]
    real, word = window.token_mask(texts).numpy(), window.word_mask(texts, "cat").numpy()
    last = np.arange(16) == (real * np.arange(16)).argmax(1)[:, None]
    assert real.sum(1).max() < 16
    known = {"last": last, "tokens": real, "tokens:cat": word, "all": np.ones_like(changed)}
    expected = known[positions]
    assert (changed == expected).all()


class Foreign:
    """An edit of another package, whose constructor checks nothing."""

    site, positions = SITE, "middle"

    def __call__(self, value):
        return value


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (Add(SITE, np.ones(UNITS), positions="tokens:dog"), "absent from 1 of 1 prompts"),
        (Foreign(), "write all, tokens, last or tokens:WORD"),
        (Add("prior/embedding", np.ones(WIDTH), positions="last"), "needs a site with tokens"),
        (Add(SITE, np.ones(UNITS), positions="last", branch="both"), "branch cond"),
        (Clamp(f"{SITE}[99]", 1.0), "none of number 99"),
    ],
)
def test_an_edit_that_cannot_be_made_there_is_refused(edit, words):
    with pytest.raises((EditError, PromptError), match=words):
        tiny_model().run("a cat", edits=[edit])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Add(SITE, np.ones(UNITS), positions="middle"), "must match pattern '.*all"),
        (lambda: Clamp(SITE, 1.0), "not one neuron"),
        (lambda: Scale(f"{SITE}[1,2]", 1.0), "not one neuron"),
        (lambda: Clamp(f"{SITE}[1]", float("nan")), "must be a finite number"),
        (lambda: Ablate(SITE, np.zeros(3)), "is zero"),
        (lambda: Reflect(SITE, np.ones(3), strength=float("inf")), "strength.*finite"),
        (lambda: Erase(SITE, torch.ones(3, 1), torch.ones(1, 2), torch.ones(3)), "do not fit"),
    ],
)
def test_what_is_no_edit_is_refused(make, words):
    with pytest.raises(ClerestoryError, match=words):
        make()


AFFINE = [
    Add("a/b", WAY, 2.0, scale=0.5),
    Ablate("a/b", WAY, level=1.5),
    Clamp("a/b[2]", 7.0),
    Scale("a/b[2]", -2.0),
    Erase.fit("a/b", RNG.normal(size=(90, 5)), np.arange(90) % 3),
]


@pytest.mark.parametrize("edit", AFFINE, ids=lambda edit: type(edit).__name__)
def test_the_affine_form_of_an_edit_is_the_edit(edit):
    matrix, bias = edit.as_affine(5)
    assert torch.allclose(edit(VALUE.double()), VALUE.double() @ matrix.T + bias, atol=1e-5)


def test_edits_that_are_not_affine_say_so_and_offer_the_nearest():
    assert Patch("a/b", VALUE.numpy()).as_affine(5) is None
    assert Patch("a/b", VALUE.numpy()).nearest_affine(5) is None
    by_sample = Add("a/b@2", WAY, [1.0, 3.0], renorm=True, positions="last")
    assert by_sample.as_affine(5) is None
    nearest = by_sample.nearest_affine(5).everywhere("both")
    assert (nearest.address, nearest.strength, nearest.renorm) == ("a/b", 2.0, False)
    assert (nearest.branch, nearest.positions) == ("both", "all")
    held = Reflect("a/b", WAY, level=0.3).nearest_affine(5)
    assert torch.equal(held(VALUE), Ablate("a/b", WAY, level=0.3)(VALUE))


KINDS = {
    "add": Add(SITE, RNG.normal(size=UNITS), 2.0, renorm=True, positions="last"),
    "ablate": Ablate(SITE, RNG.normal(size=UNITS), level=0.5),
    "clamp": Clamp(f"{SITE}[3]", 4.0),
    "scale": Scale("denoiser.mid.res.0/out[3]@1", -3.0, branch="both"),
    "reflect": Reflect("prior/embedding", RNG.normal(size=WIDTH), strength=1.5),
    "erase": Erase.fit("prior/embedding", RNG.normal(size=(99, WIDTH)), np.arange(99) % 2),
    "reconstruct": Reconstruct("prior/embedding", small_dictionary(WIDTH)),
    "patch": Patch("prior/embedding", RNG.normal(size=(1, 1, WIDTH)).astype(np.float32)),
}


@pytest.mark.parametrize("kind", sorted(edits))
def test_every_kind_is_saved_and_draws_the_same(kind, tmp_path):
    model = tiny_model()
    steered = SteeredModel(model, [KINDS[kind]])
    again = SteeredModel.load(steered.save(tmp_path / "s"), model)
    edit, copy = steered.edits[0], again.edits[0]
    units = model.sites[edit.site.partition("@")[0]].shape[1]
    value = torch.randn(1, 6, units, generator=torch.Generator().manual_seed(1))
    if kind == "patch":
        value = value[:, :1]
    assert torch.equal(copy(value), edit(value)) and not torch.equal(edit(value), value)
    assert copy.to_dict() == edit.to_dict()
    assert (again.draw("a cat", [4]) == steered.draw("a cat", [4])).all()
    card = (tmp_path / "s" / "card.md").read_text()
    assert f"`{kind}` at `{edit.address}`" in card


NO_NUMBERS = {
    "complex": np.ones(UNITS) + 1j,
    "dates": np.array(["2020-01-01"] * UNITS, "datetime64[D]"),
    "texts": ["1"] * UNITS,
    "masked": np.ma.masked_array(np.ones(UNITS), mask=[True] * UNITS),
    "beyond floats": [10**400] * UNITS,
    "missing": [None] * UNITS,
    "of no device": torch.ones(UNITS, device="meta"),
    "rows of several lengths": [[1.0], [1.0, 2.0]],
    "complex tensors": torch.ones(UNITS, dtype=torch.complex64),
}


@pytest.mark.parametrize("values", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_values_that_are_no_real_numbers_are_refused_in_one_line(values):
    for make in (
        lambda: Add(SITE, values),
        lambda: Ablate(SITE, values),
        lambda: Reflect(SITE, values),
        lambda: Patch(SITE, values),
        lambda: Add.in_deviations(SITE, np.ones(UNITS), values),
        lambda: Erase.fit(SITE, values, [0, 1, 0, 1]),
    ):
        with pytest.raises(EditError) as caught:
            make()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int8])
def test_a_tensor_of_any_precision_and_layout_is_its_numbers(dtype):
    numbers = torch.arange(UNITS).to(dtype)
    expected = Add(SITE, np.arange(UNITS)).vector
    for tensor in (numbers, numbers.to_sparse(), numbers.requires_grad_(dtype.is_floating_point)):
        assert torch.equal(Add(SITE, tensor).vector, expected)
    assert np.array_equal(Patch(SITE, numbers[None, None]).values[0, 0], np.arange(UNITS))


def test_numbers_beyond_floats_are_refused_in_one_line():
    for make in (
        lambda: Clamp(f"{SITE}[1]", 10**400),
        lambda: Scale(f"{SITE}[1]", 10**400),
        lambda: Add(SITE, np.ones(UNITS), 10**400),
        lambda: Erase.fit(SITE, RNG.normal(size=(40, UNITS)) * 1e300, np.arange(40) % 2),
        lambda: Erase.fit(SITE, RNG.normal(size=(40, UNITS)), [None, 1] * 20),
        lambda: Erase.fit(SITE, RNG.normal(size=(40, UNITS)), np.array([1j, 0] * 20)),
    ):
        with pytest.raises(EditError) as caught:
            make()
        assert "\n" not in str(caught.value)


def test_labels_of_pandas_are_texts():
    values = RNG.normal(size=(40, UNITS))
    texts = np.array(["a", "b"] * 20)
    one, other = (Erase.fit(SITE, values, each) for each in (texts, texts.astype(object)))
    assert torch.equal(one.left, other.left)
