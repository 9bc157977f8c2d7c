"""Seeds that belong to items: shared by the prompts of an item, different between items."""

import pandas as pd
import pytest
from tiny import tiny_model

from clerestory.errors import RecordingError, SeedError
from clerestory.models.core.seeds import item_seeds
from clerestory.recordings import Store, make_plan, record
from clerestory.recordings.writer import fill_chunk, start_recording
from recordings.small import HOW, PROMPTS, contents


def item_table():
    rows = [(f"{text} {item}", item) for item in ("cat", "dog") for text in ("a", "glass")]
    return pd.DataFrame(rows, columns=["prompt", "item"])


def test_items_have_seeds_of_their_own_which_their_prompts_share():
    model = tiny_model()
    plan = make_plan(model, item_table(), seeds_per_item=3, **HOW)
    assert list(plan.table["prompt"][:4]) == ["a cat"] * 3 + ["glass cat"]
    seeds = plan.table.groupby("item")["seed"].agg(set)
    assert len(seeds["cat"]) == len(seeds["dog"]) == 3
    assert seeds["cat"].isdisjoint(seeds["dog"])
    for _, rows in plan.table.groupby("prompt"):
        assert list(rows["seed"]) == list(item_seeds(rows["item"].iloc[0], 3))
    # The seeds are in the table, so in the digest by which a resumed recording is recognized.
    same = make_plan(model, item_table(), seeds_per_item=3, seed=0, **HOW)
    other = make_plan(model, item_table(), seeds_per_item=3, seed=1, **HOW)
    assert plan.digest == same.digest != other.digest
    assert set(plan.table["seed"]).isdisjoint(other.table["seed"])
    # More seeds keep the first ones.
    assert set(make_plan(model, item_table(), seeds_per_item=2, **HOW).table["seed"]) < set(
        plan.table["seed"]
    )


def test_in_a_list_each_prompt_is_its_own_item():
    plan = make_plan(tiny_model(), PROMPTS, seeds_per_item=1, **HOW)
    assert plan.table["seed"].nunique() == len(PROMPTS)
    assert "item" not in plan.table
    # A prompt that occurs twice is one item, with the same pictures.
    twice = make_plan(tiny_model(), ["a cat", "a cat"], seeds_per_item=1, **HOW)
    assert len(set(twice.table["seed"])) == 1


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ({"seeds": 0, "seeds_per_item": 2}, "not both"),
        ({"seeds": (0, 1), "seeds_per_item": 2, "seed": 1}, "not both"),
        ({"seed": 3}, "give `seeds_per_item`"),
        ({"seeds": 0, "seed": 3}, "give `seeds_per_item`"),
        ({"seeds_per_item": 0}, "at least one"),
    ],
)
def test_contradictory_seeds_are_refused(seeds, message):
    with pytest.raises(SeedError, match=message):
        make_plan(tiny_model(), PROMPTS, **seeds, **HOW)


def test_too_many_seeds_of_items_are_refused_before_they_are_derived():
    with pytest.raises(RecordingError, match="samples, more than"):
        make_plan(tiny_model(), PROMPTS, seeds_per_item=10**12, **HOW)


def test_a_recording_with_seeds_of_items_resumes_and_no_other_seeds_continue_it(tmp_path):
    model, how = tiny_model(), {**HOW, "pictures": False, "sites": "text.*/mlp"}
    whole = record(model, item_table(), seeds_per_item=3, out=tmp_path / "whole", **how)
    plan, store = make_plan(model, item_table(), seeds_per_item=3, **how), Store(tmp_path / "rec")
    with store.lock():
        start_recording(store, model, plan)
        fill_chunk(store, model, 0)
    resumed = record(model, item_table(), seeds_per_item=3, out=tmp_path / "rec", **how)
    assert contents(tmp_path / "rec") == contents(tmp_path / "whole")
    assert resumed.samples.equals(whole.samples)
    assert list(resumed.samples["item"].unique()) == ["cat", "dog"]
    for seeds in ({"seeds_per_item": 2}, {"seeds_per_item": 3, "seed": 1}, {"seeds": range(3)}):
        with pytest.raises(RecordingError, match="other prompts, seeds or factors"):
            record(model, item_table(), out=tmp_path / "rec", **seeds, **how)
