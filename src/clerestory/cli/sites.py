"""`clerestory sites`: the sites of a model, which can be read and edited."""

from __future__ import annotations

from typing import Annotated

from clerestory.cli import options
from clerestory.cli.model_options import ModelOptions, takes_model_alone
from clerestory.cli.options import argument

__all__ = ["sites"]

_Pattern = Annotated[str, argument("Patterns of sites, such as `text.*/mlp`, separated by commas.")]


@takes_model_alone
def sites(
    model: ModelOptions,
    pattern: _Pattern = "*",
    json: options.JsonFlag = False,
) -> None:
    """List the sites of a model: address, positions × units, and torch module."""
    import sys

    from clerestory.cli import console

    selected = model.open().sites.match(pattern)
    if json:
        rows = [
            {
                "address": site.address,
                "shape": list(site.shape),
                "module": site.path,
                "affects_output": site.affects_output,
                "stream": site.stream,
                "heads": site.heads,
                "idle": site.idle,
            }
            for site in selected
        ]
        console.write_json(rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("address", "positions", "units", "module", "affects output", box=None)
    for site in selected:
        positions = "varies" if site.shape[0] is None else str(site.shape[0])
        units = "?" if site.shape[1] is None else str(site.shape[1])
        units += f" in {site.heads} heads" if site.heads else ""
        affects = {True: "yes", False: "no", None: "?"}[site.affects_output]
        cells = (site.address, positions, units, site.path, affects)
        # `Text`, so that rich reads no markup in a model's module names.
        table.add_row(*(Text(console.plain(cell)) for cell in cells))
    # Without a terminal rich assumes 80 columns, and would cut addresses in a pipe.
    width = None if sys.stdout.isatty() else 200
    Console(width=width).print(table)
