"""What searches find on Lancet, `docs/explanation/what-searches-find.md`.

python tools/measure_searches.py [fifty|glass|scared]      # all by default; hours on one core

Each part writes its figures to results/searches/PART.json. `generate_docs.py` writes the page from
them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from measurements import Part, Tell, measured
from paths import DOCS, PICTURES, RESULTS

FIGURES = RESULTS / "searches"
INFORMED = ["metropolis", "gradient", "gradient-metropolis", "evolve"]
NEURONS, BUDGET = 50, 300
DIRECTION = "prior/embedding[difference]"
RANDOM_PROMPTS = {"inside": 80_000, "drawn": 500}
"""Too few beside a search through pictures, whose pool would take hours: it is undecided."""
ITEMS, SEEDS_PER_ITEM, DRAWN = 24, 2, 1_000
"""Items of the comparison, seeds of each, and pictures that a search draws."""
NO_GLASS = ["stain", "glass", "window"]
NOTE = (
    "> **Stained glass and scared were measured with earlier tests.** They compared a search with "
    "one random\n> search, and took the seeds at hand for all there are ([what counts as "
    "evidence](evidence.md)). These\n> figures wait to be measured again.\n\n"
)


def fifty(model: Any, progress: Tell) -> dict[str, Any]:
    """Fifty random neurons of the text encoder: which searches exceed a random search?"""
    import numpy as np

    from clerestory.evaluation import unit
    from clerestory.maximization import maximize, prompt_space
    from clerestory.maximization.pool import POOL_RATIO, draw_pool
    from clerestory.maximization.results import PoolScores, adjust_for_units
    from clerestory.maximization.scoring import Scorer, score_together

    rng = np.random.default_rng(1)
    units = [
        unit(f"text.blocks.{rng.integers(0, 4)}/mlp[{rng.integers(0, 768)}]")
        for _ in range(NEURONS)
    ]
    results: dict[str, list[Any]] = {name: [] for name in ("random", *INFORMED)}
    for number, objective in enumerate(units):
        for name, by_unit in results.items():
            by_unit.append(
                maximize(
                    model,
                    objective,
                    search=name,
                    budget=BUDGET,
                    seed=number,
                    best=1,
                    random_prompts=100,
                    pictures=False,
                    progress=False,
                )
            )
        progress("neurons", number + 1, NEURONS)
    # `maximize_units` for each search would score the same pool five times.
    scorers = [Scorer(model, objective, batch=256) for objective in units]
    prompts, complete = draw_pool(prompt_space(model), POOL_RATIO * BUDGET)
    for start in range(0, len(prompts), 256):
        score_together(scorers, prompts[start : start + 256])
        progress("random prompts", start, len(prompts))
    pools = [PoolScores(scorer(prompts), complete) for scorer in scorers]
    found, p = {}, {}
    for name, by_unit in results.items():
        compared = [each.with_pool(pool) for each, pool in zip(by_unit, pools, strict=True)]
        p[name] = [each.p for each in compared]
        found[name] = sum(each.status == "found" for each in adjust_for_units(compared))
    scores = {
        name: [float(each.best[0].score) for each in by_unit] for name, by_unit in results.items()
    }
    better = {
        name: int(np.sum(np.array(scores[name]) > np.array(scores["random"]))) for name in INFORMED
    }
    silent = sum(bool(pool.percentile(np.median(pool.scores)) < 1) for pool in pools)
    return {
        "neurons": NEURONS, "budget": BUDGET, "pool": len(prompts), "found": found,
        "better": better, "flat": silent, "p": p, "scores": scores,
    }  # fmt: skip


def glass(model: Any, progress: Tell) -> dict[str, Any]:
    """Stained glass without its words."""
    return concept(
        model, progress, "stained glass", "lancet:style", NO_GLASS, "a stained glass of {item}"
    )


def scared(model: Any, progress: Tell) -> dict[str, Any]:
    """Scared without a word of any mood."""
    from lancet.world.table import World

    moods = World.load().moods
    banned = [word for name, level in moods.items() for word in (name, *level.words)]
    return concept(model, progress, "scared", "lancet:mood", banned, "{item}, scared")


def concept(
    model: Any, progress: Tell, label: str, classifier: str, banned: list[str], template: str
) -> dict[str, Any]:
    """Both objectives, and whether what they find draws the label more often than the words."""
    from clerestory.classifiers import load_classifier
    from clerestory.evaluation import direction as direction_objective
    from clerestory.evaluation import label as label_objective
    from clerestory.maximization import maximize
    from clerestory.maximization.compare import compare
    from clerestory.maximization.searches.metropolis import Metropolis
    from clerestory.reporting.pictures import save

    ban = list(dict.fromkeys(banned))
    inside = direction_objective(
        "prior/embedding", direction(model, label, progress), name=DIRECTION
    )
    figures: dict[str, Any] = {"banned": ban, "searches": {}}
    drawn = label_objective(classifier, label)
    for kind, objective, budget in (("inside", inside, 4 * DRAWN), ("drawn", drawn, DRAWN)):
        found = maximize(
            model,
            objective,
            search=Metropolis(coldest=0.05, hottest=0.5),
            words=(1, 3),
            ban=ban,
            budget=budget,
            random_prompts=RANDOM_PROMPTS[kind],
            progress=lambda _, completed, total, kind=kind: progress(
                f"{label}, {kind}", completed, total
            ),
        )
        figures["searches"][kind] = found.to_dict()
    words = [each["words"] for kind in figures["searches"].values() for each in kind["best"][:3]]
    compared = compare(
        model,
        words,
        f"{classifier}={label}",
        template,
        items=model.profile.items(ITEMS, classifier),
        count=ITEMS,
        best=len(words),
        seeds_per_item=SEEDS_PER_ITEM,
        progress=progress,
    )
    predict = load_classifier(classifier)
    alone = model.run(words, 7).pictures
    figures["alone"] = [predict.classes[at] for at in predict(alone).argmax(1)]
    figures["comparison"] = compared.to_dict()["conditions"]
    save(compared.sheet(), PICTURES / f"compare-{label.replace(' ', '-')}.png")
    return figures


def direction(model: Any, name: str, progress: Tell) -> Any:
    """The concept's direction between prior and denoiser, as `measure_concepts.py` finds it."""
    import measure_concepts

    return measure_concepts.find_concept(model, name, progress).direction(DIRECTION)


