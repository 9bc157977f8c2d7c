"""What a sample is known by, and what becomes of the files that keep it."""

import numpy as np
import pytest
import torch
from helpers.evaluation import RuleModel
from tiny import tiny_pipeline

from clerestory.evaluation import Condition, Design, Evaluator, SampleCache
from clerestory.evaluation.cache import model_digest
from clerestory.models import wrap

DESIGN = Design.crossed(["a", "b"], (0, 1))


def rules():
    return RuleModel([lambda prompt, seed, edits: prompt == "a" and seed == 1])


def test_a_folder_keeps_samples_between_calls(tmp_path):
    first, again = rules(), rules()
    (drawn,) = Evaluator(first, SampleCache(tmp_path)).draw([Condition("x")], DESIGN)
    cache = SampleCache(tmp_path)
    (kept,) = Evaluator(again, cache).draw([Condition("x")], DESIGN)
    assert (first.drawn, again.drawn, cache.hits, cache.misses) == (4, 0, 4, 0)
    assert np.array_equal(drawn.pictures, kept.pictures)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut short", None])
def test_a_damaged_file_is_drawn_again(tmp_path, damage):
    Evaluator(rules(), SampleCache(tmp_path)).draw([Condition("x")], DESIGN)
    victim = sorted(tmp_path.glob("??/*.npz"))[0]
    victim.write_bytes(victim.read_bytes()[:-20] if damage is None else damage)
    again = rules()
    Evaluator(again, SampleCache(tmp_path)).draw([Condition("x")], DESIGN)
    assert again.drawn == 1


def test_a_file_of_something_else_is_drawn_again(tmp_path):
    Evaluator(rules(), SampleCache(tmp_path)).draw([Condition("x")], DESIGN)
    victim = sorted(tmp_path.glob("??/*.npz"))[0]
    np.savez(victim, other=np.zeros(3))
    again = rules()
    (drawn,) = Evaluator(again, SampleCache(tmp_path)).draw([Condition("x")], DESIGN)
    assert again.drawn == 1
    assert len(drawn.pictures) == 4


def test_both_kinds_of_memory_are_bounded(tmp_path):
    cache = SampleCache(tmp_path, memory=3 * 4 * 4 * 3, disk=2_000)
    Evaluator(rules(), cache).draw([Condition("x")], Design.crossed(["a"], range(40)))
    assert sum(path.stat().st_size for path in tmp_path.glob("??/*.npz")) <= 2_000
    assert 0 < len(cache._entries) <= 3
    tiny = SampleCache(memory=1)
    Evaluator(rules(), tiny).draw([Condition("x")], DESIGN)
    assert not tiny._entries


def test_an_entry_that_is_stored_again_counts_once():
    cache = SampleCache(memory=1_000)
    entry = {"picture": np.zeros(100, np.uint8)}
    for _ in range(20):
        cache.put("a", entry)
    cache.put("b", {"picture": np.zeros(900, np.uint8)})
    assert cache.get("a") is not None and cache.get("b") is not None
    cache.put("b", entry)
    cache.put("c", {"picture": np.zeros(800, np.uint8)})
    assert all(cache.get(key) is not None for key in "abc")


def test_a_folder_that_cannot_be_written_to_keeps_nothing_and_fails_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    cache = SampleCache(tmp_path / "file")
    (drawn,) = Evaluator(rules(), cache).draw([Condition("x")], DESIGN)
    assert len(drawn.pictures) == 4


def test_other_weights_schedulers_switches_and_batches_have_another_digest():
    pipeline = tiny_pipeline()
    model = wrap(pipeline, name="tiny")
    before = model_digest(model, 16)
    assert model_digest(wrap(tiny_pipeline(), name="tiny"), 16) == before
    assert model_digest(model, 8) != before
    assert model_digest(wrap(tiny_pipeline(1), name="tiny"), 16) != before
    assert model_digest(wrap(tiny_pipeline(scheduler="ddpm"), name="tiny"), 16) != before
    assert model_digest(wrap(tiny_pipeline().to(torch.float64), name="tiny"), 16) != before
    model.run("a", 0, steps=2, prior_steps=2, height=16, width=16)
    assert model_digest(model, 16) == before

    layer = pipeline.unet.conv_in
    with torch.no_grad():
        layer.weight += 1e-6 * torch.randn_like(layer.weight)
    changed = model_digest(model, 16)
    assert changed != before
    pipeline.movq.use_tiling = True
    assert model_digest(model, 16) != changed


def test_an_adapter_counts_only_while_it_is_on():
    peft = pytest.importorskip("peft")
    pipeline = tiny_pipeline()
    model = wrap(pipeline, name="tiny")
    config = peft.LoraConfig(r=2, lora_alpha=2, target_modules=["to_q"], init_lora_weights=False)
    pipeline.unet.add_adapter(config, adapter_name="slider")
    switched_on = model_digest(model, 16)
    pipeline.unet.disable_adapters()
    assert model_digest(model, 16) != switched_on
    pipeline.unet.enable_adapters()
    assert model_digest(model, 16) == switched_on
