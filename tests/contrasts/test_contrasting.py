from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import planted_samples as planted

from clerestory.contrasts import contrast
from clerestory.errors import EvidenceError


@pytest.fixture
def table() -> pd.DataFrame:
    return planted.samples()


def test_the_planted_direction_and_neuron_come_first(table: pd.DataFrame) -> None:
    found = contrast(planted.activations(table), table)
    assert found.top_ranked("direction").unit == "prior/embedding[difference]"
    neuron = found.top_ranked("neuron")
    assert (neuron.unit, neuron.sign) == ("prior/embedding[3]", -1)
    assert neuron.detects.auroc > 0.95
    assert neuron.detects.hard_negative_auroc is not None
    assert neuron.detects.q < 1e-6
    direction = found.direction("prior/embedding")
    cosine = direction @ planted.CONCEPT / np.linalg.norm(direction) / 5
    assert cosine > 0.97


def test_a_unit_of_the_hard_negatives_words_is_not_taken_for_the_concept(
    table: pd.DataFrame,
) -> None:
    found = contrast(planted.activations(table), table)
    words = next(f for f in found.findings if f.unit == "text.blocks.0/mlp[5]")
    assert words.detects.auroc > 0.99
    assert words.detects.hard_negative_auroc == pytest.approx(0.5, abs=0.2)
    assert words.rank > 2


def test_nothing_is_found_where_nothing_is_planted(table: pd.DataFrame) -> None:
    found_any = 0
    for seed in range(12):
        values = planted.activations(table, strength=0.0, seed=seed)
        found = contrast(values, table, top=2, flips=20)
        found_any += any(finding.detects.q <= 0.05 for finding in found.findings)
    assert found_any <= 2


def test_the_evaluation_half_has_no_say_in_what_is_selected(table: pd.DataFrame) -> None:
    values = planted.activations(table)
    found = contrast(values, table, flips=2)
    evaluation = (table["half"] == "evaluation").to_numpy()
    shuffled = {site: array.copy() for site, array in values.items()}
    rng = np.random.default_rng(1)
    for array in shuffled.values():
        array[evaluation] = rng.permutation(array[evaluation])
    blind = contrast(shuffled, table, flips=2)
    assert {(f.unit, f.rank, f.sign) for f in found.findings} == {
        (f.unit, f.rank, f.sign) for f in blind.findings
    }
    assert (found.direction("prior/embedding") == blind.direction("prior/embedding")).all()
    assert blind.top_ranked("neuron").detects.q > 0.05


def test_seeds_are_averaged_and_never_counted(table: pd.DataFrame) -> None:
    values = planted.activations(table)
    twice = pd.concat([table, table.assign(seed=table["seed"] + 2)], ignore_index=True)
    doubled = {site: np.vstack([array, array]) for site, array in values.items()}
    one, two = contrast(values, table, flips=5), contrast(doubled, twice, flips=5)
    assert one.findings[0].detects == two.findings[0].detects
    assert one.findings[0].detects.pairs == 30


def test_figures_are_those_of_the_averaged_pairs(table: pd.DataFrame) -> None:
    from scipy import stats

    values = planted.activations(table)
    found = next(
        f for f in contrast(values, table, flips=1).findings if f.unit == "prior/embedding[1]"
    )
    mine = table.assign(value=values["prior/embedding"][:, 1])
    mean = mine[mine["half"] == "evaluation"].groupby(["arm", "item"])["value"].mean()
    positive, negative = mean["positive"].to_numpy(), mean["negative"].to_numpy()
    u = stats.mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative))
    assert found.detects.auroc == pytest.approx(u, abs=1e-9)
    assert found.detects.win_rate == (positive > negative).mean()
    assert found.detects.low <= u <= found.detects.high


def test_few_items_and_few_templates_are_warned_of() -> None:
    table = planted.samples(items=6, templates=1)
    found = contrast(planted.activations(table), table, flips=5)
    assert "Only 6 items" in " ".join(found.warnings)
    assert "one word" in " ".join(found.warnings)
    assert (
        contrast(planted.activations(planted.samples()), planted.samples(), flips=5).warnings == ()
    )


def test_constant_units_are_no_finding_and_no_crash(table: pd.DataFrame) -> None:
    found = contrast({"text/pooled": np.ones((len(table), 3))}, table, flips=5)
    assert {finding.detects.auroc for finding in found.findings} == {0.5}
    assert {finding.detects.q for finding in found.findings} == {1.0}
    assert found.null.any_found == 0


def test_without_hard_negatives_there_is_no_figure_for_it(table: pd.DataFrame) -> None:
    used = (table["arm"] != "hard_negative").to_numpy()
    values = {site: array[used] for site, array in planted.activations(table).items()}
    found = contrast(values, table[used].reset_index(drop=True), flips=5)
    assert found.findings[0].detects.hard_negative_auroc is None


def test_activations_that_do_not_fit_are_refused(table: pd.DataFrame) -> None:
    with pytest.raises(EvidenceError, match="average steps"):
        contrast({"prior/embedding": np.ones((len(table), 2, 3))}, table)
    bad = np.ones((len(table), 3))
    bad[:2, 1] = np.nan
    with pytest.raises(EvidenceError, match="not finite in 2 of"):
        contrast({"prior/embedding": bad}, table)
    with pytest.raises(EvidenceError, match="No site"):
        contrast({}, table)
