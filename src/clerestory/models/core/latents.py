"""Dictionaries at sites: latents of a site's values as units of a site of their own.

`prior/embedding:NAME` are the latents of the values at `prior/embedding`. They have no module: a
tap there is a tap of the base site that encodes, an edit there is an edit of the base site that
adds what its change of the latents decodes to. So the reconstruction error stays, and an edit that
changes no latent changes no bit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.errors import DictionaryError, EditError, SiteError
from clerestory.models.core.attachment import Tap
from clerestory.models.core.edit_application import apply_edit
from clerestory.models.core.family import SiteHook, TapCallback
from clerestory.models.core.pooling import Pooler
from clerestory.models.core.regions import Layout, in_layout
from clerestory.models.core.types import Branch, Edit

__all__ = [
    "AttachedDictionary",
    "DictionaryLike",
    "LatentEdit",
    "add_latent_edit",
    "attached_to",
    "base_of",
    "check_site",
    "hooks_with_latents",
    "make_tap",
]

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
ORIGINS = ("hookpoint", "hook_name", "hook_name_out", "trained_on")
"""Fields of the metadata by which other libraries say where a dictionary was trained."""
SHOWN = 3
"""Sites that a message lists."""
MAX_VALUES = 2**26
"""Latents that are computed at a time, 256 MiB: those of a whole batch of maps may not fit."""


@runtime_checkable
class DictionaryLike(Protocol):
    """What can be attached to a site: `clerestory.dictionaries.Dictionary`, or one's own class."""

    @property
    def width(self) -> int:
        """Units of the site that is encoded."""

    @property
    def latents(self) -> int:
        """Number of latents."""

    @property
    def site(self) -> str:
        """Address of the site whose values it was trained on; "" where unknown."""

    @property
    def output_site(self) -> str | None:
        """Address of the site that a transcoder predicts; None for an autoencoder."""

    @property
    def digest(self) -> str:
        """Tells its function from any other."""

    def encode(self, values: Tensor, units: Tensor | None = None) -> Tensor:
        """From values `[..., unit]` to latents `[..., latent]`, all or those of some indices."""

    def decode_difference(self, difference: Tensor, units: Tensor | None = None) -> Tensor:
        """What a change of latents, all or those of some indices, adds to values."""

    def to(self, device: torch.device | str) -> Any:
        """The same on a device."""


