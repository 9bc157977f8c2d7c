"""`clerestory draw`: pictures from prompts."""

from __future__ import annotations

from typing import Any

from clerestory.cli import options
from clerestory.cli.model_options import ModelOptions, takes_model

__all__ = ["draw"]


@takes_model
def draw(
    prompts: options.Prompts,
    out: options.NewFolder,
    model: ModelOptions,
    seeds: options.Seeds = "0:4",
    negative: options.NegativePrompt = None,
    guidance: options.Guidance = None,
    steps: options.Steps = None,
    size: options.Size = None,
) -> None:
    """Draw one picture per prompt and seed, and a grid with a row for each prompt."""
    from clerestory.cli import console
    from clerestory.io.writing import atomic_folder
    from clerestory.models import parse_seeds, parse_size
    from clerestory.reporting.pictures import grid, save, save_run

    seed_numbers, picture_size = parse_seeds(seeds), {} if size is None else parse_size(size)
    opened = model.open()
    for prompt in prompts:
        opened.check_prompt(prompt)
    settings: dict[str, Any] = {"negative": negative, "guidance": guidance, "steps": steps}
    settings |= picture_size
    # Called for its checks, before the folder is made.
    opened.options(**settings)
    with atomic_folder(out) as folder:
        with console.progress_bars() as progress:
            run = opened.run(prompts, seed_numbers, progress=progress, **settings)
        save_run(run, folder)
        assert run.pictures is not None
        save(grid(run.pictures, columns=len(seed_numbers)), folder / "grid.png")
    console.status(f"{len(run.pictures)} pictures and grid.png are in {out}.")
