"""Attributions of a tiny model's units, and of what was planted in Lancet."""

import json

import commands
import numpy as np
import pytest
import typer
from tiny import tiny_model

from clerestory.attributing import asked_values, attribute, paraphrases, parse_pieces
from clerestory.attributing.layers import layers
from clerestory.attributing.patching import patched
from clerestory.attributing.together import together
from clerestory.cli import attribute as command
from clerestory.errors import EvidenceError, PromptError

UNIT = "text.blocks.1/mlp[3]"
app = typer.Typer()
app.command("attribute")(command.attribute)
app.callback()(lambda: None)


@pytest.fixture(scope="module")
def model():
    return tiny_model(window=128)


@pytest.fixture(scope="module")
def asked():
    return parse_pieces("[a] with [c]")


def test_shares_are_those_of_the_measured_values(model, asked):
    carriers = paraphrases(asked, 20)
    values = asked_values(model, [UNIT])
    found = attribute(model, asked, values, carriers=carriers, seeds=0)
    split = found.of[values[0].name]["neutral"]
    texts = [[one.text(row) for row in ((0, 0), (1, 0), (0, 1), (1, 1))] for one in carriers]
    flat = [text for own in texts for text in own]
    read = model.run(flat, 0, read=UNIT, pictures=False).activations[UNIT].to_numpy()
    none, one, two, both = read.reshape(20, 4).T
    share = ((one - none) + (both - two)) / 2
    assert split.shapley[0].value == pytest.approx(share.mean(), abs=1e-6)
    assert split.interactions[0].value == pytest.approx((both - one - two + none).mean(), abs=1e-6)
    assert split.together.value == pytest.approx(split.interactions[0].value, abs=1e-9)
    assert split.means.tolist() == pytest.approx([col.mean() for col in (none, one, two, both)])
    assert split.completeness_error <= 1e-6
    assert split.shapley[0].low <= split.shapley[0].value <= split.shapley[0].high


def test_a_killed_call_goes_on_and_another_question_is_refused(model, asked, tmp_path, monkeypatch):
    values = asked_values(model, [UNIT])
    first = attribute(model, asked, values, carriers=20, out=tmp_path / "out")
    monkeypatch.setattr(type(model), "run", lambda *_, **__: pytest.fail("measured again"))
    again = attribute(model, asked, values, carriers=20, out=tmp_path / "out")
    assert again.told() == first.told()
    with pytest.raises(EvidenceError, match="has another attribution"):
        attribute(model, asked, values, carriers=21, out=tmp_path / "out")


def test_ways_of_absence_that_differ_are_flagged(model, asked):
    values = asked_values(model, [UNIT])
    found = attribute(model, asked, values, carriers=24, absence=("neutral", "delete"))
    ways = found.of[values[0].name]
    assert set(ways) == {"neutral", "delete"}
    told = found.told()["of"][values[0].name]
    assert {"shapley", "interactions", "completeness_error", "delete"} <= set(told)
    flags = [one.depends for one in ways["neutral"].shapley]
    assert all(isinstance(flag, bool) for flag in flags)
    assert all(one.depends is None for one in ways["delete"].shapley)
    assert bool(found.cautions) == any(
        one.depends for one in (*ways["neutral"].shapley, *ways["neutral"].interactions)
    )


def test_one_piece_and_eleven_work(model):
    values = asked_values(model, [UNIT])
    one = attribute(model, parse_pieces("[a] d"), values, carriers=20)
    split = one.of[values[0].name]["neutral"]
    assert split.shapley[0].value == pytest.approx(split.whole.value)
    assert split.interactions == () and one.together is None
    many = parse_pieces(" ".join(f"[{word}|b]" for word in "acdefghijkl"))
    found = attribute(model, many, values, carriers=20, budget=64, units=False)
    split = found.of[values[0].name]["neutral"]
    assert sum(share.value for share in split.shapley) == pytest.approx(split.whole.value, abs=1e-6)
    assert split.sampling_error > 0 and split.means is None


def test_what_is_too_long_or_leaves_nothing_is_told(model):
    values = asked_values(model, [UNIT])
    with pytest.raises(PromptError, match=r"The piece .* is too long"):
        attribute(model, parse_pieces(f"a [{'dog ' * 200}]"), values, carriers=20)
    with pytest.raises(EvidenceError, match="Name what is to be split"):
        asked_values(model, [])


def test_units_are_excited_together_where_only_all_pieces_do_it(model):
    rng = np.random.default_rng(0)
    rows = rng.normal(scale=0.1, size=(40, 4, 24))
    rows[:, 3, 5] += 2  # none, one, two, both: this one by both alone
    rows[:, 1, 7] += 1
    rows[:, 3, 7] += 1  # this one by a single piece
    site = next(s.address for s in model.sites.values() if s.shape[1] == 24 or s.tap == "mlp")
    width = model.sites[site].shape[1]
    rows = np.concatenate([rows, np.zeros((40, 4, max(width - 24, 0)))], 2)[:, :, :width]
    found = together(model, [site], rows)
    assert found.shown[0].unit == f"{site}[5]"
    assert found.shown[0].q < 0.05 and found.found == 1
    assert found.flips < 30


def test_tokens_at_the_last_block_carry_it_at_the_end(model, asked):
    values = asked_values(model, ["text/pooled[2]"])
    found = patched(model, paraphrases(asked, 20), values)
    last = [one for one in found if one.site == "text.blocks.1/resid"]
    ends = {one.token: one.lost for one in last}
    assert ends["(end)"] == pytest.approx(1, abs=1e-4)
    assert all(abs(lost) < 1e-4 for token, lost in ends.items() if token != "(end)")


def test_the_last_layer_draws_the_prompt_as_it_is(model):
    drawn = layers(model, "a dog", [0, 1])
    plain = model.run("a dog", [0, 1]).pictures
    assert list(drawn) == ["text.blocks.0/resid", "text.blocks.1/resid"]
    assert np.array_equal(drawn["text.blocks.1/resid"], plain)
    assert not np.array_equal(drawn["text.blocks.0/resid"], plain)


def test_json_has_the_names_that_scripts_rely_on_and_the_page_escapes(model, tmp_path, monkeypatch):
    monkeypatch.setattr("clerestory.load", lambda *_, **__: model)
    words = ("attribute", "[<b>] with [c]", "--of", "text/pooled[2]", "--paraphrases", "20")
    told = json.loads(commands.call(app, *words, "--json", "--out", tmp_path / "out").stdout)
    (own,) = told["of"].values()
    assert told["pieces"] == ["<b>", "c"]
    assert list(own)[:3] == ["shapley", "interactions", "completeness_error"]
    assert list(own["shapley"][0]) == ["piece", "value", "low", "high"]
    assert list(own["interactions"][0]) == ["pieces", "value", "low", "high"]
    page = (tmp_path / "out" / "attribution.html").read_text()
    assert "<b>" not in page.replace("<b>&lt;b&gt;</b>", "").replace("<b>c</b>", "")
    assert page.count("data:image/png") == 4 * 2 + 2 * 4
