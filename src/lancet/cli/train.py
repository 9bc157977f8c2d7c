"""`clerestory lancet train`: from art to weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from clerestory.cli.arguments import validated

__all__ = ["train"]


@validated
def train(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the model; must be empty or absent. Needed unless --stage."),
    ] = None,
    art: Annotated[Path, typer.Option(help="Folder made by `clerestory lancet art`.")] = Path(
        "build/art"
    ),
    work: Annotated[
        Path | None,
        typer.Option(
            help="Folder for renders and checkpoints, where a second call goes on; by default"
            " ~/.cache/clerestory/lancet (with --smoke a temporary one)."
        ),
    ] = None,
    world: Annotated[
        Path | None, typer.Option(help="A world's table; the built-in one if left out.")
    ] = None,
    smoke: Annotated[bool, typer.Option(help="Every stage, tiny, in about two minutes.")] = False,
    warm: Annotated[
        str | None,
        typer.Option("--from", help="Start from a model's weights: `shipped`, or its folder."),
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            help="Only these stages. A folder is written where --from gives the other parts."
        ),
    ] = None,
    version: Annotated[str, typer.Option(help="Kept with the model, and told by it: 1.0.")] = "",
) -> None:
    """Train a Lancet on a world, from its art to a model folder.

    Stages: renders, autoencoder, vision, text, prior, decoder, eye, classifier_a, classifier_b.

    Stopped at any moment, the same command goes on from the last checkpoint.
    """
    from clerestory.cli import console
    from clerestory.errors import OutputError
    from clerestory.io.writing import check_empty_folder
    from clerestory.models.loading.pipelines import silence_libraries
    from lancet import checkpoint
    from lancet.training.settings import presets
    from lancet.world.table import World

    with silence_libraries():
        from lancet.training.train import Training
    if out is None and not stage:
        raise OutputError("Give --out, the folder for the model, or --stage.")
    if out is not None and stage and warm is None:
        raise OutputError(
            "With --stage and --out, give --from too: where the other parts are from."
        )
    if out is not None and not (out / "manifest.json").exists():
        check_empty_folder(out)
    shipped = None if warm is None else checkpoint.SHIPPED if warm == "shipped" else Path(warm)
    if shipped is not None:
        checkpoint.manifest(shipped)
    with _work(work, smoke) as kept, silence_libraries(), console.progress_bars() as report:
        training = Training(
            World.load(world),
            art,
            kept,
            presets["smoke" if smoke else "full"],
            shipped=shipped,
            report=report,
        )
        if out is not None and not stage and training.made(out):
            console.status(f"The model in {out} is finished: same world, same settings.")
            return
        training.check(stage or (), out=out)
        training.run(stage or ())
        if out is not None:
            training.assemble(out, version=version)
            console.status(f"The model is in {out}.")


@contextmanager
def _work(given: Path | None, smoke: bool) -> Iterator[Path]:
    """The folder that a second call goes on in, or one that is gone afterwards."""
    import tempfile

    from clerestory.cli import interrupts
    from clerestory.errors import OutputError

    if given is None and smoke:
        with tempfile.TemporaryDirectory(prefix="clerestory-smoke-") as passing:
            yield Path(passing)
        return
    if given is not None and given.exists() and not given.is_dir():
        raise OutputError(f"{given} is a file; give a folder for renders and checkpoints.")
    folder = given or Path.home() / ".cache" / "clerestory" / "lancet"
    with interrupts.resumable(folder):
        yield folder
