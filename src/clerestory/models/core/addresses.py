"""Addresses of sites: `text.blocks.3/mlp[311]@5`, with `*` for anything and commas between several.

`[311]` is a unit, `[0:4]` are four, `[h2]` are the units of attention head 2; `@5` is a step, and
`@3,4` or `@3:5` are two.

>>> parse("text.blocks.3/mlp[311]@5")
Address(site='text.blocks.3/mlp', units=(311,), steps=(5,), heads=None)
>>> parse("denoiser.mid.res.0/out@3,4:6").steps
(3, 4, 5)
>>> sizes = {"text.blocks.0/mlp": 8, "text.blocks.1/mlp": 8, "prior/embedding": 4}
>>> list(select("text.*/mlp, prior/embedding[0:2]", sizes))
['text.blocks.0/mlp', 'text.blocks.1/mlp', 'prior/embedding']
>>> parse("text blocks")
Traceback (most recent call last):
    ...
clerestory.errors.SiteError: 'text blocks' is not a valid address, such as text.blocks.3/mlp[311]@5.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache

from clerestory.errors import SiteError
from clerestory.registry import nearest, suggest

__all__ = ["Address", "SiteSelection", "check_width", "head_units", "parse", "select"]

# ASCII only: `\d` would also match digits of other scripts, which look like another unit.
_ADDRESS = re.compile(
    r"(?P<site>[^\[\]@,\s]+)(\[(?P<units>[\d:,\sh]+)\])?(@(?P<steps>\*|[\d:]+(,[\d:]+)*))?",
    re.ASCII,
)
FEW_SITES = 12
"""How many are listed in the message that there is no such site."""
_COMMA = re.compile(r",(?![^\[]*\])(?!\s*[\d:]+\s*(?:,|$))")
"""Between patterns: not within brackets, and not before a further step."""


MAX_RANGE = 10_000_000
"""Largest number of units or steps in one range."""


@dataclass(frozen=True)
class Address:
    """One address as written; None for units, heads or steps that it does not name.

    Attributes:
        site: `stage.path/tap`, perhaps with `*`.
        units: Indices of units, rising.
        steps: Indices of steps, rising; `@*` is None too, since it means all.
        heads: Indices of attention heads, rising; then `units` is None.
    """

    site: str
    units: tuple[int, ...] | None = None
    steps: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it names all units of its site, at some steps or at all of them."""
        return self.units is None and self.heads is None


@dataclass(frozen=True)
class SiteSelection:
    """The units and steps to read at one site, in rising order; None for all.

    Attributes:
        units: Indices of units.
        steps: Indices into the scheduler's timesteps.
    """

    units: tuple[int, ...] | None = None
    steps: tuple[int, ...] | None = None

    def union(self, other: SiteSelection) -> SiteSelection:
        """The units and steps of either selection.

        Args:
            other: Another selection of the same site.

        Returns:
            Per axis the sorted union; None where either has None, which is all.
        """
        return SiteSelection(_union(self.units, other.units), _union(self.steps, other.steps))


@lru_cache(maxsize=4096)
def parse(text: str) -> Address:
    """Read one address.

    Args:
        text: `stage.path/tap`, with `[units]` or `[hHEADS]` and `@steps` where wanted; space
            around it is ignored.

    Returns:
        Its parts; the site is not looked up and may be a pattern.

    Raises:
        SiteError: It is not of the form `stage.path/tap[units]@step`, or a range is empty or
            longer than 10,000,000.
    """
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        raise SiteError(
            f"{text.strip()!r} is not a valid address, such as text.blocks.3/mlp[311]@5."
        )
    steps, units = match["steps"], match["units"]
    heads = None
    # Only one `h` is removed, so `[h0,h1]` fails as a number below instead of being guessed at.
    if units is not None and "h" in units:
        heads, units = _parse_numbers(units.replace("h", "", 1), text), None
    return Address(
        match["site"],
        None if units is None else _parse_numbers(units, text),
        None if steps is None or steps == "*" else _parse_numbers(steps, text),
        heads,
    )


def select(
    patterns: str | Sequence[str],
    units: Mapping[str, int | None],
    *,
    single: bool = False,
    noun: str = "site",
    heads: Mapping[str, int | None] | None = None,
    aliases: Mapping[str, str] | None = None,
    paths: Mapping[str, str] | None = None,
    idle: Collection[str] = (),
) -> dict[str, SiteSelection]:
    """Select the sites that patterns name.

    Args:
        patterns: Addresses, with `*` for anything.
        units: The number of units of each site by address; None where it is not known yet.
        single: Whether exactly one site is wanted.
        noun: Word for a site in error messages.
        heads: The number of attention heads of each site; None without heads.
        aliases: Other names of sites.
        paths: The path of each site's torch module. Where one site alone has it, it names the site.
        idle: Sites whose modules are never called; they are named by their addresses only.

    Returns:
        Selections by address, in the order of `units`, whatever the order of the patterns.

    Raises:
        SiteError: A pattern names no site, a unit lies outside its site, or several sites match
            and `single` is set.
    """
    selections: dict[str, SiteSelection] = {}
    for parsed in _parse_patterns(patterns):
        address = replace(parsed, site=_without_alias(parsed.site, aliases or {}))
        # An exact name needs no scan of all sites, of which a generic pipeline has thousands.
        exact = [address.site] if address.site in units else []
        matching = exact or [
            site
            for site in units
            # Latents, of which a site may have a hundred thousand, are asked for by their colon.
            if fnmatchcase(site, address.site) and (":" in address.site or ":" not in site)
        ]
        sites = exact or [site for site in matching if site not in idle]
        if matching and not sites:
            raise SiteError(
                f"The modules of all {noun}s that {address.site!r} names are never called, such as "
                f"{matching[0]}."
            )
        sites = sites or _sites_of_module(address.site, paths or {})
        if not sites:
            raise SiteError(_unknown(address.site, noun, units))
        for site in sites:
            _check_units(address, site, units[site])
            selected_units = head_units(address, site, units[site], (heads or {}).get(site))
            selection = SiteSelection(selected_units, address.steps)
            earlier = selections.get(site)
            selections[site] = selection if earlier is None else earlier.union(selection)
    if single and len(selections) != 1:
        raise SiteError(
            f"{patterns!r} names {len(selections)} sites; exactly one is expected here."
        )
    return {site: selections[site] for site in units if site in selections}


