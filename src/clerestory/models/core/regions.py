"""Edits of a part of the picture: a region, resampled to the positions of a site.

A region is a mask of the whole picture, the name of one, or a word of the prompt whose attention
map is the mask. A position is edited by the share of it that the region covers: not at all at 0,
where its value stays the same bit by bit, and wholly at 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from clerestory.checks import number_array
from clerestory.errors import EditError, SiteError
from clerestory.models.core.addresses import parse
from clerestory.models.core.attention_layers import TEXT_BLOCKS
from clerestory.models.core.attention_sums import grid_of
from clerestory.models.core.family import Family, SiteHook
from clerestory.models.core.types import Branch, Edit, Sample
from clerestory.registry import Registry
from clerestory.stats.maps import resample
from clerestory.types import Floats

__all__ = [
    "MASK",
    "REGION",
    "Box",
    "Layout",
    "RegionEdit",
    "as_region",
    "check_regions",
    "in_layout",
    "named_region",
    "region_word",
    "regions",
    "restrict_region",
    "split_region",
    "without_picture",
]

REGION, MASK = "region", "mask"
"""The name of a region among an edit's saved settings and tensors, and that of a mask there."""
WORD_PREFIX = "word:"
"""Prefix of a word that is also the name of a region."""
TOKENS = "its positions are tokens of the prompt"
VECTOR = "it is one vector of the whole picture"
MAX_SIDE = 8192
"""Limit of a mask's height and width."""


class Box(NamedTuple):
    """A rectangle of the picture, in fractions of its height and width."""

    top: float
    left: float
    bottom: float
    right: float


regions: Registry[Box] = Registry("region")
"""Regions by name."""
regions.add("left half", Box(0, 0, 1, 0.5))
regions.add("right half", Box(0, 0.5, 1, 1))
regions.add("top half", Box(0, 0, 0.5, 1))
regions.add("bottom half", Box(0.5, 0, 1, 1))
regions.add("centre", Box(0.25, 0.25, 0.75, 0.75))


def as_region(region: Any, site: str = "") -> str | Floats | None:
    """Check a region.

    Args:
        region: A mask `[y, x]` of booleans or of numbers from 0 to 1, a text, or None.
        site: Address of the edit's site, for messages; "" without an edit.

    Returns:
        The text without spaces around it, a copy of the mask as float32, or None.

    Raises:
        EditError: It is none of these.
    """
    if region is None:
        return None
    name = f"The region of the edit at {site}" if site else "The region"
    if isinstance(region, str):
        if not region.removeprefix(WORD_PREFIX).strip():
            raise EditError(f"{name} is {region!r}, which is empty: {_choices()}.")
        return region.strip()
    mask = number_array(EditError, name, region)
    if mask.ndim != 2 or not 0 < min(mask.shape) <= max(mask.shape) <= MAX_SIDE:
        raise EditError(
            f"{name} has shape {list(mask.shape)}: a mask has rows and "
            f"columns of the whole picture, [y, x], {MAX_SIDE} at most."
        )
    if not ((mask >= 0) & (mask <= 1)).all():
        raise EditError(f"{name} has values that are not from 0, outside, to 1, inside.")
    return mask.astype(np.float32)


