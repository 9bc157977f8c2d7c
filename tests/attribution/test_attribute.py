"""Attributions of a tiny model's units, and of what was planted in Lancet."""

import families
import numpy as np
import pytest
from tiny import tiny_model

from clerestory.attribution import Value, asked_values, attribute, paraphrases, parse_pieces
from clerestory.attribution.interactions import together
from clerestory.attribution.layers import layers
from clerestory.attribution.patching import patched
from clerestory.errors import EvidenceError, OptionError, PromptError
from clerestory.evaluation.objectives import Along

UNIT = "text.blocks.1/mlp[3]"


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


def fewer(path):
    with np.load(path) as held:
        values, units = held["values"][:3], held["units"][:3]
    np.savez(path, values=values, units=units)


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


def test_another_pool_is_another_question(model, asked, tmp_path):
    for pool in ("mean", "max"):
        (value,) = asked_values(model, [UNIT], pool)
        same = Value("of one name", Along(value.term.site, value.term.direction, pool, "one"))
        where = tmp_path / "out"
        if pool == "mean":
            attribute(model, asked, [same], carriers=20, units=False, out=where)
        else:
            with pytest.raises(EvidenceError, match="has another attribution"):
                attribute(model, asked, [same], carriers=20, units=False, out=where)


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(b"junk"), cut, fewer])
def test_a_damaged_part_is_measured_again(model, asked, tmp_path, harm):
    how = {"carriers": 20, "units": False, "out": tmp_path / "out"}
    values = asked_values(model, [UNIT])
    first = attribute(model, asked, values, **how)
    part = sorted((tmp_path / "out" / "kept").iterdir())[1]
    whole = part.read_bytes()
    harm(part)
    again = attribute(model, asked, values, **how)
    assert again.told() == first.told()
    assert part.read_bytes() != b"junk" and len(part.read_bytes()) == len(whole)


def test_ways_of_absence_that_say_the_same_are_not_compared(model):
    values = asked_values(model, [UNIT])
    ways = ("neutral", "delete")
    same = attribute(model, parse_pieces("cat dog"), values, absence=ways, units=False)
    split = same.of[values[0].name]["neutral"]
    assert [one.depends for one in (*split.shapley, *split.interactions)] == [None] * 3
    assert same.absent_as == [[""], [""]]


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


def test_a_pipeline_of_no_known_family_can_be_attributed():
    model = families.small_model(families.built(families.karlo))
    site = next(site for site in model.sites.values() if site.stage == "text" and site.shape[1])
    values = asked_values(model, [f"{site.address}[0]"])
    found = attribute(model, parse_pieces("[a] with [c]"), values, carriers=20)
    assert found.seeds == (0,)
    assert found.together.tested > 0
    assert patched(model, paraphrases(found.asked, 20), values) == ()


def test_what_is_too_long_or_leaves_nothing_is_told(model):
    values = asked_values(model, [UNIT])
    with pytest.raises(PromptError, match=r"The piece .* is too long"):
        attribute(model, parse_pieces(f"a [{'dog ' * 200}]"), values, carriers=20)
    with pytest.raises(EvidenceError, match="Name what is to be split"):
        asked_values(model, [])
    with pytest.raises(EvidenceError, match="has no name"):
        asked_values(model, [" "])
    with pytest.raises(OptionError, match="No pool is called 'none'; take mean, max, last"):
        asked_values(model, [UNIT], "none")


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
