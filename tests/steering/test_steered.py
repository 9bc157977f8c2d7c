import json

import numpy as np
import pytest
from tiny import WIDTH, tiny_model

from clerestory.edits import Add
from clerestory.errors import EditError, ModelError, OutputError, RegistryError, SiteError
from clerestory.io.digests import seal
from clerestory.steering import SteeredModel

RNG = np.random.default_rng(5)
EDITS = [
    Add("prior/embedding", RNG.normal(size=WIDTH), strength=1.5, scale=0.7),
    Add("denoiser.mid.res.0/out@1", RNG.normal(size=24), strength=-1.0),
    Add("text.blocks.0/mlp", RNG.normal(size=48), branch="both"),
]


@pytest.fixture
def model():
    return tiny_model()


def test_a_steered_model_draws_with_its_edits_in_order(model):
    steered = SteeredModel(model, EDITS[:2])
    expected = model.run("a cat", range(2), edits=EDITS).pictures
    assert (steered.run("a cat", range(2), edits=EDITS[2:]).pictures == expected).all()
    assert not (steered.draw("a cat", range(2)) == model.run("a cat", range(2)).pictures).all()


def test_edits_of_one_site_are_applied_in_order(model):
    class Twice:
        site = "prior/embedding"

        def __call__(self, value):
            return 2 * value

    one = Add("prior/embedding", np.ones(WIDTH))
    read = "prior/embedding"
    plain, first, last = (
        model.run("a cat", edits=edits, read=read, pictures=False).read(read).values
        for edits in ([], [one, Twice()], [Twice(), one])
    )
    assert np.allclose(first, 2 * (plain + 1), atol=1e-5)
    assert np.allclose(last, 2 * plain + 1, atol=1e-5)


def test_a_saved_one_draws_the_same(model, tmp_path):
    steered = SteeredModel(model, EDITS, provenance={"study": "test", "auroc": 0.9})
    place = steered.save(tmp_path / "saved")
    again = SteeredModel.load(place, model)
    assert (again.draw("a dog", [4]) == steered.draw("a dog", [4])).all()
    assert again.provenance == {"study": "test", "auroc": 0.9}
    told = json.loads((place / "steering.json").read_text())
    assert told["base"]["name"] == "tiny" and told["edits"][0]["scale"] == 0.7
    assert sorted(path.name for path in place.iterdir()) == [
        "card.md",
        "edits.safetensors",
        "steering.json",
    ]


def test_nothing_is_overwritten(model, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        SteeredModel(model, EDITS).save(tmp_path)
    with pytest.raises(OutputError, match="is a file"):
        SteeredModel(model, EDITS).save(tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_edit_that_cannot_be_saved_leaves_no_folder(model, tmp_path):
    class Mine:
        site = "prior/embedding"

        def __call__(self, value):
            return value

    with pytest.raises(EditError, match="A Mine cannot be saved"):
        SteeredModel(model, [Mine()]).save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_edits_that_do_not_fit_the_model_are_refused(model):
    with pytest.raises(SiteError, match="prior/embedding"):
        SteeredModel(model, [Add("prior/embeding", np.ones(WIDTH))])
    with pytest.raises(EditError, match="is for 3 units and the site has 32"):
        SteeredModel(model, [Add("prior/embedding", np.ones(3))])


def test_what_is_no_steered_model_is_refused_in_one_line(model, tmp_path):
    with pytest.raises(ModelError, match=r"holds no steered model: .*`steer build --out`"):
        SteeredModel.load(tmp_path)
    place = SteeredModel(model, EDITS).save(tmp_path / "saved")
    text = (place / "steering.json").read_text()
    for old, new, error, words in (
        ('"add"', '"ad"', RegistryError, "Did you mean add"),
        ('"format": 3', '"format": 2', ModelError, "format 3.*build it again"),
        ('"versions"', '"news"', ModelError, "(versions|news) does not fit.*another version"),
        ('"revision": ""', '"revision": "x"', ModelError, "make it again"),
        ('"strength"', '"strenght"', ModelError, "does not fit"),
    ):
        # With a digest of its own, as whoever wrote it can.
        altered = json.dumps(seal(json.loads(text.replace(old, new))))
        (place / "steering.json").write_text(altered)
        with pytest.raises(error, match=words) as raised:
            SteeredModel.load(place, model)
        assert "\n" not in str(raised.value)
    (place / "steering.json").write_text(text)
    (place / "edits.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="damaged"):
        SteeredModel.load(place, model)


def test_another_base_model_is_refused_with_what_differs(model, tmp_path):
    place = SteeredModel(model, EDITS).save(tmp_path / "saved")
    other = tiny_model()
    weight = other.pipeline.unet.conv_in.weight
    kept = weight.data.clone()
    try:
        weight.data.neg_()
        with pytest.raises(ModelError, match=r"is another \(weights '\w+' there, '\w+' here\)"):
            SteeredModel.load(place, other)
    finally:
        weight.data.copy_(kept)
    assert SteeredModel.load(place, other).edits


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"load_options": {"pickles": "true"}}, "base.load_options.pickles.* does not fit"),
        ({"load_options": {"lora": 1}}, "base.load_options.lora does not fit"),
        ({"extra": "x"}, "base.extra does not fit"),
        ({"name": None}, "base.name does not fit"),
    ],
)
def test_a_base_that_says_more_than_it_should_is_refused(model, tmp_path, change, words):
    place = SteeredModel(model, EDITS).save(tmp_path / "saved")
    told = json.loads((place / "steering.json").read_text())
    told["base"] |= change
    (place / "steering.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match=words):
        SteeredModel.load(place, model)


def test_any_calibration_can_be_saved_and_the_card_escapes_it(model, tmp_path):
    told = {"label": "![x](http://a) <b> `c`", "note": 1}
    place = SteeredModel(model, EDITS, calibration=told).save(tmp_path / "saved")
    card = (place / "card.md").read_text()
    assert r"\!\[x\]\(http" in card and "<b>" not in card
    assert SteeredModel.load(place, model).calibration == told