def split_region(
    settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[Any, dict[str, Any], dict[str, Tensor]]:
    """Take the region out of what an edit saved.

    Args:
        settings: What `to_dict` gave, perhaps from an untrusted file.
        tensors: What `tensors` gave.

    Returns:
        The region, the other settings and the other tensors.

    Raises:
        EditError: The settings have a mask and the tensors none, or the other way round.
    """
    region, mask = settings.get(REGION), tensors.get(REGION)
    is_mask = isinstance(region, dict) and mask is not None
    if is_mask != (mask is not None) or not (is_mask or isinstance(region, str | None)):
        raise EditError(
            "The saved edit's region does not fit its tensors: a mask is in both, a name or a word "
            "in the settings alone."
        )
    rest = {name: value for name, value in settings.items() if name != REGION}
    others = {name: tensor for name, tensor in tensors.items() if name != REGION}
    return (mask if is_mask else region), rest, others


def region_word(region: Any) -> str | None:
    """The word whose attention map a region is.

    Args:
        region: A checked region.

    Returns:
        The word; None for masks and names.
    """
    if not isinstance(region, str) or region in regions:
        return None
    return region.removeprefix(WORD_PREFIX).strip()


def named_region(name: str, grid: tuple[int, int]) -> Floats:
    """The mask of a region by its name.

    Args:
        name: A name in `regions`.
        grid: Rows and columns.

    Returns:
        float32 `[y, x]`: the share of each cell that is inside.

    Raises:
        RegistryError: There is no such name.
    """
    box = regions[name]
    rows = _covered(grid[0], box.top, box.bottom)
    columns = _covered(grid[1], box.left, box.right)
    mask: Floats = np.outer(rows, columns).astype(np.float32)
    return mask


def without_picture(hook: SiteHook, family: Family) -> str:
    """Why a site has no positions of the picture, as far as is known without a run.

    Args:
        hook: The hook of the site.
        family: The model's family.

    Returns:
        The reason, as the end of a sentence about the site; "" where it may have some.
    """
    site = hook.site
    stage, _, rest = site.address.partition("/")[0].partition(".")
    is_text = (
        hook.base in family.conditioning_sites and bool(hook.text_window),
        stage in family.text_windows,
        # A prior's tokens are followed by others that are no picture's.
        bool(hook.text_window) and stage in family.encoder_stages,
        site.stream == "text" or hook.stream in ("text", "context"),
        rest.partition(".")[0] in TEXT_BLOCKS,
    )
    if any(is_text):
        return TOKENS
    if site.tap.endswith(("_k", "_v")) and not site.tap.startswith("second"):
        return "its positions are those of a condition"
    if site.shape[0] == 1:
        return VECTOR
    return ""


class Layout(NamedTuple):
    """Where the positions of a site are in the picture.

    Attributes:
        grid: Rows and columns of a map; None where the value is a row of positions.
        repeats: How often the positions follow one another, once for each branch of guidance in a
            sample's row.
        is_vector: Whether the value has no axis of positions.
    """

    grid: tuple[int, int] | None
    repeats: int = 1
    is_vector: bool = False

    @classmethod
    def of(cls, shape: Sequence[int], channels_last: bool, samples: int) -> Layout:
        """The layout of a value.

        Args:
            shape: Its shape, the batch first.
            channels_last: Whether the last axis is the units'.
            samples: The number of samples whose branches are in one row; 0 where each row is one
                branch of one sample.

        Returns:
            The layout.
        """
        repeats = shape[0] // samples if samples and not shape[0] % samples else 1
        if len(shape) < 4:
            return cls(None, repeats, len(shape) < 3)
        *frames, rows, columns = shape[1:-1] if channels_last else shape[2:]
        # Pictures are videos of one frame in some networks.
        return cls((rows, columns) if set(frames) <= {1} else None, repeats)


ROW = Layout(None)


def in_layout(edit: Edit, layout: Layout) -> Edit:
    """An edit that knows the layout of the value that it is given.

    Args:
        edit: Any edit.
        layout: The layout.

    Returns:
        A copy with the layout; the edit itself where it has no use for it.
    """
    place = getattr(edit, "in_layout", None)
    return edit if place is None else place(layout)


@dataclass(frozen=True, eq=False)
class RegionEdit:
    """An edit that acts in a region of the picture only.

    Attributes:
        edit: The edit, which is computed everywhere.
        region: A name, or masks `[sample, y, x]`, one for all samples or one for each.
        tokens: How many tokens come before the picture's positions; they are left alone.
        size: Height and width of the picture.
        layout: Where the positions are.
    """

    edit: Edit
    region: str | Floats = field(repr=False)
    tokens: int
    size: tuple[int, int]
    layout: Layout = ROW

    @property
    def site(self) -> str:
        """The edit's site."""
        return self.edit.site

    @property
    def branch(self) -> Branch | str:
        """The edit's branch."""
        return getattr(self.edit, "branch", "cond")

    def in_layout(self, layout: Layout) -> RegionEdit:
        """The edit for values of a layout.

        Args:
            layout: The layout.

        Returns:
            A copy.
        """
        return replace(self, layout=layout)

    def __call__(self, value: Tensor) -> Tensor:
        """Edit activations inside of the region.

        Args:
            value: `[sample, position, unit]`.

        Returns:
            A tensor of the same shape; positions outside are as they were, bit by bit.

        Raises:
            EditError: The positions are no grid of the picture's proportions.
        """
        weights = self._weights(value.shape[1]).to(value.device)[..., None]
        # A copy, since an edit may write in place.
        after = self.edit(value.clone())
        if not isinstance(after, Tensor) or after.shape != value.shape:
            return after  # refused by the caller, as of any edit
        between = torch.lerp(value.float(), after.float(), weights).to(value.dtype)
        # Neither end is computed: a sum would change their last bits.
        return torch.where(weights == 0, value, torch.where(weights == 1, after, between))

    def _weights(self, positions: int) -> Tensor:
        """The share of each position that is inside, `[1 or sample, position]`."""
        each = positions // self.layout.repeats
        grid = self.layout.grid or self._grid(each - self.tokens)
        if isinstance(self.region, str):
            masks = named_region(self.region, grid)[None]
        else:
            masks = np.stack([resample(mask, grid) for mask in self.region])
        flat = masks.reshape(len(masks), -1)
        before = np.zeros((len(flat), each - flat.shape[1]), np.float32)
        row = np.concatenate([before, flat], 1)
        return torch.from_numpy(np.tile(row, (1, self.layout.repeats)))

    def _grid(self, positions: int) -> tuple[int, int]:
        if positions < 1 or self.layout.is_vector:
            kind = VECTOR if self.layout.is_vector else TOKENS
            raise EditError(f"The edit at {self.site} has a region, and {kind}.")
        try:
            return grid_of(positions, *self.size, self.site)
        except SiteError as error:
            raise EditError(f"The edit at {self.site} has a region, and {error}") from error


def check_regions(edits: Iterable[Edit], hooks: Mapping[str, SiteHook], family: Family) -> None:
    """Check that edits with regions are of sites with positions of the picture.

    Args:
        edits: Edits.
        hooks: The hooks of sites by address.
        family: The model's family.

    Raises:
        EditError: One is not, as far as is known without a run.
    """
    for edit in edits:
        reason = without_picture(hooks[parse(edit.site).site], family)
        if reason and getattr(edit, "region", None) is not None:
            raise EditError(
                f"The edit at {edit.site} has a region, and {reason}: regions are of sites with "
                "positions of the picture, such as those of the denoiser's blocks."
            )


def restrict_region(
    edit: Edit,
    whole: Edit,
    hook: SiteHook,
    family: Family,
    samples: Sequence[Sample],
    word_masks: Mapping[str, Floats],
) -> Edit:
    """Restrict an edit to its region.

    Args:
        edit: An edit for the samples of a batch.
        whole: The edit as it was given, whose attribute `region` is read.
        hook: The hook of its site.
        family: The model's family.
        samples: The samples of the batch.
        word_masks: The masks of words for these samples, `[sample, y, x]`.

    Returns:
        The edit, or a `RegionEdit` around it.

    Raises:
        EditError: The mask of a word was not measured, or the edit is of some tokens only.
    """
    region = as_region(getattr(whole, "region", None), edit.site)
    if region is None:
        return edit
    positions = getattr(whole, "positions", "all")
    if positions != "all":
        raise EditError(
            f"The edit at {edit.site} has positions {positions!r}, which are tokens of the prompt, "
            "and a region, which has positions of the picture: give one of them."
        )
    tokens, options = 0, samples[0].options
    if hook.text_window and not hook.stream:
        # In one row of positions tokens come first; a stream is cut out of the row.
        window = family.text_window(hook.text_window, "cond")
        tokens = window.token_mask([sample.prompt for sample in samples]).shape[1]
    word, masks = region_word(region), region
    if word is not None:
        if word not in word_masks:
            raise EditError(
                f"The region {word!r} of the edit at {edit.site} is a word, whose map is measured "
                "by the verbs of a model: give a mask or a name here."
            )
        masks = word_masks[word]
    elif not isinstance(region, str):
        masks = region[None]
    return RegionEdit(edit, masks, tokens, (options.height, options.width))


def _choices() -> str:
    return f"write {', '.join(regions)}, a word of the prompt, or give a mask"


def _covered(cells: int, start: float, end: float) -> Floats:
    """The share of each cell that lies between two fractions."""
    edges = np.linspace(0, 1, cells + 1)
    inside = np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None)
    shares: Floats = np.round(inside * cells, 6).astype(np.float32)
    return shares
