"""`clerestory lancet train`: from art to weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from clerestory.cli.arguments import validated
from clerestory.cli.options import option
from lancet.cli import options

__all__ = ["train", "work_folder"]

_Out = Annotated[
    Path | None, option("Folder for the model; must be empty or absent. Required without --stage.")
]
_Work = Annotated[
    Path | None,
    option(
        "Folder for renders and checkpoints, where the same command resumes; default: "
        "~/.cache/clerestory/lancet, or a temporary one with --smoke."
    ),
]
_Warm = Annotated[
    str | None, option("Start from a model's weights: `shipped`, or its folder.", "--from")
]
_Stage = Annotated[
    list[str] | None,
    option("Only these stages. A folder is written where --from gives the other parts."),
]


@validated
def train(
    out: _Out = None,
    art: options.ArtFolder = options.DEFAULT_ART,
    work: _Work = None,
    world: options.WorldFile = None,
    smoke: Annotated[bool, option("Train every stage, tiny, in about two minutes.")] = False,
    warm: _Warm = None,
    stage: _Stage = None,
    version: Annotated[str, option("Version of the model, such as 1.0.")] = "",
) -> None:
    """Train a Lancet on a world, from its art to a model folder.

    Stages: renders, autoencoder, vision, text, prior, decoder, eye, classifier_a, classifier_b.

    The same command resumes an interrupted training from its last checkpoint.
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
        raise OutputError("With --stage and --out, give --from too: the source of the other parts.")
    if out is not None and not (out / "manifest.json").exists():
        check_empty_folder(out)
    shipped = None if warm is None else checkpoint.SHIPPED if warm == "shipped" else Path(warm)
    if shipped is not None:
        # Read for its error: a wrong folder costs no training.
        checkpoint.manifest(shipped)
    with (
        work_folder(work, smoke) as folder,
        silence_libraries(),
        console.progress_bars() as report,
    ):
        training = Training(
            World.load(world),
            art,
            folder,
            presets["smoke" if smoke else "full"],
            shipped=shipped,
            report=report,
        )
        if out is not None and not stage and training.is_finished(out):
            console.status(f"The model in {out} is finished: same world, same settings.")
            return
        training.check(stage or (), out=out)
        training.run(stage or ())
        if out is not None:
            training.assemble(out, version=version)
            console.status(f"The model is in {out}.")


@contextmanager
def work_folder(folder: Path | None, smoke: bool, name: str = "lancet") -> Iterator[Path]:
    """The folder of renders and checkpoints; a temporary one for a smoke run without `--work`.

    Args:
        folder: The value of `--work`.
        smoke: Whether this is a smoke run.
        name: The folder's name in the cache, which is used without `--work`.

    Yields:
        The folder.

    Raises:
        OutputError: It is a file.
    """
    import tempfile

    from clerestory.cli import interrupts
    from clerestory.errors import OutputError
    from clerestory.io.caches import cache_folder

    if folder is None and smoke:
        with tempfile.TemporaryDirectory(prefix="clerestory-smoke-") as temporary:
            yield Path(temporary)
        return
    if folder is not None and folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; give a folder for renders and checkpoints.")
    folder = folder or cache_folder(name)
    with interrupts.resumable(folder):
        yield folder
