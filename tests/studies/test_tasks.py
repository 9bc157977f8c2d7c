"""What each kind of task claims of made-up figures: never more than they show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from clerestory.attribution.results import Share
from clerestory.causal.results import BaselineEffects, UnitEffect
from clerestory.contrasts import Detection, Finding
from clerestory.evaluation import ClassChange, Effect, SideEffects
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.studies import Study
from clerestory.studies.tasks import attribute, group, maximize, suppress, to_status, verify
from clerestory.studies.tasks.build import Build
from clerestory.studies.tasks.familiarity import FamiliarityTask
from clerestory.studies.tasks.find import Find
from clerestory.studies.tasks.record import Record
from clerestory.studies.tasks.verify import Verify
from clerestory.suppression.results import status_of
from clerestory.types import ClaimStatus

GOOD = Detection(
    auroc=0.99, low=0.97, high=0.998, level=0.975, p=1e-7, q=1e-6, hard_negative_auroc=0.97,
    hard_negative_low=0.92, hard_negative_high=0.99, df=9.8, detectable_auroc=0.71, items=24,
)  # fmt: skip


def detecting(
    status: str = "found",
    design: str = "nested",
    unit: str = "prior/embedding[difference]",
    templates: tuple[int, ...] = (6, 6),
    samples: Any = None,
    **changed: Any,
) -> Any:
    """Findings of one direction."""
    detects = Detection(**{**vars(GOOD), **changed})
    first = Finding(unit, "direction", 1, 1, status, detects)  # type: ignore[arg-type]
    counts = dict(zip(("positive", "negative", "hard_negative"), templates, strict=False))
    shortage = EvidenceWarning("few-items", "Only 9 items to evaluate on; 12 are required.")
    return SimpleNamespace(
        top_ranked=lambda kind: first,
        templates={**counts, "design": design},
        samples=samples,
        warnings=[shortage, EvidenceWarning("confounded", "A column determines the arm.")],
    )


HARD = ("hard_negative_auroc", "hard_negative_low", "hard_negative_high")
FIND = Find(record="r", concept="glass", positive="a", negative="b", hard_negative="c")


@pytest.mark.parametrize(
    ("found", "smallest", "status"),
    [
        (detecting(), 0.5, "supported"),
        (detecting(), 0.91, "supported"),
        (detecting(hard_negative_low=0.6), 0.6, "undecided"),
        (detecting(**dict.fromkeys(HARD)), 0.96, "supported"),
        (detecting(high=0.98), 0.99, "not supported"),
        (detecting("undecided", low=0.1, high=0.2), 0.5, "undecided"),
        (detecting("not found", low=0.1, high=0.5), 0.5, "undecided"),
        (detecting("not found", low=0.4, high=0.59), 0.5, "undecided"),
        (detecting("not found", low=0.4, high=0.59), 0.6, "not supported"),
        (
            detecting("not found", hard_negative_low=0.4, hard_negative_high=0.59),
            0.6,
            "not supported",
        ),
        (detecting("reversed", low=0.1, high=0.49), 0.5, "not supported"),
    ],
)
def test_find_claims_what_was_found_and_refutes_what_is_below_the_smallest_effect(
    found: Any, smallest: float, status: ClaimStatus
) -> None:
    claim = FIND.model_copy(update={"smallest_auroc": smallest})._claim(found, "direction")
    assert claim.status == status
    assert ("is not shown to detect it" in claim.text) is (status == "undecided")
    assert ("does not detect it" in claim.text) is (status == "not supported")
    assert f"AUROC {claim.figure:.3f} ({claim.low:.3f} to {claim.high:.3f})" in claim.text
    assert f"every AUROC above {smallest:g};" in claim.criterion


def test_a_claim_says_its_design_its_power_and_what_it_generalises_over() -> None:
    def sentence(**options: Any) -> str:
        return FIND._claim(detecting(**options), "direction").text

    text = sentence()
    assert "against the hard negative 0.970 (0.920 to 0.990), 97.5% intervals, p < 0.0001," in text
    assert "q < 0.0001; 24 items, 6 phrases in each arm, df 9.8; an AUROC of 0.71 would be" in text
    assert text.endswith("The test generalises over items and phrases.")
    assert "; not even an AUROC of 1 would be found with 80% power" in sentence(
        detectable_auroc=1.2
    )
    assert "; without overlap of the arms no power can be given." in sentence(detectable_auroc=0.5)
    assert "p 0.02, q 0.034; " in sentence(p=0.02, q=0.034)
    assert sentence(status="undecided").endswith(" Only 9 items to evaluate on; 12 are required.")
    assert "Only 9 items" not in sentence(status="not found")
    assert "24 items, 6 positive and 5 negative phrases" in sentence(templates=(6, 5))
    crossed = sentence(design="crossed")
    assert "6 sentence frames in each arm" in crossed
    assert crossed.endswith("over items and sentence frames, not over phrases.")
    both = sentence(design="nested in crossed frames")
    assert both.endswith("over items, phrases and sentence frames.")
    one = sentence(design="cells", templates=(1, 1))
    assert one.endswith("over items, not over wordings.")
    assert sentence(design="cells").endswith("over items and wordings.")


def test_a_claim_about_one_frame_or_about_shared_seeds_says_so() -> None:
    def scope(frame: str, seeds: tuple[int, int], **options: Any) -> str:
        samples = pd.DataFrame({"item": ["cat", "dog"], "template": frame, "seed": seeds})
        return FIND._claim(detecting(samples=samples, **options), "direction").text

    assert scope("{style}", (1, 2)).endswith("over items, phrases and seeds.")
    assert scope("{style}", (1, 1)).endswith("over items and phrases, not over seeds.")
    assert scope("{style} at sea", (1, 2)).endswith("seeds, not over sentence frames.")
    # A text encoder computes the same for every seed.
    text = scope("{style}", (1, 1), unit="text.blocks.0/mlp[difference]")
    assert text.endswith("over items and phrases.")


def built(rate: float, low: float, high: float = 1.0, **changed: Any) -> dict[str, Any]:
    """What a build says of itself."""
    other = {"unedited": 0.05, "baseline": 0.1, "words": 0.6}
    lowest = 0.02
    baselines = {
        name: {
            "target_rate": up / 2,
            "target_interval": [lowest, up],
            "hard_negative_effect": 0.5,
            "preservation": {"lancet:subject": 0.95},
        }
        for name, up in other.items()
    }
    told = {"target_rate": rate, "target_interval": [low, high], "baselines": baselines}
    picked = {"site": "prior/embedding"}
    kept = {"lancet:subject": 0.7, "lancet:place": 0.99}
    rest = {"preservation": kept, "mean_preservation": 0.9, "selected": picked}
    return {
        **told,
        **rest,
        "hard_negative_effect": None,
        "hard_negative_interval": [-0.1, 0.1],
        "status": "supported",
        "effect": {"effect": rate, "low": low, "high": high},
        "together_with": [],
        "baseline_effects": {"directions": 99, "high": 0.1, "p": 0.01},
        "side_effects": {"changes": [{"limit": 0.15}]},
        **changed,
    }


BUILD = Study.load("stained-glass", "full").plan["build.glass"]
assert isinstance(BUILD, Build)


@pytest.mark.parametrize(
    ("low", "control", "beats", "status"),
    [
        (0.11, "supported", False, "supported"),
        (0.11, "undecided", False, "undecided"),
        (0.61, "not supported", True, "not supported"),
        (0.5, "supported", True, "undecided"),
        (0.61, "supported", True, "supported"),
        (0.61, "undecided", True, "undecided"),
    ],
)
def test_build_is_supported_where_the_edit_controls_the_target_and_beats_the_words_if_it_has_to(
    low: float, control: ClaimStatus, beats: bool, status: ClaimStatus
) -> None:
    task = BUILD.model_copy(update={"beats_words": beats})
    (claim,) = task._claims(built(0.8, low, status=control))
    assert claim.status == status
    assert "80.0%" in claim.text and f"({low:.1%} to 100.0%)" in claim.text
    assert "saying the words does in 30.0%" in claim.text
    assert "99 edits without the concept change the rate by at most +0.10 (p 0.01)" in claim.text
    assert "No other class changes by more than 0.15" in claim.text
    assert "preserves 90% of the rest on average, subject least (70%; " in claim.text
    assert ("(at most 60.0%)" in claim.criterion) is beats


def test_build_names_what_changes_with_the_target() -> None:
    changes = [f"lancet:subject={name} +0.50 (+0.30 to +0.70)" for name in "abcd"]
    (claim,) = BUILD._claims(built(0.8, 0.7, status="undecided", together_with=changes))
    assert f"It changes as well {changes[0]}" in claim.text and "and 1 more." in claim.text


@pytest.mark.parametrize(
    ("added", "interval", "low", "status"),
    [
        (0.05, [-0.1, 0.2], 0.7, "supported"),
        (0.051, [-0.1, 0.2], 0.7, "undecided"),
        (0.05, [-0.1, 0.21], 0.7, "undecided"),
        (-0.2, [-0.3, 0.1], 0.7, "supported"),
        (0.1, [0.06, 0.2], 0.7, "not supported"),
        (0.0, [-0.1, 0.1], 0.1, "undecided"),
    ],
)
def test_build_claims_a_rare_hard_negative_only_where_it_draws_the_concept(
    added: float, interval: list[float], low: float, status: ClaimStatus
) -> None:
    changed = {"hard_negative_effect": added, "hard_negative_interval": interval}
    _, claim = BUILD._claims(built(0.8, low, mean_preservation=None, **changed))
    assert (claim.id, claim.status, claim.figure) == ("hard negative", status, added)
    assert f"by {added:+.3f}" in claim.text and "+0.500" in claim.text


def shares(*spans: tuple[float, float]) -> list[Share]:
    return [
        Share((low + high) / 2, low, high, piece=name)
        for name, (low, high) in zip(("raven", "library", "name"), spans, strict=False)
    ]


@pytest.mark.parametrize(
    ("effect", "spans", "status"),
    [
        ("raises", [(0.3, 0.5), (0.0, 0.2)], "supported"),
        ("raises", [(0.3, 0.5), (0.1, 0.3)], "undecided"),
        ("raises", [(0.0, 0.5), (-0.2, -0.1)], "undecided"),
        ("raises", [(-0.5, -0.1), (-0.9, -0.8)], "not supported"),
        ("raises", [(0.1, 0.5)], "supported"),
        ("raises", [(0.1, 0.3), (0.2, 0.9)], "undecided"),
        ("raises", [(0.1, 0.3), (0.4, 0.9)], "not supported"),
        ("lowers", [(-0.5, -0.3), (-0.2, 0.0)], "supported"),
        ("lowers", [(-0.5, 0.0), (0.1, 0.2)], "undecided"),
        ("lowers", [(-0.5, -0.3), (-0.3, 0.0)], "undecided"),
        ("lowers", [(-0.5, -0.3), (-0.9, -0.6)], "not supported"),
        ("lowers", [(0.1, 0.3), (0.5, 0.6)], "not supported"),
        ("preserves", [(-0.05, 0.09), (0.5, 0.9)], "supported"),
        ("preserves", [(-0.05, 0.1), (0.5, 0.9)], "undecided"),
        ("preserves", [(-0.3, 0.05), (0.5, 0.9)], "undecided"),
        ("preserves", [(-0.3, -0.1), (0.5, 0.9)], "not supported"),
        ("preserves", [(0.1, 0.2), (0.5, 0.9)], "not supported"),
    ],
)
def test_a_piece_raises_lowers_or_preserves_where_its_interval_is_apart(
    effect: str, spans: list[tuple[float, float]], status: ClaimStatus
) -> None:
    told, *others = shares(*spans)
    claim = attribute._claim(effect, "black clothes", told, others)
    assert claim.status == status
    assert f"“raven” {attribute.VERBS[effect][status]} black clothes" in claim.text
    assert claim.text.startswith("“raven” ") and "black clothes" in claim.text
    assert all(f"“{one.piece}”" in claim.text for one in others)
    assert (claim.figure, claim.low, claim.high) == (told.value, told.low, told.high)


def suppressed(drop: float | None, change: float, low: float | None, high: float | None) -> Any:
    label = ClassChange(
        "lancet:mood", "sad", change, change - 0.1, change + 0.1, change + 0.08, 0.5
    )
    effects = SideEffects((label,), 0.2, 0.15, 24, 96)
    best = SimpleNamespace(
        name="negative prompt",
        reduction=drop,
        reduction_low=low,
        reduction_high=high,
        side_effects=effects,
        status=status_of(low, high, effects),
        unwanted_before=0.9,
        unwanted_after=0.2,
    )
    return SimpleNamespace(best=best, control=SimpleNamespace(unwanted=0.05), methods=(best,))


@pytest.mark.parametrize(
    ("drop", "change", "low", "high", "status"),
    [
        (0.9, 0.1, 0.81, 1.0, "supported"),
        (0.9, 0.1, 0.79, 1.0, "undecided"),
        (0.9, 0.15, 0.81, 1.0, "undecided"),
        (0.9, 0.35, 0.81, 1.0, "not supported"),
        (0.5, 0.0, 0.3, 0.79, "not supported"),
        (None, 0.0, None, None, "undecided"),
    ],
)
def test_suppress_is_supported_where_most_is_removed_and_nothing_else_changes(
    drop: float | None, change: float, low: Any, high: Any, status: ClaimStatus
) -> None:
    claim = suppress._claim(suppressed(drop, change, low, high))
    assert claim.status == status and claim.figure == drop
    gone = "nothing that can be" if drop is None else f"{drop:.0%} of the excess"
    assert gone in claim.text and "lancet:mood=sad" in claim.text
    assert "90% of pictures before, in 20% after" in claim.text
    assert "the design can show 0.15" in claim.criterion


def known(verdict: str, p: float, low: float | None) -> Any:
    controls = SimpleNamespace(names=("a",) * 99)
    power = None if low is None else SimpleNamespace(interval=(low, 1.0))
    return SimpleNamespace(
        verdict=verdict, p=p, distance=1.5, controls=controls, power=power,
        matched_text="90 match", power_text="14 of 14 are told",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "p", "low", "expected", "supported", "criterion"),
    [
        ("familiar", 0.01, 0.75, "familiar", True, "p at most .01"),
        ("not shown to be familiar", 0.5, 0.75, "familiar", None, "p at most .01"),
        ("undecided", 0.05, 0.75, "familiar", None, "p at most .01"),
        ("not shown to be familiar", 0.5, 0.75, "unfamiliar", True, "p above .1"),
        ("not shown to be familiar", 0.5, 0.6, "unfamiliar", None, "p above .1"),
        ("not shown to be familiar", 0.5, None, "unfamiliar", None, "p above .1"),
        ("familiar", 0.01, 0.75, "unfamiliar", False, "p above .1"),
        ("undecided", 0.05, 0.75, "unfamiliar", None, "p above .1"),
    ],
)
def test_a_name_is_unfamiliar_only_where_the_test_tells_known_names(
    verdict: str,
    p: float,
    low: float | None,
    expected: Any,
    supported: bool | None,
    criterion: str,
) -> None:
    claim = FamiliarityTask(phrase="mala zorn", expected=expected)._claim(known(verdict, p, low))
    assert claim.status == to_status(supported) and claim.criterion.startswith(criterion)
    assert f"is {verdict}: " in claim.text and "99 invented names" in claim.text
    assert "90 match; 14 of 14 are told" in claim.text


def test_the_criteria_of_familiarity_are_those_of_its_verdict() -> None:
    from clerestory.recognition.familiarity import FAMILIAR_P, NOT_SHOWN_P

    assert (FAMILIAR_P, NOT_SHOWN_P) == (0.01, 0.1)


def grouped(found: Any) -> Any:
    groups = {"scared": SimpleNamespace(findings=found, cells=30)}
    return type("Groups", (), {"groups": groups, "__getitem__": lambda self, name: groups[name]})()


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (detecting(design="cells"), "supported"),
        (detecting("not found", design="cells"), "undecided"),
        (detecting("undecided", design="cells", low=0.1, high=0.2), "undecided"),
        (detecting("reversed", design="cells", low=0.1, high=0.4), "not supported"),
    ],
)
def test_a_group_is_separated_where_its_first_direction_is_found(
    found: Any, status: ClaimStatus
) -> None:
    claim = group._claim(grouped(found), "scared", 0.5)
    assert claim.status == status
    assert f"ranked first, {group.VERBS[status]} pictures that are scared" in claim.text
    assert "; 30 cells hold both. The test generalises over items and wordings." in claim.text


def test_a_group_of_too_few_pictures_is_undecided() -> None:
    claim = group._claim(grouped(detecting()), "happy", 0.5)
    assert claim.status == "undecided" and claim.figure is None
    assert "pictures that are happy" in claim.text


def test_records_have_seeds_of_their_own_for_each_item_or_the_same_for_all() -> None:
    prompts = {"templates": ["{subject}"], "levels": {"subject": {"cat": "a cat"}}}
    fields = {"prompts": prompts, "sites": ["text.*/mlp"]}
    assert Record.model_validate(fields)._seeds() == {"seeds": (0,)}
    assert Record.model_validate({**fields, "seeds": [1, 2]})._seeds() == {"seeds": (1, 2)}
    own = Record.model_validate({**fields, "seeds_per_item": 3})
    assert own._seeds() == {"seeds_per_item": 3}
    assert "3 seeds of its own for each item" in own.method()
    with pytest.raises(ValidationError, match="either seeds or seeds_per_item"):
        Record.model_validate({**fields, "seeds": [0], "seeds_per_item": 3})


VERIFY = Verify(find="glass", classifier="style", label="stained glass")


def unit_effect(low: float, high: float, q: float | None, limit: float, p: float) -> UnitEffect:
    """An addition with an interval and q, and one side effect with a limit and p."""
    band = BaselineEffects.of([-0.1, 0.3], 0.8, permuted=1, items=12)
    added, zero = Effect(0.8, low, high), Effect(0.0, -0.1, 0.1)
    ghost = ClassChange("lancet:subject", "ghost", limit / 2, 0.0, limit, limit, p)
    effects = SideEffects((ghost,), 0.2, 0.11, 24, 96)
    return UnitEffect(
        "text.blocks.0/mlp[3]", "neuron", 0.9, added, zero, None, None, 0.2, band, q, effects, {}
    )


@pytest.mark.parametrize(
    ("low", "high", "q", "limit", "p", "status"),
    [
        (0.4, 1.0, 0.01, 0.1, 1.0, "supported"),
        (0.2, 1.0, 0.01, 0.1, 1.0, "undecided"),
        (0.4, 1.0, 0.06, 0.1, 1.0, "undecided"),
        (0.4, 1.0, None, 0.1, 1.0, "undecided"),
        (0.4, 1.0, 0.01, 0.3, 1.0, "undecided"),
        (0.4, 1.0, 0.01, 0.9, 0.001, "undecided"),
        (-0.1, 0.19, None, 0.1, 1.0, "not supported"),
    ],
)
def test_a_unit_controls_beyond_its_threshold_and_its_baselines_and_without_side_effects(
    low: float, high: float, q: float | None, limit: float, p: float, status: ClaimStatus
) -> None:
    best = unit_effect(low, high, q, limit, p)
    causes: Any = SimpleNamespace(effects=(best, best), prompting=Effect(0.9, 0.8, 1.0))
    claim = VERIFY._claim(causes, best)
    assert claim.status == status
    together = "changes lancet:subject=ghost +0.45 (+0.00 to +0.90) together with"
    verb = together if p < 0.01 else verify.VERBS[status]
    assert claim.text.startswith(f"text.blocks.0/mlp[3] {verb} stained glass"), claim.text
    assert "+0.80" in claim.text and "by at most +0.30 (p 0.33)" in claim.text


@pytest.mark.parametrize(
    ("found", "supported"), [("found", True), ("not found", None), ("undecided", None)]
)
def test_a_search_is_supported_where_it_exceeds_random_search_and_else_undecided(
    found: str, supported: bool | None
) -> None:
    best = SimpleNamespace(prompt="cat glass", fresh_score=9.0, z=3.0)
    came: Any = SimpleNamespace(best=(best,), status=found, status_text="A reason.")
    claim = maximize._claim(came, "a/b[3]")
    # A search without success refutes nothing.
    assert claim.status == to_status(supported)
    assert claim.criterion.startswith("q at most .05")
    assert "“cat glass” scores 9.00" in claim.text and claim.text.endswith("A reason.")


def test_claims_from_numpy_figures_have_a_status() -> None:
    claims = [
        FIND._claim(detecting(low=np.float64(0.97), q=np.float64(1e-6)), "direction"),
        group._claim(grouped(detecting(low=np.float64(0.97))), "scared", 0.5),
        attribute._claim("raises", "x", *_first(shares((np.float64(0.3), np.float64(0.5))))),
        suppress._claim(suppressed(np.float64(0.9), 0.1, np.float64(0.85), 1.0)),
        *BUILD._claims(
            built(np.float64(0.8), np.float64(0.7), hard_negative_effect=np.float64(0.01))
        ),
    ]
    assert [claim.status for claim in claims if claim.status != "supported"] == []


def _first(every: list[Share]) -> tuple[Share, list[Share]]:
    return every[0], every[1:]
