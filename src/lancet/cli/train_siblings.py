"""`clerestory lancet train-siblings`: the same world in two other architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from clerestory.cli.arguments import validated
from clerestory.cli.options import option
from lancet.cli.train import work_folder

__all__ = ["train_siblings"]

_Out = Annotated[
    Path | None,
    option(
        "Folder for the siblings; must be empty or absent. Without it nothing is written but "
        "checkpoints."
    ),
]
_Art = Annotated[Path, option("Folder made by `clerestory lancet art`.")]
_Work = Annotated[
    Path | None,
    option(
        "Folder for renders and checkpoints, where a second call goes on; by default "
        "~/.cache/clerestory/lancet-siblings (with --smoke a temporary one)."
    ),
]
_Minutes = Annotated[
    float | None, option("Save and stop after this long; the next call goes on.", min=0.1)
]
_Steps = Annotated[
    int | None,
    option(
        "Steps of the stages that are trained, where the rate has fallen to its end; by default "
        "the plan's.",
        min=2,
    ),
]
_Seed = Annotated[
    int, option("Another run of the denoisers, beside that of seed 0, on the same latents.", min=0)
]
_Sight = Annotated[
    float,
    option(
        "Weight of what the selection classifiers' body sees in the autoencoder's loss.",
        min=0.0,
    ),
]
_Warm = Annotated[
    str | None, option("Start from weights: `shipped`, or a folder that --out wrote.", "--from")
]
_Partly = Annotated[bool, option("Write --out from the last checkpoints, unfinished.", "--partly")]
_Sibling = Annotated[list[str] | None, option("Write only these into --out; both by default.")]


@validated
def train_siblings(
    out: _Out = None,
    art: _Art = Path("build/art"),
    work: _Work = None,
    smoke: Annotated[bool, option("Every stage, tiny, in seconds.")] = False,
    stage: Annotated[list[str] | None, option("Only these stages.")] = None,
    minutes: _Minutes = None,
    steps: _Steps = None,
    seed: _Seed = 0,
    sight: _Sight = 0.0,
    warm: _Warm = None,
    partly: _Partly = False,
    sibling: _Sibling = None,
) -> None:
    """Train `lancet-unet` and `lancet-mmdit` on Lancet 1.0's world and text encoder.

    Stages: renders, autoencoder, reconstructions, latents, states, unet, mmdit.

    Stopped at any moment, the same command goes on from the last checkpoint.
    """
    import time
    from dataclasses import replace

    from clerestory.cli import console
    from clerestory.errors import OutputError
    from clerestory.models.loading.pipelines import silence_libraries
    from lancet.siblings import ARCHITECTURES, AUTOENCODER, SHIPPED
    from lancet.training.siblings.settings import TRAINED, presets

    unknown = sorted(set(sibling or ()) - set(ARCHITECTURES))
    if unknown:
        raise OutputError(
            f"No sibling is called {unknown[0]!r}. Known: {', '.join(ARCHITECTURES)}."
        )
    with silence_libraries():
        from lancet.training.siblings.train import SiblingTraining
    # From here on, so that the time that starting takes counts too.
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    settings = replace(presets["smoke" if smoke else "full"], autoencoder_sight=sight)
    if steps is not None:
        settings = settings.with_plans(stage or TRAINED, steps=steps)
    if seed:
        # Far apart, so that no two runs share a seed of a step.
        settings = settings.with_plans(("unet",), seed=settings.unet.seed + 1000 * seed)
        settings = settings.with_plans(("mmdit",), seed=settings.mmdit.seed + 1000 * seed)
    shipped = None if warm is None else SHIPPED if warm == "shipped" else Path(warm)
    if shipped is not None and not (shipped / AUTOENCODER).is_dir():
        raise OutputError(f"{shipped} has no siblings' weights to start from.")
    with (
        work_folder(work, smoke, "lancet-siblings") as folder,
        silence_libraries(),
        console.progress_bars() as report,
    ):
        training = SiblingTraining(
            art,
            folder,
            settings,
            shipped=shipped,
            run=f"seed-{seed}" if seed else "",
            report=report,
        )
        training.check(stage or (), out=out)
        # With --partly, --out is written of what is there.
        done = partly or training.run(stage or (), deadline=deadline)
        if training.reconstructions is not None:
            console.status(f"The autoencoder: {training.reconstructions}.")
        if not done:
            console.status(f"Stopped after {minutes:g} minutes; the same command goes on.")
            return
        if out is not None:
            training.assemble(out, sibling or (), allow_unfinished=partly)
            console.status(f"The siblings are in {out}.")
