"""What the ladder came to, as a page: the frontier, and every rung's pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clerestory.io.outputs import whole_folder
from clerestory.reporting.escaping import to_json
from clerestory.reporting.pages import environment
from clerestory.reporting.pictures import data_address, grid, save
from clerestory.reporting.plots import png, svg
from clerestory.suppression.results import Suppressed
from clerestory.suppression.suppress import DROP, KEEP

__all__ = ["frontier", "keep"]

SHOWN = 8


def keep(found: Suppressed, folder: Path) -> Path:
    """Write `suppressed.json`, page, pictures and any steered model to a new folder; the page."""
    with whole_folder(folder) as part:
        page = _written(found, part)
    return folder / page.name


def _written(found: Suppressed, folder: Path) -> Path:
    (folder / "suppressed.json").write_text(to_json(found.told()) + "\n", "utf-8")
    plot = frontier(found)
    (folder / "frontier.png").write_bytes(png(plot))
    rows = {"as it is": found.pictures["before"], "the control": found.pictures["control"]}
    rows |= {rung.name: rung.pictures for rung in found.rungs}
    save(
        grid([one for own in rows.values() for one in own[:SHOWN, 0]], SHOWN), folder / "rungs.png"
    )
    if found.steered is not None:
        found.steered.save(folder / "steered")
    template = environment("clerestory.suppression").get_template("suppressed.html")
    page = template.render(
        found=found,
        model=found.case.model,
        chart=svg(plot),
        rows={name: [data_address(one) for one in own[:SHOWN, 0]] for name, own in rows.items()},
        drop=DROP,
        keep=KEEP,
    )
    path = folder / "suppressed.html"
    path.write_text(page, "utf-8")
    return path


def frontier(found: Suppressed) -> Any:
    """An Altair chart: what is gone of the excess against what is kept, where set b knows both."""
    import altair as alt
    import pandas as pd

    known = [one for one in found.rungs if None not in (one.came.drop, one.came.kept_share)]
    table = pd.DataFrame(
        {
            "rung": rung.name,
            "gone": rung.came.drop,
            "low": rung.came.drop_low,
            "high": rung.came.drop_high,
            "kept": rung.came.kept_share,
            "taken": rung is found.chosen,
        }
        for rung in known
    )
    bars = pd.DataFrame({"gone": [DROP], "kept": [KEEP]})
    base = alt.Chart(table, title="Set b; the ringed rung is recommended").encode(
        x=alt.X("gone:Q", title="share of the unwanted's excess that is gone"),
        y=alt.Y("kept:Q", title="kept of what is to stay, the worst", scale=alt.Scale(zero=False)),
    )
    points = base.mark_circle(size=90).encode(color=alt.Color("rung:N", title=None))
    spans = base.mark_rule(opacity=0.5).encode(x="low:Q", x2="high:Q", color="rung:N")
    ring = base.transform_filter("datum.taken").mark_point(size=320, color="#222", strokeWidth=2)
    wall = alt.Chart(bars).mark_rule(color="#999", strokeDash=[4, 3]).encode(x="gone:Q")
    floor = alt.Chart(bars).mark_rule(color="#999", strokeDash=[4, 3]).encode(y="kept:Q")
    shown = wall + floor + spans + points + ring if known else wall + floor
    return shown.properties(width=460, height=280)
