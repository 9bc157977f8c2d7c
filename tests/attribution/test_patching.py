"""Where tokens carry a value: only where it can have come from."""

from dataclasses import replace

import families
import pytest
from tiny import tiny_model

from clerestory.attribution import attribute, parse_pieces, parse_targets
from clerestory.attribution.page import page
from clerestory.attribution.patching import patch_tokens
from clerestory.attribution.results import PatchEffect

SHORT = [parse_pieces("[a|b] cat [c|d]")] * 2


def patch(model, paraphrases, targets, **options):
    return patch_tokens(model, paraphrases, targets, progress=lambda *_: None, **options)


def blocks(effects):
    return {effect.site for effect in effects}


def test_blocks_after_a_target_are_not_patched():
    model = tiny_model()
    first, second = parse_targets(model, ["text.blocks.0/mlp[3]", "text.blocks.1/mlp[3]"])
    assert patch(model, SHORT, [first]) == ()
    assert blocks(patch(model, SHORT, [first, second])) == {"text.blocks.0/resid"}


def test_the_conditioning_is_made_of_the_tokens_of_the_last_block():
    model = families.family_model("stable_diffusion")
    effects = patch(model, SHORT, parse_targets(model, ["denoiser/condition[1]"]))
    last = [effect.lost for effect in effects if effect.site == "text.blocks.1/resid"]
    assert sum(last) == pytest.approx(1, abs=1e-3)
    assert any(abs(lost) > 0.1 for lost in last)


@pytest.mark.parametrize(
    ("unit", "stage"), [("denoiser/condition[1]", "text_2"), ("denoiser/pooled[1]", "text")]
)
def test_only_the_encoder_that_a_target_comes_from_is_reported(unit, stage):
    model = families.family_model("flux")
    effects = patch(model, SHORT, parse_targets(model, [unit]))
    assert {effect.stage for effect in effects} == {stage}


def test_deleted_pieces_leave_the_words_around_them():
    model = tiny_model()
    paraphrases = [parse_pieces("an [a] cat with [c], dog")] * 2
    targets = parse_targets(model, ["text/pooled[2]"])
    effects = patch(model, paraphrases, targets, removal="delete")
    tokens = {effect.token for effect in effects}
    assert tokens == {"before a", "before c", "after c", "(end)"}


def test_each_encoder_has_a_chart_with_its_own_tokens():
    model = tiny_model(window=128)
    result = attribute(
        model, "[a] with [c]", ["text/pooled[2]"], seeds=0, synergy=False, path=False
    )
    (name,) = result.of
    tokens = [("text", "raven"), ("text_2", "rav"), ("text_2", "en")]
    effects = tuple(
        PatchEffect(name, f"{stage}.blocks.0/resid", token, position, 0.5, 0.4, 0.6)
        for position, (stage, token) in enumerate(tokens)
    )
    html = page(replace(result, patching=effects))
    first, second = html.split(f"{name}: tokens of text_2")
    assert "1 raven" in first and "2 rav<" not in first
    assert "2 rav<" in second and "3 en<" in second and "1 raven" not in second
