"""Names units of a recording.

names = name_units(recording, model, sites="text.*/mlp")
names.of("text.blocks.2/mlp[311]")
"""

from __future__ import annotations

from collections.abc import Sequence

from clerestory.arguments import checked
from clerestory.contrasts.contrast import provenance
from clerestory.contrasts.evidence import unit_address
from clerestory.errors import SiteError
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.naming.candidates import choose
from clerestory.naming.results import UnitName, UnitNames
from clerestory.naming.scoring import DrawingOptions, NameScorer, Test
from clerestory.naming.values import recorded_units
from clerestory.recordings import Recording
from clerestory.reporting.progress import progress_bars
from clerestory.types import ProgressOption

__all__ = ["name_units"]


@checked()
def name_units(
    recording: Recording,
    model: Model | None = None,
    *,
    sites: str = "*",
    units: Sequence[str] = (),
    names: int = 2,
    vocabulary: Sequence[str] | None = None,
    drawing: bool = True,
    items: int = 12,
    others: int = 99,
    progress: ProgressOption = True,
) -> UnitNames:
    """Name units by the words that raise them, and score each name.

    Names are chosen on half of the prompts, the half that pages of a microscope show. *Detection*
    is scored on the other half, which shares no item and no template where these were recorded: is
    the unit higher in prompts that fit the name? *Drawing* is scored on new prompts: does the name
    raise the unit more than other words of as many words do, over items and among the words?

    Args:
        recording: A recording of many different prompts.
        model: The recorded model; None leaves out drawing, and words that the prompts lack.
        sites: Addresses or patterns of recorded sites, separated by commas.
        units: Addresses of single units, such as `text.blocks.2/mlp[311]`, instead of all units of
            the sites.
        names: How many names each unit gets at most.
        vocabulary: Words that the prompts may lack, for models whose text encoder has a projection;
            by default those of the model's profile, or its tokens.
        drawing: Whether to draw.
        items: Sentences that each word is put into.
        others: Other words that a name is held against; fewer than 19 decide nothing.
        progress: True for progress bars, or a callback.

    Returns:
        The names; a unit that no candidate raises has none.

    Raises:
        EvidenceError: There are too few different prompts.
        SiteError: There is no such site or unit.
        RecordingError: The model is another one than was recorded.
    """
    columns = _columns(recording, sites, units)
    options = DrawingOptions(items, others) if drawing else None
    with progress_bars(progress) as report:
        scorer = NameScorer(recording, model, vocabulary, options, report)
        tests = []
        for number, (site, chosen) in enumerate(columns.items(), 1):
            values = scorer.values(site)[scorer.samples.selection][:, chosen]
            for column, numbers in zip(
                chosen, choose(values, scorer.candidates, names), strict=True
            ):
                tests += [Test(site, column, scorer.candidates.names[at]) for at in numbers]
            report("choosing names", number, len(columns))
        scores = scorer.score(tests)
    identity = recording.store.plan.model
    return UnitNames(
        names=tuple(
            UnitName(_address(recording, test), test.name, *score)
            for test, score in zip(tests, scores, strict=True)
        ),
        candidates=len(scorer.candidates.names),
        items=items if scorer.drawing is not None else 0,
        warnings=tuple(scorer.warnings),
        provenance=provenance(
            identity.name,
            identity.weights,
            sites=sites,
            units=list(units),
            names=names,
            drawing=scorer.drawing is not None,
            items=items,
            others=others,
        ),
    )


def _columns(recording: Recording, sites: str, units: Sequence[str]) -> dict[str, list[int]]:
    """The columns of each site whose units get names."""
    if not units:
        return {
            site: list(range(recording.layout(site).shape[-1])) for site in recording.match(sites)
        }
    columns: dict[str, list[int]] = {}
    for unit in units:
        site, column = unit_column(recording, unit)
        columns.setdefault(site, []).append(column)
    return columns


def unit_column(recording: Recording, unit: str) -> tuple[str, int]:
    """The site of a unit, and its column there.

    Args:
        recording: The recording.
        unit: The unit's address.

    Returns:
        The site's address, and the column of its values.

    Raises:
        SiteError: It is no single unit, or was not recorded.
    """
    address = parse(unit)
    if address.units is None or len(address.units) != 1 or address.steps:
        raise SiteError(f"{unit!r} is not one unit; write one like text.blocks.2/mlp[311].")
    site = recording.address(address.site)
    numbers = recorded_units(recording, site)
    if address.units[0] not in numbers:
        raise SiteError(f"unit {address.units[0]} of {site} was not recorded.")
    return site, numbers.index(address.units[0])


def _address(recording: Recording, test: Test) -> str:
    return unit_address(test.site, recorded_units(recording, test.site)[test.column])
