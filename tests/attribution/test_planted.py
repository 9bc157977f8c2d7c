"""Attribution of a model that draws by known rules, so that every share is known."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from clerestory.attribution import attribute, paraphrase, parse_pieces
from clerestory.attribution.games import estimates
from clerestory.attribution.paraphrases import TEMPLATES
from clerestory.attribution.shapley import all_coalitions, exact_indices
from clerestory.models import Model, Options

RED, BLUE = "python:planted:red=yes", "python:planted:blue=yes"
NOISY = "[raven] in a [library]"
PROMPT = "[tycho] with a [raven] in a [library]"
SEEDS = range(8)


class Planted(Model):
    """Draws red by the raven, more by raven and library together, and blue without the name."""

    name, revision, pipeline, conditioning_site = "planted", "", None, "decoder/condition"
    defaults = Options()
    dictionaries: ClassVar[dict[str, Any]] = {}
    sites: ClassVar[dict[str, Any]] = {"decoder/out": SimpleNamespace(stage="decoder")}
    family = SimpleNamespace(check_prompts=lambda prompts: None, encoder_stages=(), windows={})

    def __init__(self) -> None:
        """It has no pipeline."""

    def check_prompt(self, prompt: str) -> None:
        pass

    def tokenize(self, prompt: str) -> list[str]:
        return prompt.split()

    def options(self, **changed: Any) -> Options:
        return self.defaults.replace(**changed)

    def sweep(self, prompts: Any, seeds: Any, edit_sets: Any, **how: Any) -> Any:
        pictures = np.zeros((len(prompts), 2, 2, 3), np.uint8)
        for picture, prompt, seed in zip(pictures, prompts, seeds, strict=True):
            raven, library = "raven" in prompt, "library" in prompt
            red = 4 * raven + 2 * (raven and library)
            blue = 0 if "tycho" in prompt else 6
            picture[..., 0] = 255 * (seed < red)
            picture[..., 2] = 255 * (seed < blue)
        return [SimpleNamespace(pictures=pictures, site_values={}) for _ in edit_sets]


class Noisy(Planted):
    """Draws red at a rate that depends on pieces and sentence, by the noise of each seed."""

    def sweep(self, prompts: Any, seeds: Any, edit_sets: Any, **how: Any) -> Any:
        pictures = np.zeros((len(prompts), 2, 2, 3), np.uint8)
        for picture, prompt, seed in zip(pictures, prompts, seeds, strict=True):
            picture[..., 0] = 255 * (np.random.default_rng(seed).random() < self.rate(prompt))
        return [SimpleNamespace(pictures=pictures, site_values={}) for _ in edit_sets]

    @staticmethod
    def rate(prompt: str) -> float:
        lean = 0.1 if "picture" in prompt else -0.1 if "drawing" in prompt else 0.0
        return 0.1 + 0.6 * ("raven" in prompt) + (0.2 + lean) * ("library" in prompt)


def split_noisy(**options: Any) -> Any:
    arguments = {"paraphrases": 48, "synergy": False, "path": False, "cache": False}
    model, prompt = Noisy(), NOISY
    arguments |= {"of": [RED], "progress": False, **options}
    return attribute(model, prompt, **arguments)  # type: ignore[arg-type]


def colour(channel: int) -> Any:
    def classifier(pictures: Any) -> Any:
        shown = pictures[:, 0, 0, channel] / 255
        return np.stack([shown, 1 - shown], 1)

    classifier.classes = ("yes", "no")  # type: ignore[attr-defined]
    return classifier


@pytest.fixture(autouse=True)
def classifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "planted", SimpleNamespace(red=colour(0), blue=colour(2)))


@pytest.fixture
def result(classifiers: None) -> Any:
    return attribute(
        Planted(),  # type: ignore[arg-type]
        PROMPT,
        [RED, BLUE],
        seeds=SEEDS,
        paraphrases=20,
        synergy=False,
        path=False,
    )


def test_shapley_values_and_interactions_are_those_of_the_rule(result: Any) -> None:
    split = result.of[RED]
    assert split.interval == "binomial" and split.templates == 20
    assert [warning.kind for warning in result.warnings] == ["shared-seeds"]
    assert {share.piece: share.value for share in split.shapley} == pytest.approx(
        {"tycho": 0, "raven": 4 / 8 + 1 / 8, "library": 1 / 8}
    )
    pairs = {pair.pieces: pair.value for pair in split.interactions}
    assert pairs == pytest.approx(
        {("tycho", "raven"): 0, ("tycho", "library"): 0, ("raven", "library"): 2 / 8}
    )


def test_total_single_effects_and_synergy_are_those_of_the_rule(result: Any) -> None:
    split = result.of[RED]
    assert split.total.value == pytest.approx(6 / 8)
    assert [share.value for share in split.single] == pytest.approx([0, 4 / 8, 0])
    assert split.synergy.value == pytest.approx(2 / 8)
    assert split.values == pytest.approx((0, 0, 4 / 8, 4 / 8, 0, 0, 6 / 8, 6 / 8))


def test_a_piece_that_takes_something_away_has_a_negative_share(result: Any) -> None:
    name, raven, library = result.of[BLUE].shapley
    assert name.value == pytest.approx(-6 / 8) and name.high < 0
    assert raven.value == pytest.approx(0) and library.value == pytest.approx(0)


def test_summary_names_the_largest_share_and_the_table_has_a_row_for_each(result: Any) -> None:
    assert f"'raven' adds +0.62 (+0.35 to +0.69) to {RED}" in repr(result)
    table = result.table()
    assert list(table.columns) == ["of", "pieces", "value", "low", "high"]
    assert len(table) == 2 * (3 + 3)
    assert "raven x library" in result._repr_html_()


def test_intervals_cover_the_value_of_other_sentences_and_seeds() -> None:
    sentences = paraphrase(parse_pieces(NOISY), 3 * len(TEMPLATES))
    rates = np.array(
        [
            [Noisy.rate(sentence.text(present)) for present in all_coalitions(2)]
            for sentence in sentences
        ]
    )
    raven, library = exact_indices(rates).shapley.mean(0)
    covered = []
    for number in range(60):
        # Another choice of sentences, and of seeds, each time.
        chosen = paraphrase(sentences[0], 20, seed=number)
        split = split_noisy(paraphrases=chosen, seeds_per_paraphrase=1, seed=number).of[RED]
        for share, true in zip(split.shapley, (raven, library), strict=True):
            covered.append(share.low <= true <= share.high)
            assert share.low < share.high
    # 60 data sets of two shares: a coverage of .93 falls below this in one of 200.
    assert np.mean(covered) >= 0.93 - 2.6 * (0.93 * 0.07 / 120) ** 0.5


def test_every_paraphrase_has_seeds_of_its_own_which_its_coalitions_share() -> None:
    result = split_noisy(seeds_per_paraphrase=3)
    assert {len(own) for own in result.seeds} == {3}
    assert len({seed for own in result.seeds for seed in own}) == 3 * 48
    assert not result.warnings
    assert result.seeds != split_noisy(seeds_per_paraphrase=3, seed=1).seeds
    (kind,) = (warning.kind for warning in split_noisy(seeds=range(3)).warnings)
    assert kind == "shared-seeds"


def test_few_templates_are_reported() -> None:
    sentences = [
        replace(each, template=each.template[:1]) for each in paraphrase(parse_pieces(NOISY), 20)
    ]
    result = split_noisy(paraphrases=sentences)
    (warning,) = result.warnings
    assert warning.kind == "few-templates" and result.of[RED].templates < 12


@pytest.mark.parametrize(
    ("chances", "templates"), [((0.02, 0.98), 0.0), ((0.3, 0.8), 0.3), ((0.5, 0.5), 0.2)]
)
def test_figures_of_few_paraphrases_keep_their_coverage(
    chances: tuple[float, float], templates: float
) -> None:
    """A target of known rates: each paraphrase and seed draws each coalition once."""
    rng = np.random.default_rng(27)
    repeats, paraphrases = 400, 12
    none, both = chances
    rates = np.array([none, both, none, both])  # the first piece alone does it
    covered = np.zeros(2)
    for _ in range(repeats):
        lean = rng.uniform(-templates, templates, size=(paraphrases, 1))
        own = np.clip(rates + lean * np.array([0, 1, 0, 1]) * min(both, 1 - both), 0, 1)
        values = (rng.random((paraphrases, 4)) < own).astype(float)
        found = estimates(exact_indices(values).shapley, 1)
        covered += [
            each.low <= true <= each.high
            for each, true in zip(found, (both - none, 0), strict=True)
        ]
    assert (covered / repeats >= 0.93).all()
