from __future__ import annotations

import numpy as np
import pandas as pd
from tiny import tiny_model

from clerestory.contrasts import ContrastSamples, contrast
from clerestory.edits import Add

ITEMS = ("cat", "dog", "ant", "owl", "fox", "bee", "cow", "hen")
TEMPLATES = {"selection": ("p {item}", "{item} p"), "evaluation": ("q {item}", "{item} q")}
SITES = ("text.*/mlp", "text.*/resid", "prior.*/mlp", "prior/embedding")


def _samples() -> pd.DataFrame:
    """The same plain prompts in both arms: they differ in what is planted only."""
    rows = [
        (template.replace("{item}", name), f"{half} {name}", template, "", half, seed)
        for half, names in (("selection", ITEMS[:4]), ("evaluation", ITEMS[4:]))
        for template in TEMPLATES[half]
        for name in names
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["prompt", "item", "phrase", "template", "half", "seed"])


def test_a_direction_planted_in_a_pipeline_comes_first() -> None:
    model, table = tiny_model(), _samples()
    planted = np.random.default_rng(3).normal(size=32)
    prompts = list(dict.fromkeys(table["prompt"]))
    run = {
        arm: model.run(prompts, (0, 1), read=SITES, edits=edits, pictures=False)
        for arm, edits in (("positive", [Add("prior/embedding", planted)]), ("negative", []))
    }
    both = pd.concat([table.assign(arm=arm) for arm in run], ignore_index=True)
    both["prompt"] += both["arm"]
    both["phrase"] += both["arm"]
    activations = {
        site: np.concatenate([run[arm].read(site).mean("step").to_numpy() for arm in run])
        for site in run["positive"].site_values
    }
    found = contrast(activations, ContrastSamples(both, from_pictures=False))
    first = found.top_ranked("direction")
    assert first.unit == "prior/embedding[difference]"
    assert first.detects.auroc == 1.0
    made = found.direction("prior/embedding")
    np.testing.assert_allclose(made, planted, atol=1e-4)
    others = [f for f in found.by_kind("direction") if f.site != "prior/embedding"]
    assert {finding.detects.auroc for finding in others} == {0.5}