@dataclass(frozen=True, eq=False)
class AttachedDictionary:
    """A dictionary at a site of a model or of a recording.

    Attributes:
        name: The name that its site has after the colon.
        base: Address of the site whose values it encodes.
        dictionary: The dictionary.
    """

    name: str
    base: str
    dictionary: DictionaryLike = field(repr=False)
    _placed: dict[torch.device, DictionaryLike] = field(
        default_factory=dict, init=False, repr=False
    )

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        # Without the copies on devices, which another process may not have.
        return AttachedDictionary, (self.name, self.base, self.dictionary)

    @property
    def address(self) -> str:
        """Address of the site that its latents are."""
        return f"{self.base}:{self.name}"

    def on(self, device: torch.device) -> DictionaryLike:
        """The dictionary on a device, moved once.

        Args:
            device: The device of the values.

        Returns:
            The dictionary.
        """
        if device not in self._placed:
            self._placed[device] = self.dictionary.to(device)
        return self._placed[device]

    def encode(self, values: Tensor, units: Sequence[int] | None = None) -> Tensor:
        """Encode values where they are.

        Args:
            values: `[..., unit]`.
            units: Indices of latents; None for all.

        Returns:
            float32 `[..., latent]` on the same device.
        """
        indices = None if units is None else torch.tensor(units, device=values.device)
        return self.on(values.device).encode(values, indices)

    def pool(self, values: Tensor, pooler: Pooler, units: Sequence[int] | None) -> Tensor:
        """Encode values and pool their latents over positions, a few samples at a time.

        Args:
            values: `[sample, position, unit]`, all samples of the pooler.
            pooler: Pools over positions.
            units: Indices of latents; None for all.

        Returns:
            float32 `[sample, latent]`, or with positions where the pooler keeps them.
        """
        count = self.dictionary.latents if units is None else len(units)
        size = max(1, MAX_VALUES // (values.shape[1] * count))
        parts = []
        for start in range(0, len(values), size):
            rows = slice(start, start + size)
            parts.append(pooler(self.encode(values[rows], units), rows))
        return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclass(frozen=True, eq=False)
class LatentEdit:
    """Edits of latents as an edit of the site that they are latents of.

    Attributes:
        edits: Edits of the latents, each applied to what the one before it gave.
        attached: The dictionary.
    """

    edits: tuple[Edit, ...]
    attached: AttachedDictionary

    @property
    def site(self) -> str:
        """The address of the base site, with the steps of the edits."""
        return self.edits[0].site.replace(self.attached.address, self.attached.base, 1)

    @property
    def branch(self) -> Branch | str:
        """The branch of guidance that is changed."""
        return getattr(self.edits[0], "branch", "cond")

    def in_layout(self, layout: Layout) -> LatentEdit:
        """The edit for values of a layout, which regions of the picture need.

        Args:
            layout: The layout of the base site's value.

        Returns:
            A copy.
        """
        return replace(self, edits=tuple(in_layout(edit, layout) for edit in self.edits))

    def __call__(self, value: Tensor) -> Tensor:
        """Add what the edits change to values.

        Args:
            value: Values of the base site, `[sample, position, unit]`.

        Returns:
            A tensor of the same shape and dtype; positions whose latents do not change are the
            same, bit by bit.

        Raises:
            EditError: An edit changes the shape of the latents.
        """
        before = self.attached.encode(value)
        after = before
        for edit in self.edits:
            # A copy, since an edit may write in place.
            after = apply_edit(edit, after.clone())
        difference = after.float() - before
        changed = difference != 0
        units = changed.flatten(0, -2).any(0).nonzero()[:, 0]
        if not len(units):
            return value
        dictionary = self.attached.on(value.device)
        # Of the latents that change alone: mostly they are one.
        added = dictionary.decode_difference(difference[..., units], units)
        # Not by adding zeros, which would turn -0 to 0.
        return torch.where(changed.any(-1, keepdim=True), (value + added).to(value.dtype), value)


def add_latent_edit(edits: Sequence[Edit], edit: Edit, hook: SiteHook) -> list[Edit]:
    """Add an edit to a list; at latents as an edit of their base site.

    Args:
        edits: The edits before it.
        edit: An edit, bound to its samples and positions.
        hook: The hook of its site.

    Returns:
        A new list. Edits of the same latents, steps and branch that follow one another are one,
        so that the second gets the latents as the first left them.

    Raises:
        EditError: The latents are a transcoder's.
    """
    attached = hook.latents
    if attached is None:
        return [*edits, edit]
    if attached.dictionary.output_site is not None:
        raise EditError(
            f"The edit at {edit.site} is of latents of a transcoder, which can be read but not "
            "edited: they are decoded at another site."
        )
    added = LatentEdit((edit,), attached)
    last = edits[-1] if edits else None
    if (
        isinstance(last, LatentEdit)
        and last.attached is attached
        and (last.site, last.branch) == (added.site, added.branch)
    ):
        return [*edits[:-1], LatentEdit((*last.edits, edit), attached)]
    return [*edits, added]


def make_tap(
    hook: SiteHook,
    callback: TapCallback,
    branch: Branch = "cond",
    steps: tuple[int, ...] | None = None,
    *,
    copies: bool = True,
) -> Tap:
    """A tap of a site; of latents a tap of their base site that encodes.

    Args:
        hook: The hook of the site.
        callback: Called with activations `[sample, position, unit]` and the step.
        branch: As for `Tap`.
        steps: As for `Tap`.
        copies: As for `Tap`; latents are always new.

    Returns:
        The tap.
    """
    attached = hook.latents
    if attached is None:
        return Tap(hook.site.address, callback, branch, steps, copies)
    encode = attached.encode
    return Tap(
        attached.base, lambda value, step: callback(encode(value), step), branch, steps, False
    )


def base_of(
    dictionary: DictionaryLike, name: str, site: str | None, units: Mapping[str, int | None]
) -> str:
    """The address of the site that a dictionary is to be attached to.

    Args:
        dictionary: The dictionary.
        name: Its name, for the message; "" for one that is not attached.
        site: The address that the caller gave, if any.
        units: Numbers of units of the sites that there are, by address; None where unknown.

    Returns:
        That address, or the one that the dictionary was trained on.

    Raises:
        DictionaryError: There is neither.
        SiteError: There is no site that the dictionary was trained on.
    """
    base = site or getattr(dictionary, "site", "")
    option = f"--dictionary SITE:{name}=FOLDER" if name else "--site SITE"
    how = f"name it, with site='SITE' or {option}"
    if not base:
        raise DictionaryError(
            f"{_label(name)} does not know its site{_origin(dictionary)}: {how}."
            f"{_fitting(dictionary, units)}"
        )
    # What the caller gave may be a pattern, and is looked up with its own message.
    if not site and base not in units and f"{base}:{name}" not in units:
        raise SiteError(
            f"{_label(name)} was trained at {base[:80]!r}, and there is no such site here: "
            f"if another has the same values, {how}.{_fitting(dictionary, units)}"
        )
    return base


def _label(name: str) -> str:
    return f"The dictionary {name!r}" if name else "The dictionary"


def _origin(dictionary: DictionaryLike) -> str:
    """What the file of a dictionary says of where it was trained, in brackets."""
    metadata = getattr(dictionary, "metadata", None) or {}
    known = [f"{key} {metadata[key]!r:.80}" for key in ORIGINS if metadata.get(key)]
    return f" (its file has {', '.join(known)})" if known else ""


def _fitting(dictionary: DictionaryLike, units: Mapping[str, int | None]) -> str:
    """A sentence that names sites with as many units as the dictionary."""
    width, tap = getattr(dictionary, "width", None), _tap_of(dictionary)
    sites = [
        address
        for address, count in units.items()
        if count == width and ":" not in address and (not tap or address.endswith(f"/{tap}"))
    ]
    what = f"{width} units" + (f" and the tap {tap}" if tap else "")
    if not sites:
        return "" if None in units.values() else f" No site here has {what}."
    more = f" and {len(sites) - SHOWN} more" if len(sites) > SHOWN else ""
    return f" Sites with {what}: {', '.join(sites[:SHOWN])}{more}."


def _tap_of(dictionary: DictionaryLike) -> str:
    """The tap whose values a dictionary encodes; "" where any may be."""
    return str((getattr(dictionary, "metadata", None) or {}).get("tap") or "")


def check_site(
    dictionary: DictionaryLike, name: str, base: str, units: Mapping[str, int | None]
) -> None:
    """Check that a dictionary fits a site.

    Args:
        dictionary: The dictionary.
        name: Its name, for the message; "" for one that is not attached.
        base: Address of the site.
        units: Numbers of units of the sites that there are, by address; None where unknown.

    Raises:
        DictionaryError: The site has another number of units, are latents, or has another tap than
            the dictionary's metadata name.
    """
    if ":" in base:
        raise DictionaryError(f"{base} are latents already: a dictionary encodes a model's values.")
    if units[base] not in (None, dictionary.width):
        raise DictionaryError(
            f"{_label(name)} is for {dictionary.width} units and {base} has "
            f"{units[base]}: name the site that it was trained on.{_fitting(dictionary, units)}"
        )
    tap = _tap_of(dictionary)
    if tap and not base.endswith(f"/{tap}"):
        raise DictionaryError(
            f"{_label(name)} encodes values of the tap {tap}{_origin(dictionary)}, and "
            f"{base} has others.{_fitting(dictionary, units)}"
        )


def attached_to(
    dictionary: DictionaryLike,
    name: str,
    base: str,
    units: Mapping[str, int | None],
    others: Mapping[str, AttachedDictionary],
) -> AttachedDictionary:
    """Attach a dictionary to a site that it fits.

    Args:
        dictionary: The dictionary.
        name: Its name.
        base: Address of the site.
        units: Numbers of units of the sites that there are, by address; None where unknown.
        others: Dictionaries that are attached already, by name.

    Returns:
        The attached dictionary.

    Raises:
        DictionaryError: The name is taken or not valid, or the site is not one of its values.
    """
    if not isinstance(dictionary, DictionaryLike):
        raise DictionaryError(
            f"A {type(dictionary).__name__} is no dictionary: open one with "
            "clerestory.dictionaries.Dictionary.load(folder)."
        )
    if not _NAME.fullmatch(name):
        raise DictionaryError(
            f"{name[:80]!r} cannot be a dictionary's name: write letters, digits, '_', '-', '.'."
        )
    if name in others:
        raise DictionaryError(
            f"A dictionary called {name!r} is attached to {others[name].base} already: detach it, "
            "or choose another name."
        )
    check_site(dictionary, name, base, units)
    return AttachedDictionary(name, base, dictionary)


def hooks_with_latents(
    hooks: Sequence[SiteHook], attached: Mapping[str, AttachedDictionary]
) -> list[SiteHook]:
    """The hooks of sites, each followed by those of its latents.

    Args:
        hooks: Hooks of a family's sites.
        attached: Dictionaries by name.

    Returns:
        The hooks. Those of latents have no module.
    """
    by_base: dict[str, list[AttachedDictionary]] = {}
    for each in attached.values():
        by_base.setdefault(each.base, []).append(each)
    return [
        every
        for hook in hooks
        for every in (hook, *(_latent_hook(hook, a) for a in by_base.get(hook.site.address, ())))
    ]


def _latent_hook(hook: SiteHook, attached: AttachedDictionary) -> SiteHook:
    site = replace(
        hook.site,
        address=attached.address,
        shape=(hook.site.shape[0], attached.dictionary.latents),
        # The path names the base site alone.
        path="",
        heads=None,
        module=None,
        base=hook.site.address,
    )
    return replace(hook, site=site, latents=attached)
