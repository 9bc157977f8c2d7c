"""Trains the dictionaries of Lancet that are shipped in results/dictionaries.

python tools/train_dictionaries.py [NAME …]    # all by default: within twenty minutes each

Activations are of captions of the world's own sampler, with seeds that Lancet was not trained on;
`measure_dictionaries.py` measures them on others. A second call continues a training that was
stopped.
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass
from itertools import islice

from paths import BUILD, RESULTS

import clerestory
from clerestory.cli import console
from clerestory.dictionaries import train
from clerestory.errors import PromptError
from clerestory.models import Model
from clerestory.recordings import record
from lancet.items import contents

FILES = ("config.json", "weights.safetensors", "curves.png")
"""What is copied to the results; recordings and checkpoints stay under build/dictionaries."""


@dataclass(frozen=True)
class Plan:
    """How one dictionary is trained.

    Attributes:
        site: The site whose values are encoded.
        prompts: Number of captions, each drawn once.
        latents: Latents per unit of the site.
        k: Active latents per position on the average of a batch.
        updates: Number of updates.
    """

    site: str
    prompts: int
    latents: str
    k: int
    updates: int


PLANS = {
    "text2": Plan("text.blocks.2/resid", 20_000, "8x", 16, 1_500),
    # 64 places at each step are a row each.
    "mid": Plan("denoiser.mid.attn.0/out", 1_000, "8x", 32, 1_500),
    # One row a caption, and the prior takes a tenth of a second for it: fewer latents.
    "embedding": Plan("prior/embedding", 6_000, "4x", 16, 1_500),
}


def main(names: list[str]) -> None:
    """Train these dictionaries, and copy them to the results."""
    model = clerestory.load("lancet")
    for name in names or PLANS:
        plan, start = PLANS[name], time.monotonic()
        with console.progress_bars() as tell:
            recording = record(
                model,
                captions(model, plan.prompts),
                # A seed for each caption, derived from it: a shared one would be in every row.
                seeds_per_item=1,
                sites=plan.site,
                out=BUILD / "dictionaries" / f"{name}-recording",
                pictures=False,
                pool="none",
                batch=64,
                progress=tell,
            )
            dictionary = train(
                recording,
                site=plan.site,
                out=BUILD / "dictionaries" / name,
                latents=plan.latents,
                k=plan.k,
                updates=plan.updates,
                progress=tell,
            )
        figures = {key: dictionary.metadata[key] for key in ("explained_variance", "l0", "dead")}
        console.write(f"{name}: {figures}, {time.monotonic() - start:.0f} s")
        target = RESULTS / "dictionaries" / name
        target.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            shutil.copy(BUILD / "dictionaries" / name / file, target / file)


def captions(model: Model, count: int) -> list[str]:
    """Captions of the world that fit into the text window; a few in a hundred do not."""

    def fits(caption: str) -> bool:
        try:
            model.check_prompt(caption)
        except PromptError:
            return False
        return True

    return list(islice(filter(fits, contents(count + count // 10)), count))


if __name__ == "__main__":
    main(sys.argv[1:])
