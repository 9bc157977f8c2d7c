from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.recordings import factorial, noise, recording_of

from clerestory.contrasts import Findings, find
from clerestory.contrasts.charts import save_map, site_map

SITES = {
    "text.blocks.10/mlp": (1, 3),
    "text.blocks.2/mlp": (1, 3),
    "denoiser.mid.res.0/out": (12, 3),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    table = factorial(items=24, phrases=4)
    arrays = noise(table, 0, SITES)
    arrays["denoiser.mid.res.0/out"][(table["style"] == "glass").to_numpy(), 4, 1] += 6
    recording = recording_of(table, arrays, tmp_path_factory.mktemp("map") / "rec")
    queries: Any = {
        "positive": "style == 'glass'",
        "negative": "style == 'plain'",
        "match": "subject",
    }
    return find(recording, **queries)


@pytest.mark.parametrize("kind", ["neuron", "direction"])
def test_the_map_has_a_cell_for_every_site_and_step_in_their_order(
    found: Findings, kind: Any
) -> None:
    spec = site_map(found, kind).to_dict()
    (rows,) = spec["datasets"].values()
    assert len(rows) == 14
    x, y = (spec["layer"][0]["encoding"][axis]["sort"] for axis in "xy")
    assert x == ["—", *map(str, range(12))]
    assert y == ["text.blocks.2/mlp", "text.blocks.10/mlp", "denoiser.mid.res.0/out"]
    best = max(rows, key=lambda row: row["worst_auroc"])
    assert (best["site"], best["step"]) == ("denoiser.mid.res.0/out", "4")
    assert best["worst_auroc"] > 0.99
    assert "against negatives" in spec["title"]["text"]


def test_it_is_drawn(found: Findings, tmp_path: Path) -> None:
    assert save_map(found, tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert found.plot("neuron").to_dict() == site_map(found, "neuron").to_dict()
