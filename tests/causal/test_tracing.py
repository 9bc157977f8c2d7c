"""Tracing: planted paths are found, with exactly their nodes and edges; nothing is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from families import built, small_model, stable_diffusion
from helpers.bare_pipelines import DIFFUSERS_WARNINGS
from tiny import tiny_model

from clerestory.causal import TraceResult, trace
from clerestory.causal.graph_measurement import EffectTable, draw_graphs
from clerestory.causal.graph_nodes import default_sites, list_parts
from clerestory.causal.graph_results import PROMPT
from clerestory.errors import EvidenceError, OptionError, SiteError
from clerestory.evaluation import unit

pytestmark = DIFFUSERS_WARNINGS
SITES = "text.*/z, text.*/mlp"
HEAD, WIDTH, NEURON = 2, 8, 3
FIRST, LATER = f"text.blocks.0/z[h{HEAD}]", "text.blocks.1/mlp"
READ = unit("text.blocks.1/resid[7]")
LETTERS = "abcdefghijklmnop"
CLEAN = [f"{letter} cat" for letter in LETTERS]
CORRUPTED = [f"{letter} dog" for letter in LETTERS]
FAST = {"progress": False, "batch": 8, "random_graphs": 3}


def silent_encoder():
    """A pipeline whose text blocks write nothing, and its layers."""
    pipeline = built(stable_diffusion)
    encoder = getattr(pipeline.text_encoder, "text_model", pipeline.text_encoder).encoder
    with torch.no_grad():
        for block in encoder.layers:
            for layer in (block.self_attn.out_proj, block.mlp.fc2):
                layer.weight.zero_()
                layer.bias.zero_()
    return pipeline, encoder.layers


def plant_head(layers, number, row, head=HEAD, scale=1.0):
    with torch.no_grad():
        own = slice(head * WIDTH, (head + 1) * WIDTH)
        layers[number].self_attn.out_proj.weight[row, own] = scale


def plant_neuron(layers, number, read, written, neuron=NEURON):
    with torch.no_grad():
        mlp = layers[number].mlp
        mlp.fc1.weight.zero_()
        mlp.fc1.weight[neuron, read] = 2.0
        mlp.fc2.weight[written, neuron] = 1.0


@pytest.fixture(scope="module")
def planted():
    """The words → one head of layer 0 → one neuron of layer 1 → unit 7; one head is a decoy."""
    pipeline, layers = silent_encoder()
    plant_head(layers, 0, 5)
    plant_head(layers, 0, 9, head=1, scale=0.01)
    plant_neuron(layers, 1, 5, 7)
    return small_model(pipeline)


def links(result):
    return {(edge.source, edge.target) for edge in result.edges if edge.verified}


def test_the_planted_path_is_found_and_nothing_else(planted):
    result = trace(planted, CLEAN, CORRUPTED, READ, sites=SITES, seeds_per_item=1, **FAST)
    assert [node.address for node in result.parts] == [FIRST, LATER]
    assert links(result) == {(PROMPT, FIRST), (FIRST, LATER), (LATER, READ.name)}
    # The decoy has a small part in the norm of the layer that reads.
    assert result.faithfulness == pytest.approx(1, abs=0.02)
    assert result.completeness == pytest.approx(0, abs=0.02)
    assert result.leak == pytest.approx(0, abs=1e-5)
    # In series each carries all of it.
    for node in (*result.parts, *result.edges):
        assert node.share == pytest.approx(1, abs=0.02)
    assert (result.replicates, result.selection, result.evaluation) == ("pairs", 8, 8)
    # Nothing is claimed about others with eight pairs.
    assert result.status == "undecided"
    assert [warning.kind for warning in result.warnings] == ["few-items"]


def test_figures_are_those_of_the_model_itself(planted):
    result = trace(planted, CLEAN, CORRUPTED, READ, sites=SITES, **FAST)
    half = slice(1, None, 2)

    def values(prompts):
        run = planted.run(
            prompts[half], 0, read="text.blocks.1/resid[7]", pool="last", pictures=False
        )
        return run.read("text.blocks.1/resid[7]").to_numpy().ravel()

    clean, corrupted = values(CLEAN), values(CORRUPTED)
    assert result.clean == pytest.approx(clean.mean(), rel=1e-4)
    assert result.total == pytest.approx((corrupted - clean).mean(), rel=1e-3)


def test_a_neuron_is_a_node_where_units_are_asked_for(planted):
    result = trace(planted, CLEAN, CORRUPTED, READ, sites="text.*/z", units="text.*/mlp", **FAST)
    assert [node.address for node in result.parts] == [FIRST, f"{LATER}[{NEURON}]"]
    assert result.parts[1].kind == "unit"
    # Random graphs have a head and a neuron too, and miss the path.
    assert max(map(abs, result.random_faithfulness)) < 0.01


def test_positions_of_the_map_are_where_the_path_runs(planted):
    result = trace(planted, CLEAN, CORRUPTED, READ, sites=SITES, **FAST)
    (effects,) = result.maps
    assert effects.rows == ("text.blocks.0", "text.blocks.1")
    assert effects.columns == ("before", "the words", "end")
    # The head of layer 0 has carried it to the end, where it is read.
    np.testing.assert_allclose(effects.shares, [[0, 0, 1], [0, 0, 1]], atol=1e-3)


def test_two_paths_are_both_kept_where_one_is_not_enough():
    pipeline, layers = silent_encoder()
    plant_head(layers, 0, 7, head=1)
    plant_head(layers, 1, 7, head=2, scale=0.4)
    model = small_model(pipeline)
    call = {"sites": SITES, "maps": False, **FAST}
    both = trace(model, CLEAN, CORRUPTED, READ, **call, target=0.95)
    names = ["text.blocks.0/z[h1]", "text.blocks.1/z[h2]"]
    assert [node.address for node in both.parts] == names
    assert {(PROMPT, name) for name in names} | {(name, READ.name) for name in names} <= links(both)
    # They add up; by the norm before it the later one reads a little of the earlier.
    ends = {edge.source: edge.share for edge in both.edges if edge.target == READ.name}
    assert sum(ends.values()) == pytest.approx(1, abs=0.02)
    between = [edge.share for edge in both.edges if (edge.source, edge.target) == tuple(names)]
    assert abs(sum(between)) < 0.2
    one = trace(model, CLEAN, CORRUPTED, READ, **call, target=0.95, max_nodes=1)
    (node,) = one.parts
    # With all else frozen it acts by its edge to the value alone, and not through the later one.
    (direct,) = [edge.share for edge in one.edges if edge.source == node.address]
    assert one.faithfulness == pytest.approx(direct, abs=1e-3)
    # What it does by all ways and what is left without it is all there is, but for the norm, in
    # which the two do not quite add up.
    assert node.share + one.completeness == pytest.approx(1, abs=0.05)
    assert "insufficient" in [warning.kind for warning in one.warnings]


def test_what_passes_no_part_is_the_leak(planted):
    result = trace(planted, CLEAN, CORRUPTED, READ, sites="text.blocks.1/z", maps=False, **FAST)
    assert result.leak == pytest.approx(1, abs=1e-3)
    assert "incomplete" in [warning.kind for warning in result.warnings]
    assert (PROMPT, READ.name) in links(result)


def test_one_pair_is_a_claim_about_its_seeds():
    model = tiny_model()
    result = trace(model, "a cat", "a dog", unit("prior/embedding[3]"), seeds=range(6), **FAST)
    assert (result.replicates, result.selection, result.evaluation) == ("seeds", 3, 3)
    assert result.status == "undecided" and result.warnings[0].kind == "one-phrase"
    names = [node.address for node in result.parts]
    assert names[-1] == "prior/embedding" and result.leak == 0
    (effects,) = result.maps
    assert effects.columns == ("before", "cat → dog", "end")
    # In a causal encoder what comes before the words is the same.
    assert [row[0] for row in effects.shares] == [0, 0]


def test_a_path_through_the_denoiser_has_a_map_of_its_steps():
    model = tiny_model()
    result = trace(
        model,
        "a b c d",
        "a x y z",
        unit("denoiser/prediction[2]@2", "mean"),
        sites="prior/embedding",
        seeds=range(20),
        **FAST,
    )
    assert [node.address for node in result.parts] == ["prior/embedding"]
    assert result.faithfulness == pytest.approx(1, abs=1e-4)
    effects = result.maps[-1]
    assert effects.columns == ("0", "1", "2") and len(effects.rows) == 6


def test_results_are_saved_resumed_and_shown(planted, tmp_path):
    prompts = [f"{letter} <b>cat</b>" for letter in LETTERS]
    others = [f"{letter} <b>dog</b>" for letter in LETTERS]
    call = {"sites": SITES, "parts": tmp_path / "parts", **FAST}
    result = trace(planted, prompts, others, READ, **call)
    assert {path.name for path in (tmp_path / "parts").glob("*.json")} >= {
        *("plan.json", "selection.json", "links.json", "graphs-0.json", "nodes-0.json"),
        *("edges-0.json", "map-text-0.json"),
    }
    assert trace(planted, prompts, others, READ, **call).to_dict() == result.to_dict()
    with pytest.raises(EvidenceError, match="parts of another measurement"):
        trace(planted, prompts, others, READ, **{**call, "max_nodes": 7})
    result.save(tmp_path / "saved")
    loaded = TraceResult.load(tmp_path / "saved")
    assert loaded.to_dict() == result.to_dict() and repr(loaded) == repr(result)
    figures = json.loads((tmp_path / "saved" / "trace.json").read_text())
    assert {"nodes", "edges", "faithfulness", "completeness", "status"} <= figures.keys()
    assert {"address", "effect"} <= figures["nodes"][0].keys()
    page = (tmp_path / "saved" / "trace.html").read_text()
    assert loaded.page() == page and "-0%" not in page
    assert "<b>cat</b>" not in page and "&lt;b&gt;cat" in page
    for each in ("graph", "maps"):
        assert loaded.plot(each).to_dict()
    assert list(loaded.edge_table()["source"]) == [edge.source for edge in loaded.edges]
    with pytest.raises(OptionError, match="which is 'picture'"):
        loaded.plot("picture")


@pytest.mark.parametrize(
    ("clean", "corrupted", "options", "error", "message"),
    [
        ("a cat", "a cat", {}, EvidenceError, "compared with itself"),
        ("a cat", ["a dog", "a b"], {}, EvidenceError, "as many of each"),
        (["a cat", "b cat"], ["a dog", "b dog"], {}, EvidenceError, "2 pairs"),
        (["a cat"] * 4, ["a dog"] * 4, {}, EvidenceError, "in two pairs"),
        ("a cat", "a zebra", {}, EvidenceError, "has 3 tokens"),
        ("a cat", "a dog", {"seeds": [1, 2]}, EvidenceError, "at least 4"),
        ("a cat", "a dog", {"target": 0}, OptionError, "target is 0"),
        ("a cat", "a dog", {"max_nodes": 0}, OptionError, "max_nodes"),
        ("a cat", "a dog", {"sites": "text.blocks.0/mlp[3]"}, OptionError, "whole sites"),
        ("a cat", "a dog", {"sites": []}, OptionError, "no site"),
        ("a cat", "a dog", {"sites": "nowhere"}, SiteError, "nowhere"),
    ],
)
def test_what_cannot_be_traced_is_refused(clean, corrupted, options, error, message):
    call = {"sites": SITES, "progress": False, **options}
    with pytest.raises(error, match=message):
        trace(tiny_model(), clean, corrupted, unit("prior/embedding[3]"), **call)


def test_units_that_there_are_not_are_refused_before_anything_is_written(tmp_path):
    for text, message in (("text.blocks.1/mlp[9999]", "no unit 9999"), ("nowhere[0]", "nowhere")):
        with pytest.raises(SiteError, match=message):
            trace(tiny_model(), "a cat", "a dog", text, parts=tmp_path / "parts", progress=False)
    assert not (tmp_path / "parts").exists()


def test_no_effect_is_refused(planted):
    # Unit 11 is written by nothing, so that its last position is the same with any word.
    with pytest.raises(EvidenceError, match="no effect to trace"):
        trace(planted, CLEAN, CORRUPTED, unit("text.blocks.1/resid[11]"), sites=SITES, **FAST)


def test_default_sites_are_heads_mlps_and_the_conditioning_site():
    model = tiny_model()
    sites = default_sites(model)
    assert sites[:2] == ["text.blocks.0/z", "text.blocks.0/mlp"]
    assert sites[-1] == "prior/embedding" and len(sites) == 9
    parts = list_parts(model, sites)
    assert sum(part.kind == "head" for part in parts) == 2 * 4 + 2 * 2
    for graph in draw_graphs(parts, range(0, len(parts), 2), 5):
        assert len(graph) == len(range(0, len(parts), 2))


def test_effects_without_spread_are_certain_or_none():
    table = EffectTable.of(np.array([[0.0, 1.0, 1.0], [0.0, 1.0, -1.0], [0.0, 1.0, 0.5]]))
    assert table.q[0] == 1 and table.q[1] == 0 and table.q[2] > 0.5
