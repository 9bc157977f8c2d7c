"""Names of units by machine: planted words are named, noise is not, and drawings know the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import planted_cause
from helpers.recordings import recording_of
from tiny import tiny_model

from clerestory.dictionaries import Dictionary
from clerestory.dictionaries.kinds.relu import ReLU
from clerestory.errors import EvidenceError, RecordingError, SiteError
from clerestory.naming import UnitNames, may_be_shown, name_units, score_texts
from clerestory.naming.candidates import closest, is_function_word
from clerestory.naming.embeddings import JointSpace
from clerestory.naming.samples import NamingSamples
from clerestory.recordings import Recording, record

SITE, TEXT = "text.blocks.1/mlp", "text.blocks.0/mlp"
WORDS = ["owl", "fox", "elk", "bee", "ant", "cat", "hen", "pig", "cow", "rat", "boar", "wolf"]
OTHERS = [f"word{number}" for number in range(40)]
PLANTED, PAIR, PICTURED = 0, 1, 2


def silent(*_: object) -> None:
    """No progress."""


def random_prompts(count: int = 480) -> pd.DataFrame:
    """An animal, perhaps stained glass or only stained or glass, and a number that no other has."""
    rng = np.random.default_rng(0)
    texts = []
    for number in range(count):
        kind = rng.choice(
            ["stained glass", "stained wood", "clear glass", "wood", "wool", "clay", "tin"]
        )
        texts.append(f"a {rng.choice(WORDS)} of {kind} no{number}")
    return pd.DataFrame({"prompt": texts, "seed": range(count)})


def planted(table: pd.DataFrame, units: int = 8) -> np.ndarray:
    """Noise; one unit is raised by `owl`, one by `stained glass` and by neither word alone."""
    values = np.random.default_rng(1).normal(size=(len(table), 1, units))
    prompts = table["prompt"]
    values[:, 0, PLANTED] += 4 * prompts.str.contains("owl")
    values[:, 0, PAIR] += 4 * prompts.str.contains("stained glass")
    return values


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> UnitNames:
    table = random_prompts()
    recording = recording_of(
        table, {SITE: planted(table)}, tmp_path_factory.mktemp("named") / "rec"
    )
    return name_units(recording)


def test_a_planted_word_and_a_planted_pair_are_the_names(named: UnitNames) -> None:
    first, second = (named.of(f"{SITE}[{unit}]")[0] for unit in (PLANTED, PAIR))
    assert (first.text, first.detection.status, first.detection.basis) == ("owl", "found", "words")
    assert (second.text, second.detection.status) == ("stained glass", "found")
    assert second.detection.auroc is not None and second.detection.auroc > 0.98
    assert second.detection.low is not None and second.detection.low > 0.9
    assert first.drawing is None
    assert "found by detection" in named.summary()


def test_function_words_are_no_names(tmp_path: Path) -> None:
    """`of` raises a unit by as much as `two`, which a picture shows."""
    rng = np.random.default_rng(0)
    texts = [
        f"{rng.choice(['two', 'the'])} {rng.choice(WORDS)} {rng.choice(['of', 'by'])} no{number}"
        for number in range(480)
    ]
    table = pd.DataFrame({"prompt": texts, "seed": range(480)})
    values = rng.normal(size=(480, 1, 2))
    values[:, 0, 0] += 4 * table["prompt"].str.contains("two ")
    values[:, 0, 1] += 4 * table["prompt"].str.contains(" of ")
    recording = recording_of(table, {SITE: values}, tmp_path / "rec")
    names = name_units(recording, vocabulary=["with", "red"], progress=False)
    assert names.of(f"{SITE}[0]")[0].text == "two"
    assert not {"of", "by", "the", "with"} & {
        word for name in names.names for word in name.text.split()
    }
    assert [is_function_word(word) for word in ("Of", "fire", "with", "raven")] == [1, 0, 1, 0]


def test_the_score_is_the_auroc_over_held_out_prompts_alone(named: UnitNames) -> None:
    table = random_prompts()
    values = planted(table)[:, 0, PLANTED].astype("f4")
    held_out = np.array([not may_be_shown(prompt) for prompt in table["prompt"]])
    fits = table["prompt"].str.contains("owl").to_numpy()
    inside, outside = values[held_out & fits], values[held_out & ~fits]
    expected = (inside[:, None] > outside).mean()
    detection = named.of(f"{SITE}[{PLANTED}]")[0].detection
    assert detection.auroc == pytest.approx(expected)
    assert (detection.prompts, detection.items) == (len(inside), len(inside))


def test_names_are_saved_and_read(named: UnitNames, tmp_path: Path) -> None:
    named.save(tmp_path / "names")
    assert UnitNames.load(tmp_path / "names").to_dict() == named.to_dict()
    assert list(named.table()["unit"][:2]) == [named.names[0].unit, named.names[1].unit]
    named.plot().to_dict()


def test_shuffled_activations_get_no_more_names_than_the_level(tmp_path: Path) -> None:
    """300 units of noise: p is at most .05 in one of 20, and after the correction in none."""
    table = random_prompts()
    values = np.random.default_rng(7).normal(size=(len(table), 1, 300))
    recording = recording_of(table, {SITE: values}, tmp_path / "rec")
    names = name_units(recording, names=1)
    p = np.array([name.detection.p for name in names.names], float)
    assert len(p) > 100  # many units have some word that seems to raise them
    # Three standard deviations of a binomial share above .05.
    assert (p <= 0.05).mean() < 0.05 + 3 * (0.05 * 0.95 / len(p)) ** 0.5
    assert not any(name.detection.status == "found" for name in names.names)


def test_the_halves_share_no_item_and_no_template(tmp_path: Path) -> None:
    rows = [
        (f"{kind} {item} t{template}", f"thing {item}", f"t{template} {{item}}", item)
        for item in range(48)
        for template in range(12)
        for kind in ("owl", "fox")
    ]
    table = pd.DataFrame(rows, columns=["prompt", "item", "template", "seed"])
    samples = NamingSamples.of(table)
    for codes in (samples.items, samples.templates, np.arange(len(samples.prompts))):
        assert not set(codes[samples.selection]) & set(codes[samples.evaluation])
    values = np.random.default_rng(0).normal(size=(len(table), 1, 2))
    values[:, 0, 0] += 3 * table["prompt"].str.startswith("owl")
    recording = recording_of(table, {SITE: values}, tmp_path / "rec")
    name = name_units(recording, names=1).of(f"{SITE}[0]")[0]
    assert (name.text, name.detection.status) == ("owl", "found")
    # Half of the items and of the templates, less those of which no prompt was held out.
    assert 18 <= name.detection.items <= 24


def test_too_few_held_out_prompts_of_a_word_decide_nothing(tmp_path: Path) -> None:
    table = random_prompts()
    table.loc[: len(table) // 25, "prompt"] += " rare"
    values = planted(table)
    values[:, 0, 3] += 9 * table["prompt"].str.contains("rare")
    recording = recording_of(table, {SITE: values}, tmp_path / "rec")
    name = name_units(recording, units=[f"{SITE}[3]"]).names[0]
    assert (name.text, name.detection.status) == ("rare", "undecided")
    assert name.detection.prompts < 12


@pytest.fixture(scope="module")
def model_names(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, UnitNames]:
    """A model in which `glass` raises the units 0 and 1, and nothing else does."""
    model = planted_cause.model()
    prompts = [
        text.replace("no", "of glass no" if at % 3 == 0 else "of clay no")
        for at, text in enumerate(random_prompts(240)["prompt"].str.replace("glass", "x"))
    ]
    folder = tmp_path_factory.mktemp("model") / "rec"
    recording = record(model, prompts, 0, sites=TEXT, pictures=False, out=folder, progress=False)
    return model, recording, name_units(recording, model, names=1, vocabulary=OTHERS, others=39)


def test_what_raises_the_unit_in_the_model_is_found_by_drawing(model_names: Any) -> None:
    _, _, names = model_names
    name = names.of(f"{TEXT}[0]")[0]
    assert name.text == "glass" and name.drawing is not None
    assert name.drawing.status == "found" and name.drawing.low > 0.5
    # First of all words: 39 of the same number of words, less those that are the name's own.
    assert name.drawing.p == pytest.approx(1 / (1 + name.drawing.others))
    assert name.drawing.items == 12 and name.detection.status == "found"


def test_themes_of_people_are_scored_alike(model_names: Any) -> None:
    model, recording, names = model_names
    unit = f"{TEXT}[0]"
    right, wrong = score_texts(
        recording, [(unit, "Glass"), (unit, "owl")], model, vocabulary=OTHERS, others=39
    )
    own = names.of(unit)[0]
    assert right.detection.auroc == own.detection.auroc and right.text == "Glass"
    assert right.drawing is not None and wrong.drawing is not None
    # The planted text unit is lit by lower case alone.
    assert right.drawing.status != "found" and wrong.drawing.status != "found"
    assert wrong.detection.status != "found"


def test_a_word_is_not_found_by_drawing_more_often_than_the_level(model_names: Any) -> None:
    """Words that do nothing to a unit, of which every second lies above the mean of the others."""
    model, recording, _ = model_names
    texts = [(f"{TEXT}[{unit}]", word) for unit in (2, 3, 4, 5) for word in WORDS]
    scores = score_texts(recording, texts, model, vocabulary=OTHERS, others=39)
    p = np.array([score.drawing.p for score in scores if score.drawing is not None])
    assert len(p) == len(texts)
    assert (p <= 0.05).mean() < 0.05 + 3 * (0.05 * 0.95 / len(p)) ** 0.5
    assert not any(score.drawing.status == "found" for score in scores if score.drawing)


def test_latents_of_a_dictionary_are_named_like_units(model_names: Any) -> None:
    """A dictionary of rectified units: its first latent is the unit that `glass` raises."""
    _, recorded, _ = model_names
    dictionary = Dictionary(
        encoder=torch.eye(6),
        encoder_bias=torch.zeros(6),
        decoder=torch.eye(6),
        decoder_bias=torch.zeros(6),
        activation=ReLU(),
    )
    model, recording = planted_cause.model(), Recording.open(recorded.store.folder.where)
    for target in (model, recording):
        target.attach(dictionary, "own", site=TEXT)
    unit = f"{TEXT}:own[0]"
    (name,) = name_units(
        recording, model, units=[unit], names=1, vocabulary=OTHERS, others=39
    ).names
    assert (name.unit, name.text, name.detection.status) == (unit, "glass", "found")
    assert name.drawing is not None and name.drawing.status == "found"


def test_another_model_is_refused(model_names: Any) -> None:
    _, recording, _ = model_names
    with pytest.raises(RecordingError):
        name_units(recording, tiny_model())
    with pytest.raises(SiteError, match="not one unit"):
        name_units(recording, units=[TEXT])


def test_closeness_is_the_cosine_of_the_text_with_the_prior_s_picture(tmp_path: Path) -> None:
    model = tiny_model()
    prompts = [f"a cat {letter}{other}" for letter in "abcdefgh" for other in "ijklmnopqr"]
    recording = record(
        model, prompts, 3, sites="prior/embedding", pictures=False, out=tmp_path / "rec"
    )
    samples = NamingSamples.of(recording.samples)
    space = JointSpace(recording, model, samples, silent)
    assert space.site == "prior/embedding"
    pipeline = model.pipeline
    tokens = pipeline.prior_tokenizer(
        ["dog", "cat"], padding="max_length", return_tensors="pt", truncation=True
    )
    with torch.no_grad():
        texts = pipeline.prior_text_encoder(tokens.input_ids).text_embeds.numpy()
    pictures = recording.read("prior/embedding").to_numpy()[:, 0]
    pictures = pictures - pictures.mean(0)
    cosines = pictures @ texts.T / np.linalg.norm(pictures, axis=1, keepdims=True)
    cosines /= np.linalg.norm(texts, axis=1)
    assert space.closeness(["dog", "cat"]) == pytest.approx(cosines, abs=1e-4)


def test_a_word_that_no_prompt_has_names_what_its_pictures_share(tmp_path: Path) -> None:
    """A unit that is high where the prior's picture is close to `dog`, which no prompt says."""
    model = tiny_model()
    rng = np.random.default_rng(0)
    prompts = ["".join(rng.permutation(list("abcefhijklm"))[:9]) for _ in range(300)]
    found = record(model, prompts, 3, sites="prior/embedding", pictures=False, out=tmp_path / "a")
    samples = NamingSamples.of(found.samples)
    closeness = JointSpace(found, model, samples, silent).closeness(["dog"])[:, 0]
    plan = found.store.plan
    values = rng.normal(size=(300, 1, 4))
    values[:, 0, PICTURED] += 4 * closest(closeness[:, None])[:, 0]
    arrays = {SITE: values, "prior/embedding": found.read("prior/embedding").to_numpy()}
    recording = recording_of(plan.table, arrays, tmp_path / "b", model=plan.model)
    words = ["dog", "cat", "ox"]
    names = name_units(recording, model, vocabulary=words, drawing=False, sites=SITE)
    name = names.of(f"{SITE}[{PICTURED}]")[0]
    assert (name.text, name.detection.basis, name.detection.status) == ("dog", "embedding", "found")
    assert any(warning.kind == "classifier" for warning in names.warnings)


def test_few_prompts_are_refused(tmp_path: Path) -> None:
    table = random_prompts(30)
    recording = recording_of(table, {SITE: planted(table)}, tmp_path / "rec")
    with pytest.raises(EvidenceError, match="names need 24"):
        name_units(recording)
