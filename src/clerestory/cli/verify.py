"""`clerestory verify`: do the units of findings control the picture?"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Annotated

from clerestory.cli import options
from clerestory.cli.model_options import ModelOptions, takes_model
from clerestory.cli.options import option

if TYPE_CHECKING:
    from clerestory.causal import VerificationResult

__all__ = ["verify"]

_Unit = Annotated[
    list[str] | None,
    option(
        "Unit to verify; repeatable. Default: the first-ranked of each kind in each stage, and at "
        "the conditioning site."
    ),
]
_SeedsPerItem = Annotated[
    int, option("Number of new seeds of each item, which are its own.", min=1)
]
_Seeds = Annotated[
    str | None, option("Seeds of every item instead: `7,8`; the claim is then of these.")
]
_Baselines = Annotated[
    int | None,
    option(
        "Number of edits without the concept that each unit with an effect is compared with. "
        "Default: 99, or more for many units.",
        min=1,
    ),
]
_SmallestEffect = Annotated[
    float, option("Effect above which a unit controls the label.", min=0, max=1)
]
_Others = Annotated[
    list[str] | None,
    option(
        "Classifier of side effects; repeatable. Default: those of the same network.",
        "--other",
    ),
]


@takes_model
def verify(
    findings: options.FindingsFolder,
    model: ModelOptions,
    classifier: Annotated[str, option("Classifier of the pictures, such as lancet:style.")],
    label: Annotated[str, option("Label of the concept.")],
    unit: _Unit = None,
    items: Annotated[int, option("Number of evaluation items to draw.", min=2)] = 24,
    seeds_per_item: _SeedsPerItem = 4,
    seeds: _Seeds = None,
    baselines: _Baselines = None,
    smallest_effect: _SmallestEffect = 0.2,
    bound: options.Bound = 0.2,
    others: _Others = None,
    region: options.Region = None,
    maps: Annotated[bool, option("Trace sites, steps and seeds.")] = True,
    cache: options.CacheFlag = True,
    out: options.OptionalNewFolder = None,
    json: options.JsonFlag = False,
) -> None:
    """Edit the units of findings, and measure how the pictures change.

    Detecting is not controlling: each unit is added to negative prompts and ablated in positive
    ones, and compared with the positive prompts and with edits of the same length without the
    concept. What else changes is part of the claim. Whole sites, ranges of blocks and of steps are
    patched from one prompt into the other.

    With `--out` each part is written as soon as it is measured, to OUT.parts: the same command
    resumes an interrupted one.
    """
    from clerestory.causal import verify as verify_units
    from clerestory.causal.charts import save_maps
    from clerestory.cli import console, interrupts
    from clerestory.cli.regions import read_region
    from clerestory.contrasts import Findings
    from clerestory.io.writing import atomic_folder
    from clerestory.models import parse_seeds

    opened_findings = Findings.load(findings)
    seed_numbers = parse_seeds(seeds) if seeds else None
    part_of_picture = read_region(region)
    opened_model = model.open()
    # Beside the folder, which is whole or absent.
    parts = None if out is None else out.with_name(f"{out.resolve().name}.parts")
    with interrupts.resumable(parts), console.progress_bars() as progress:
        result = verify_units(
            opened_findings,
            opened_model,
            classifier=classifier,
            label=label,
            units=unit or (),
            items=items,
            seeds_per_item=seeds_per_item,
            seeds=seed_numbers,
            baselines=baselines,
            smallest_effect=smallest_effect,
            bound=bound,
            others=others,
            region=part_of_picture,
            maps=maps,
            parts=parts,
            cache=cache,
            progress=progress,
        )
        if out is not None:
            with atomic_folder(out) as folder:
                result.write(folder)
                save_maps(result, folder)
            shutil.rmtree(f"{parts}", ignore_errors=True)
            console.status(f"The effects are in {out}.")
    console.write_result(result, json=json, text=lambda: _print(result))


def _print(result: VerificationResult) -> None:
    from clerestory.cli import console

    preserved = result.prompting_preservation
    least = min(preserved.items(), key=lambda pair: pair[1], default=None)
    preservation = "" if least is None else f"; lowest preservation {least[1]:.0%} ({least[0]})"
    console.write(
        f"{result.classifier} predicts {result.label!r} for {result.negative_rate:.0%} of "
        f"{result.items} negative prompts; the positive ones change that by {result.prompting}"
        f"{preservation}.\n"
    )
    console.write_table(result.table())
    console.write("")
    for sentence in result.sentences():
        console.write(sentence)
    for swap in result.swaps:
        console.write(
            f"{swap.factor}: {swap.conditioning:.0%} ({swap.low:.0%}–{swap.high:.0%}) by the "
            f"conditioning, {swap.noise:.0%} by the noise ({swap.pictures} pictures)"
        )
    console.warn(result.warnings)
