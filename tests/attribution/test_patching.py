"""Where tokens carry a value: only where it can have come from."""

from dataclasses import replace

import families
import pytest
from tiny import tiny_model

from clerestory.attribution import asked_values, attribute, parse_pieces
from clerestory.attribution.page import page
from clerestory.attribution.patching import Patched, patched

SHORT = [parse_pieces("[a|b] cat [c|d]")]


def blocks(found):
    return {one.site for one in found}


def test_blocks_after_a_value_are_not_patched():
    model = tiny_model()
    (first,) = asked_values(model, ["text.blocks.0/mlp[3]"])
    (second,) = asked_values(model, ["text.blocks.1/mlp[3]"])
    assert patched(model, SHORT, [first]) == ()
    assert blocks(patched(model, SHORT, [first, second])) == {"text.blocks.0/resid"}


def test_what_the_decoder_is_handed_is_made_of_the_tokens_of_the_last_block():
    model = families.family_model("stable_diffusion")
    found = patched(model, SHORT, asked_values(model, ["denoiser/condition[1]"]))
    last = [one.lost for one in found if one.site == "text.blocks.1/resid"]
    assert sum(last) == pytest.approx(1, abs=1e-3)
    assert any(abs(lost) > 0.1 for lost in last)


@pytest.mark.parametrize(
    ("unit", "stage"), [("denoiser/condition[1]", "text_2"), ("denoiser/pooled[1]", "text")]
)
def test_only_the_encoder_that_a_value_comes_from_is_shown(unit, stage):
    model = families.family_model("flux")
    found = patched(model, SHORT, asked_values(model, [unit]))
    assert {one.stage for one in found} == {stage}


def test_pieces_that_are_left_out_leave_the_words_around_them():
    model = tiny_model()
    carriers = [parse_pieces("an [a] cat with [c], dog")]
    values = asked_values(model, ["text/pooled[2]"])
    tokens = {one.token for one in patched(model, carriers, values, absence="delete")}
    assert tokens == {"before a", "before c", "after c", "(end)"}


def test_each_encoder_has_a_chart_with_its_own_tokens():
    model = tiny_model(window=128)
    asked = parse_pieces("[a] with [c]")
    values = asked_values(model, ["text/pooled[2]"])
    found = attribute(model, asked, values, seeds=0, units=False)
    name = values[0].name
    own = [("text", "raven"), ("text_2", "rav"), ("text_2", "en")]
    told = [
        Patched(name, f"{stage}.blocks.0/resid", token, place, 0.5, 0.4, 0.6)
        for place, (stage, token) in enumerate(own)
    ]
    shown = page(replace(found, patched=tuple(told)))
    one, two = shown.split(f"{name}: tokens of text_2")
    assert "1 raven" in one and "2 rav<" not in one
    assert "2 rav<" in two and "3 en<" in two and "1 raven" not in two
