"""Recordings of nothing but noise, and of a concept planted in it; no model is needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clerestory.models import Options
from clerestory.models.core.addresses import SiteSelection
from clerestory.recordings import Plan, Recording, Store
from clerestory.recordings.layout import Layout
from clerestory.recordings.plan import ModelIdentity

MODEL = ModelIdentity("noise", "", "", {}, "", "", "")


def recording_of(
    table: pd.DataFrame,
    arrays: Mapping[str, NDArray[np.floating]],
    folder: Path,
    bad: Mapping[int, str] | None = None,
    model: ModelIdentity = MODEL,
) -> Recording:
    """A recording whose sites hold these arrays, `[sample, step, unit]` or with positions."""
    plan = Plan(
        table=table,
        model=model,
        options=Options(),
        read={site: SiteSelection() for site in arrays},
        pool="mean",
        branch="cond",
        pictures=False,
        batch=len(table),
        chunk=len(table),
        threads=1,
    )
    layouts = {
        site: Layout(
            "float32",
            array.shape[1:],
            ("step", "position", "unit") if array.ndim > 3 else ("step", "unit"),
            {"step": list(range(array.shape[1]))},
        )
        for site, array in arrays.items()
    }
    store = Store(folder)
    store.create(plan, layouts)
    store.write(0, {site: array.astype("f4") for site, array in arrays.items()}, bad or {})
    return Recording(store)


def factorial(items: int = 48, phrases: int = 12, seeds: int = 1) -> pd.DataFrame:
    """Every item in three styles, a hard negative among them, in every phrase with its seeds."""
    rows = [
        {
            "prompt": f"{style} {item:02} {phrase}",
            "seed": item * seeds + seed,
            "style": style,
            "subject": f"thing {item:02}",
            "phrase": f"{style} {phrase}",
        }
        for item in range(items)
        for style in ("glass", "plain", "window")
        for phrase in range(phrases)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def noise(
    table: pd.DataFrame, seed: int, sites: Mapping[str, tuple[int, int]]
) -> dict[str, NDArray[np.float64]]:
    """Noise that depends on the item and on the sample; sites by (steps, units)."""
    rng = np.random.default_rng(seed)
    items = pd.factorize(table["subject"])[0]
    made = {}
    for site, shape in sites.items():
        own = rng.normal(size=(items.max() + 1, *shape))
        made[site] = own[items] + rng.normal(size=(len(table), *shape))
    return made