PARTS: dict[str, Part] = {
    "fifty": fifty,
    "glass": glass,
    "scared": scared,
}


def page() -> str:
    """The page, from the figures."""
    parts = {name: json.loads((FIGURES / f"{name}.json").read_text()) for name in PARTS}
    fifty, glass, scared = parts["fifty"], parts["glass"], parts["scared"]
    inside, drawn = glass["searches"]["inside"], glass["searches"]["drawn"]
    r_hats = {
        f"{name}, {kind}": f"{search['diagnostics']['r_hat']:.2f}"
        for name, part in (("stained glass", glass), ("scared", scared))
        for kind, search in part["searches"].items()
    }
    return (
        (DOCS / "searches" / "page.md.in")
        .read_text()
        .format(
            note="" if _have_pools(glass, scared) else NOTE,
            revision=fifty["revision"],
            budget=fifty["budget"],
            fifty_rows="\n".join(
                f"| `{name}` | {fifty['found'][name]} | {better} | {fifty['neurons']} |"
                for name, better in fifty["better"].items()
            ),
            fifty_random=fifty["found"]["random"],
            glass_status=_statuses(glass),
            scared_status=_statuses(scared),
            glass_banned=", ".join(f'"{word}"' for word in glass["banned"]),
            glass_inside=f"{inside['evaluations']:,}",
            glass_drawn=f"{drawn['evaluations']:,}",
            glass_found=_found(glass),
            glass_rows=_compared(glass),
            glass_reach=f"{inside['best'][0]['score']:.1f}",
            glass_null="{mean:.1f} ± {sd:.1f}".format(**_pool(inside)),
            items=ITEMS,
            scared_found=_found(scared),
            scared_rows=_compared(scared),
            r_hats=", ".join(f"{name} {r_hat}" for name, r_hat in r_hats.items()),
        )
    )


def _have_pools(*parts: dict[str, Any]) -> bool:
    """Whether searches were compared with pools of random prompts, as today's test has it."""
    return all("pool" in search for part in parts for search in part["searches"].values())


def _pool(search: dict[str, Any]) -> dict[str, Any]:
    """The random prompts of a search; figures without a status have them as `null`."""
    pool: dict[str, Any] = search["pool"] if "pool" in search else search["null"]
    return pool


def _statuses(part: dict[str, Any]) -> str:
    """Whether each search exceeds a random search of the same budget."""
    statuses = []
    for kind, search in part["searches"].items():
        prompts, p = _pool(search)["prompts"], search.get("p")
        figure = "" if p is None else f", p {p:.2g}"
        statuses.append(
            f"{kind} {search.get('status', 'undecided')} ({prompts:,} random prompts{figure})"
        )
    return f"Beside a random search of the same budget: {', '.join(statuses)}."


def _found(part: dict[str, Any]) -> str:
    lines = ["| search | prompt | score | z | above random |", "|---|---|---|---|---|"]
    for kind, search in part["searches"].items():
        lines += [
            f"| {kind} | {found['prompt']} | {found['score']:.2f} | {found['z']:.1f} | "
            f"{found['percentile']:.0f}% |"
            for found in search["best"][:5]
        ]
    return "\n".join(lines)


def _compared(part: dict[str, Any]) -> str:
    lines = ["| condition | target | subject preserved | mean preservation |", "|---|---|---|---|"]
    for row in part["comparison"]:
        rate = row["target"]
        lines.append(
            f"| {row['name']} | {rate['rate']:.2f} ({rate['low']:.2f}–{rate['high']:.2f}) | "
            f"{row['preservation']['subject']['rate']:.2f} | {row['mean_preservation']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    measured(PARTS, FIGURES, sys.argv[1:])