def _without_alias(site: str, aliases: Mapping[str, str]) -> str:
    """The address that a name stands for, also where it names latents of a site by its alias."""
    base, colon, dictionary = site.partition(":")
    return aliases.get(site, aliases.get(base, base) + colon + dictionary)


def _unknown(site: str, noun: str, units: Mapping[str, int | None]) -> str:
    """The message for a site that there is not."""
    base, colon, name = site.partition(":")
    if colon and name and base in units:
        return (
            f"{base} has no dictionary {name[:80]!r}: attach it, with model.attach(dictionary, "
            f"{name[:80]!r}) or --dictionary {name[:80]}=FOLDER.{suggest(site, units)}"
        )
    # A pattern without a colon names no latents, of which there may be many.
    known = [each for each in units if ":" in site or ":" not in each]
    message = f"No {noun} is called {site!r}."
    if len(known) <= FEW_SITES:
        return message + suggest(site, known)
    *others, last = nearest(site, known, 5) or [""]
    hint = f" Did you mean {', '.join(others)}{' or ' * bool(others)}{last}?" if last else ""
    listed = ", which `clerestory sites` lists" if noun == "site" else ""
    return f"{message}{hint} There are {len(known)} in all{listed}."


def _sites_of_module(path: str, paths: Mapping[str, str]) -> list[str]:
    """The site whose module has a path; SiteError where several have it, or modules below it."""
    exact = [site for site, other in paths.items() if other == path]
    if len(exact) == 1:
        return exact
    below = exact or [site for site, other in paths.items() if other.startswith(f"{path}.")]
    if below:
        listed = ", ".join(below[:12]) + (f" and {len(below) - 12} more" if below[12:] else "")
        raise SiteError(f"{path!r} is a module; its sites are {listed}: write one of them.")
    return []


def _parse_patterns(patterns: str | Sequence[str]) -> Iterator[Address]:
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        for part in _COMMA.split(pattern):
            yield parse(part)


def check_width(site: str, units: Collection[int] | None, width: int) -> None:
    """Check units of a site whose width is known only when it runs.

    Args:
        site: The site's address.
        units: Indices of units; None for all.
        width: How many units it has.

    Raises:
        SiteError: A unit lies outside.
    """
    if units and max(units) >= width:
        raise SiteError(f"{site} has no unit {max(units)}; its {width} units are 0 to {width - 1}.")


def head_units(
    address: Address, site: str, size: int | None, heads: int | None
) -> tuple[int, ...] | None:
    """The units that an address asks for, with those of its heads listed.

    Args:
        address: The address.
        site: The site's address, for error messages.
        size: The site's number of units; None where it is not known.
        heads: The site's number of attention heads; None without heads.

    Returns:
        Indices of units; None for all.

    Raises:
        SiteError: The site has no heads, or a head index is out of range.
    """
    if address.heads is None:
        return address.units
    if not heads or size is None:
        raise SiteError(f"{site} has no attention heads; the taps q, k, v and z have some.")
    absent = [head for head in address.heads if head >= heads]
    if absent:
        raise SiteError(f"{site} has no head {absent[0]}; its {heads} heads are 0 to {heads - 1}.")
    # By the width of the site itself: attentions with grouped queries have fewer heads at k and v
    # than at q.
    width = size // heads
    return tuple(head * width + unit for head in address.heads for unit in range(width))


def _check_units(address: Address, site: str, size: int | None) -> None:
    if size is None:
        return
    absent = [unit for unit in address.units or () if unit >= size]
    if absent:
        raise SiteError(f"{site} has no unit {absent[0]}; its {size} units are 0 to {size - 1}.")


def _parse_numbers(text: str, address: str) -> tuple[int, ...]:
    numbers: set[int] = set()
    for part in text.split(","):
        first, colon, last = part.strip().partition(":")
        if not first.isdigit() or (colon and not last.isdigit()):
            raise SiteError(
                f"{text!r} in {address.strip()!r} is not a number or a range like 0:10."
            )
        # Bounded before it is built: `0:999999999` in a shared file would fill memory. The count of
        # digits comes first, since int() of a very long text is slow or refused.
        if max(len(first), len(last)) > 9 or int(last or 0) - int(first) > MAX_RANGE:
            raise SiteError(f"{text[:80]!r} in an address selects more than {MAX_RANGE:,}.")
        numbers.update(range(int(first), int(last)) if colon else [int(first)])
    if not numbers:
        raise SiteError(f"The range {text!r} in {address.strip()!r} is empty; write one like 0:10.")
    return tuple(sorted(numbers))


def _union(first: tuple[int, ...] | None, second: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if first is None or second is None else tuple(sorted({*first, *second}))
